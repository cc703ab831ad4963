//! Sockets in: the HTTP API, SMTP and the providers' webhooks.
