//! Simulators of the services' send APIs, for tests, the demo and rehearsals.
//!
//! Each simulator checks a request as its service does, keeps what it took, and misbehaves on
//! demand (see [`Fault`]). It must never share code with the adapters it is a witness against, and
//! it never connects anywhere but to loopback.
//!
//! Besides the service's own API every simulator serves, on its listener (HTTP kinds) or on a
//! second one (SMTP, and HTTP kinds that want it):
//!
//! | request | effect |
//! |---|---|
//! | `GET /_sandbox/messages?after=SEQ&limit=N&rcpt=A&raw=1` | what was taken, oldest first |
//! | `DELETE /_sandbox/messages` | forgets it |
//! | `GET /_sandbox/stats` | counts of requests, messages, recipients and faults played |
//! | `POST /_sandbox/behaviour` | changes how it answers ([`Behaviour`]) |
//! | `GET`/`DELETE /_sandbox/behaviour` | how it answers now; answers rightly again |
//! | `GET`/`POST /_sandbox/suppressions` | what the service itself suppresses ([`Suppressed`]); puts one there |
//! | `POST /_sandbox/event` | posts a signed webhook to a loopback address |
//! | `GET /_sandbox/certificate` | SES: the certificate that signs its notifications |
//! | `GET /_sandbox/public-key` | the public key (PEM) of a service that signs with a key pair |

mod address;
mod behaviour;
mod brevo;
mod config;
mod control;
mod echo;
mod elasticemail;
mod event;
mod fault;
mod http;
mod loopback;
mod mailbox;
mod mailgun;
mod mailjet;
mod mailtrap;
mod postal;
mod postmark;
mod reporter;
mod resend;
mod sandbox;
mod sendgrid;
mod ses;
mod smtp;
mod smtp2go;
mod sparkpost;
mod suppressed;

pub use behaviour::{BadBehaviour, Behaviour, Happening, Scenario, Step, Webhooks};
pub use config::{
    Account, Clock, Kind, MailgunAccount, SandboxConfig, SesAccount, SmtpAccount, UnknownKind,
};
pub use event::EventKind;
pub use fault::{Fault, FaultKind, Stage, UnknownFault};
pub use mailbox::{Stats, Taken};
pub use sandbox::{Sandbox, serve};
pub use suppressed::{Suppressed, Why};
