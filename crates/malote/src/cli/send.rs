//! `malote send`: a test message by HTTP or SMTP, and what becomes of it.

mod follow;
mod http;
mod smtp;

use std::env;
use std::time::Duration;

use malote_core::address::EmailAddress;
use malote_core::id::MessageId;
use malote_core::name::StreamName;
use malote_core::secret::Secret;
use malote_core::units::Span;

use super::exit::{Failure, Outcome};
use super::out;
use super::place::PlaceArgs;

/// How long a gateway may take to take a message in.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A test message.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("door").required(true).args(["http", "smtp"]))]
pub(super) struct SendArgs {
    /// Post to the API at this address, as in http://127.0.0.1:8080.
    #[arg(long, value_name = "URL", requires = "api_key_env")]
    http: Option<String>,
    /// The environment variable that holds the API key.
    #[arg(long, value_name = "VARIABLE", requires = "http")]
    api_key_env: Option<String>,
    /// Send to this SMTP listener, as in 127.0.0.1:2525.
    #[arg(long, value_name = "HOST:PORT")]
    smtp: Option<String>,
    /// The SMTP user.
    #[arg(long, requires = "smtp", requires = "password_env")]
    user: Option<String>,
    /// The environment variable that holds the SMTP password.
    #[arg(long, value_name = "VARIABLE", requires = "user")]
    password_env: Option<String>,
    /// How the SMTP connection is secured. A password in clear goes to loopback only.
    #[arg(long, value_enum, default_value_t, requires = "smtp")]
    tls: smtp::TlsWord,
    /// The sender.
    #[arg(long, value_name = "ADDRESS")]
    from: EmailAddress,
    /// A recipient; may be repeated.
    #[arg(long, value_name = "ADDRESS", required = true)]
    to: Vec<EmailAddress>,
    /// The subject.
    #[arg(long, default_value = "Test message")]
    subject: String,
    /// The text.
    #[arg(long, default_value = "This is a test message.")]
    text: String,
    /// The stream [default: the gateway decides].
    #[arg(long)]
    stream: Option<StreamName>,
    /// Print what happens to it until every delivery has left or failed. After SMTP this asks the
    /// gateway's admin address.
    #[arg(long)]
    wait: bool,
    /// How long to wait for that.
    #[arg(long, value_name = "SPAN", default_value = "60s", requires = "wait")]
    wait_max: Span,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote send`.
pub(super) async fn run(args: SendArgs) -> Outcome {
    match (&args.http, &args.smtp) {
        (Some(url), _) => by_http(&args, url).await,
        (None, Some(server)) => by_smtp(&args, server).await,
        (None, None) => Err(Failure::Usage("give --http or --smtp".to_owned())),
    }
}

async fn by_http(args: &SendArgs, url: &str) -> Outcome {
    let key = args.api_key_env.as_deref().map(secret).transpose()?;
    let key = key.ok_or_else(|| Failure::Usage("give --api-key-env".to_owned()))?;
    let door = http::Door::new(url, key)?;
    let id = door.send(args).await?;
    print_id(id, args.json)?;
    if !args.wait {
        return Ok(());
    }
    follow::follow(
        id,
        async || door.timeline(id).await,
        args.wait_max.0,
        args.json,
    )
    .await
}

async fn by_smtp(args: &SendArgs, server: &str) -> Outcome {
    // Read first: a configuration that is not good should not be told after sending.
    let client = match args.wait {
        true => Some(args.place.client()?),
        false => None,
    };
    let password = args.password_env.as_deref().map(secret).transpose()?;
    let reply = smtp::send(args, server, password).await?;
    let Some(id) = id_in(&reply) else {
        out::text(&reply)?;
        let text =
            "the server took it and named no id: it is no malote, so nothing can be followed";
        return match args.wait {
            true => Err(Failure::failed(text)),
            false => Ok(()),
        };
    };
    print_id(id, args.json)?;
    let Some(client) = client else { return Ok(()) };
    client.expect().await?;
    let path = format!("messages/{id}");
    let fetch = async || client.get::<serde_json::Value>(&path, &[]).await;
    follow::follow(id, fetch, args.wait_max.0, args.json).await
}

fn print_id(id: MessageId, is_json: bool) -> std::io::Result<()> {
    if is_json {
        out::json_line(&serde_json::json!({ "id": id }))
    } else {
        out::text(&id.to_string())
    }
}

/// The id in `250 2.0.0 Ok: queued as ID`.
fn id_in(reply: &str) -> Option<MessageId> {
    reply
        .split_whitespace()
        .rev()
        .find_map(|word| word.parse().ok())
}

fn secret(variable: &str) -> Outcome<Secret> {
    match env::var(variable) {
        Ok(value) if !value.is_empty() => Ok(Secret::new(value)),
        Ok(_) | Err(_) => {
            let text = format!("the environment variable {variable} is not set");
            Err(Failure::Usage(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_from_the_reply() {
        let id = MessageId::from_bytes([1; 16]);
        assert_eq!(id_in(&format!("2.0.0 Ok: queued as {id}")), Some(id));
        assert_eq!(id_in("2.0.0 Ok: queued as 4D2F"), None);
    }
}
