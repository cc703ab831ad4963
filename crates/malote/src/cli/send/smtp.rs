//! A test message by SMTP.

use std::net::IpAddr;

use anyhow::Context;
use lettre::address::Envelope;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use malote_core::address::EmailAddress;
use malote_core::secret::Secret;

use super::{ANSWER_MAX, SendArgs};
use crate::cli::exit::{Failure, Outcome};

/// How the connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum TlsWord {
    /// In clear.
    #[default]
    None,
    /// By STARTTLS, or not at all.
    Starttls,
    /// From the first octet.
    Implicit,
}

/// Sends the message and gives the reply to its data.
pub(super) async fn send(
    args: &SendArgs,
    server: &str,
    password: Option<Secret>,
) -> Outcome<String> {
    let (host, port) = split(server)?;
    if password.is_some() && args.tls == TlsWord::None && !is_loopback(host) {
        let text = "a password goes in clear to loopback only: give --tls starttls or implicit";
        return Err(Failure::Usage(text.to_owned()));
    }
    let tls = match args.tls {
        TlsWord::None => Tls::None,
        TlsWord::Starttls => Tls::Required(TlsParameters::new(host.to_owned())?),
        TlsWord::Implicit => Tls::Wrapper(TlsParameters::new(host.to_owned())?),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(port)
        .tls(tls)
        .timeout(Some(ANSWER_MAX));
    if let Some((user, password)) = args.user.as_ref().zip(password) {
        let login = Credentials::new(user.clone(), password.expose().to_owned());
        transport = transport.credentials(login);
    }
    let message = message(args)?;
    let from = address(&args.from)?;
    let to = args.to.iter().map(address).collect::<Outcome<Vec<_>>>()?;
    let envelope = Envelope::new(Some(from), to)?;
    let transport = transport.build();
    let sending = transport.send_raw(&envelope, &message);
    let reply = tokio::time::timeout(ANSWER_MAX, sending)
        .await
        .map_err(|_| Failure::failed("the server did not take the message in time"))?
        .with_context(|| format!("SMTP to {server}"))?;
    Ok(reply.message().collect::<Vec<_>>().join(" "))
}

fn message(args: &SendArgs) -> Outcome<Vec<u8>> {
    let mut builder = Message::builder()
        .from(Mailbox::new(None, address(&args.from)?))
        .subject(args.subject.clone());
    for to in &args.to {
        builder = builder.to(Mailbox::new(None, address(to)?));
    }
    if let Some(stream) = &args.stream {
        builder = builder.header(StreamHeader(stream.to_string()));
    }
    Ok(builder.body(args.text.clone())?.formatted())
}

/// `X-Malote-Stream`: the stream that is asked for.
#[derive(Clone)]
struct StreamHeader(String);

impl lettre::message::header::Header for StreamHeader {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("X-Malote-Stream")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), self.0.clone())
    }
}

fn address(address: &EmailAddress) -> Outcome<Address> {
    let parsed = Address::new(address.local_part(), address.domain());
    parsed.map_err(|error| Failure::Usage(format!("{address}: {error}")))
}

fn split(server: &str) -> Outcome<(&str, u16)> {
    let split = || {
        let (host, port) = server.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host, port.parse().ok()?)).filter(|_| !host.is_empty())
    };
    split().ok_or_else(|| Failure::Usage(format!("{server:?} is not a HOST:PORT")))
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        assert_eq!(split("127.0.0.1:25").unwrap(), ("127.0.0.1", 25));
        assert_eq!(split("[::1]:25").unwrap(), ("::1", 25));
        assert_eq!(split("mx.example:587").unwrap(), ("mx.example", 587));
        for text in ["mx.example", ":25", "mx.example:", "mx.example:x"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["127.0.0.1", "::1", "localhost", "::ffff:127.0.0.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.example", "mx.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
