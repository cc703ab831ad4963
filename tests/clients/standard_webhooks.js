// Checks captured webhooks with the scheme's own library: one JSON object a line on standard input,
// { secret, headers, body }; says "good" or why not for each.
const { Webhook } = require("standardwebhooks");
const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
for (const line of lines) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(body, headers);
    console.log("good");
  } catch (error) {
    console.log(String(error.message));
  }
}
