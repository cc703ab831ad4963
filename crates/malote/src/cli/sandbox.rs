//! `malote sandbox`: a simulator of a service's send API, for rehearsals.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use malote_core::clock::{Clock, SystemClock};
use malote_sandbox::{Kind, Sandbox, SandboxConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{Failure, Outcome};
use super::out;

/// Which service is simulated, and with which account. Nothing it takes is sent anywhere.
#[derive(Debug, clap::Args)]
pub(super) struct SandboxArgs {
    /// ses, mailgun or smtp.
    #[arg(long)]
    kind: Kind,
    /// Where the service's API listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where /_sandbox/messages, /_sandbox/fault and the like listen [default: ses and mailgun with
    /// the API, smtp on any free port of 127.0.0.1].
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: Option<SocketAddr>,
    /// ses: the region that requests must be signed for.
    #[arg(long, help_heading = "Account")]
    region: Option<String>,
    /// ses: the access key id that is known [default: the one of Amazon's documentation].
    #[arg(long, help_heading = "Account", requires = "secret_access_key")]
    access_key_id: Option<String>,
    /// ses: its secret.
    #[arg(long, help_heading = "Account", requires = "access_key_id")]
    secret_access_key: Option<String>,
    /// ses: the topic that its notifications come from.
    #[arg(long, help_heading = "Account", value_name = "ARN")]
    topic_arn: Option<String>,
    /// ses: where to write the certificate that signs its notifications.
    #[arg(long, help_heading = "Account", value_name = "FILE")]
    certificate_file: Option<PathBuf>,
    /// mailgun: the API key that is known [default: key-sandbox].
    #[arg(long, help_heading = "Account")]
    api_key: Option<String>,
    /// mailgun: the key that signs webhooks [default: signing-key-sandbox].
    #[arg(long, help_heading = "Account")]
    webhook_signing_key: Option<String>,
    /// smtp: the login that is required [default: none is].
    #[arg(long, help_heading = "Account", requires = "password")]
    user: Option<String>,
    /// smtp: its password.
    #[arg(long, help_heading = "Account", requires = "user")]
    password: Option<String>,
}

/// Runs `malote sandbox` until Ctrl-C or SIGTERM.
pub(super) async fn run(args: SandboxArgs) -> Outcome {
    let listener = bind(args.listen).await?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let control = match (args.control, args.kind) {
        (Some(address), _) => Some(bind(address).await?),
        (None, Kind::Smtp) => Some(bind(any_port).await?),
        (None, Kind::Ses | Kind::Mailgun) => None,
    };
    let kind = args.kind;
    let api = listener.local_addr()?;
    let controlled = control.as_ref().map_or(Ok(api), TcpListener::local_addr)?;
    let sandbox = Sandbox::new(kind, config(args));
    out::text(&format!(
        "sandbox {} listens on {api}; what it took: http://{controlled}/_sandbox/messages",
        kind.as_str()
    ))?;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let serving = sandbox.serve(listener, control, shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        ended = tokio::signal::ctrl_c() => ended?,
        _ = terminate.recv() => {}
    }
    shutdown.cancel();
    Ok(serving.await?)
}

async fn bind(address: SocketAddr) -> Outcome<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Failure::failed(format!("{address}: {error}")))
}

fn config(args: SandboxArgs) -> SandboxConfig {
    let clock = SystemClock::start();
    let mut config = SandboxConfig::new(Arc::new(move || clock.now()));
    let ses = &mut config.ses;
    put(&mut ses.region, args.region);
    put(&mut ses.access_key_id, args.access_key_id);
    put(&mut ses.secret_access_key, args.secret_access_key);
    put(&mut ses.topic_arn, args.topic_arn);
    ses.certificate_file = args.certificate_file;
    put(&mut config.mailgun.api_key, args.api_key);
    put(
        &mut config.mailgun.webhook_signing_key,
        args.webhook_signing_key,
    );
    config.smtp.login = args.user.zip(args.password);
    config
}

fn put(place: &mut String, given: Option<String>) {
    if let Some(given) = given {
        *place = given;
    }
}
