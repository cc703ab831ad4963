// Sends mails through a pool of nodemailer: AUTH PLAIN with an initial response, MAIL, RCPT and DATA in one write.
// usage: node nodemailer_client.js HOST PORT USER PASSWORD FROM TO...
const nodemailer = require('nodemailer');

const [host, port, user, pass, from, ...recipients] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host,
  port: Number(port),
  secure: false,
  requireTLS: true,
  pool: true,
  maxConnections: 3,
  tls: { rejectUnauthorized: false },
  auth: { user, pass },
});
const sends = recipients.map((to) =>
  transport.sendMail({ from, to, subject: 'from nodemailer', text: 'Olá, ação.\n.\nfim' })
);
Promise.all(sends).then(
  () => transport.close(),
  (error) => {
    console.error(error.message);
    process.exit(1);
  }
);
