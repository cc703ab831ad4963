//! `malote sandbox`: simulators of the services' send APIs, for rehearsals.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use malote_core::clock::{Clock, SystemClock};
use malote_core::units::Span;
use malote_sandbox::{Behaviour, Fault, FaultKind, Kind, Sandbox, SandboxConfig, Scenario, Step};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exit::{Failure, Outcome};
use super::out;
use crate::serving::Serving;

/// Where keys are put for a gateway that runs besides, as config/eight.toml has it.
const KEYS: &str = "var/sandbox";
/// Largest scenario file.
const SCENARIO_BYTES_MAX: u64 = 1024 * 1024;

/// Which services are simulated, and with which account. Nothing they take is sent anywhere.
#[derive(Debug, clap::Args)]
pub(super) struct SandboxArgs {
    /// The service: ses, mailgun, sendgrid, postmark and so on; an unknown name lists them all.
    #[arg(long, required_unless_present = "all", requires = "listen")]
    kind: Option<Kind>,
    /// Where the service's API listens.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "kind")]
    listen: Option<SocketAddr>,
    /// Every service at once, each on a port of its own on 127.0.0.1.
    #[arg(long, conflicts_with_all = ["kind", "listen", "control"])]
    all: bool,
    /// --all: the first port; the services take those that follow.
    #[arg(long, value_name = "PORT", requires = "all", default_value_t = 9000)]
    base_port: u16,
    /// How they answer as time passes: steps with latency, faults and webhooks (TOML; see
    /// config/rehearsal.toml and config/misbehaving.toml).
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// A pause before each answer, as in 80ms; a scenario has it its own way.
    #[arg(long, value_name = "DURATION", conflicts_with = "scenario")]
    latency: Option<Span>,
    /// What goes wrong with every send: 429, 503, hang, nonsense and so on; an unknown name lists
    /// them all. A scenario has it its own way.
    #[arg(long, value_name = "FAULT", conflicts_with = "scenario")]
    fault: Option<FaultKind>,
    /// Where /_sandbox/messages, /_sandbox/behaviour and the like listen [default: with the API,
    /// for smtp on any free port of 127.0.0.1].
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: Option<SocketAddr>,
    /// Run a gateway by these configuration files, too; all end together.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    serve: Vec<PathBuf>,
    /// Where to put the keys that webhooks are verified with, new at each start: ses.pem,
    /// sendgrid.pem and postal.pem [default: with --serve var/sandbox].
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    account: AccountArgs,
}

/// The simulated account.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Account")]
struct AccountArgs {
    /// All but ses and smtp: the key that is known [default: key-sandbox].
    #[arg(long)]
    api_key: Option<String>,
    /// mailjet: the second half of its key [default: second-half].
    #[arg(long)]
    secret_key: Option<String>,
    /// What webhooks are signed with or carry, where that is a shared secret [default: mailgun
    /// signing-key-sandbox, others webhook-secret-sandbox].
    #[arg(long)]
    webhook_signing_key: Option<String>,
    /// A domain that mail may come from; repeat for more [default: every domain].
    #[arg(long = "sender", value_name = "DOMAIN")]
    senders: Vec<String>,
    /// An IP pool, message stream or configuration set that exists; repeat for more [default:
    /// every name].
    #[arg(long = "pool", value_name = "NAME")]
    pools: Vec<String>,
    /// The account is new and may not mail everybody yet.
    #[arg(long)]
    limited: bool,
    /// Mail to an address on the service's own list goes nowhere, and the service tells so.
    #[arg(long)]
    stop_suppressed: bool,
    /// ses: the region that requests must be signed for.
    #[arg(long)]
    region: Option<String>,
    /// ses: the access key id that is known [default: the one of Amazon's documentation].
    #[arg(long, requires = "secret_access_key")]
    access_key_id: Option<String>,
    /// ses: its secret.
    #[arg(long, requires = "access_key_id")]
    secret_access_key: Option<String>,
    /// ses: the topic that its notifications come from.
    #[arg(long, value_name = "ARN")]
    topic_arn: Option<String>,
    /// ses: where to write the certificate that signs its notifications.
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<PathBuf>,
    /// smtp: the login that is required [default: none is].
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// smtp: its password.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// smtp: the service in whose words it refuses, where that service documents its own [default:
    /// any server's].
    #[arg(long, value_name = "KIND")]
    words_of: Option<Kind>,
}

/// A simulator with its sockets.
struct Seat {
    sandbox: Sandbox,
    listener: TcpListener,
    control: Option<TcpListener>,
    steps: Vec<(Duration, Behaviour)>,
}

/// Runs `malote sandbox` until Ctrl-C or SIGTERM.
pub(super) async fn run(args: SandboxArgs) -> Outcome {
    let scenario = match &args.scenario {
        Some(path) => read_scenario(path).await?,
        None => by_flags(args.latency, args.fault),
    };
    let config = config(args.account);
    let mut seats = Vec::new();
    for (kind, listen, control) in places(args.kind, args.listen, args.control, args.base_port)? {
        let steps = scenario.of(kind).map_err(|error| {
            let path = args.scenario.as_deref().unwrap_or(Path::new("--latency"));
            Failure::Usage(format!("{}: {error}", path.display()))
        })?;
        seats.push(Seat {
            sandbox: Sandbox::new(kind, config.clone()),
            listener: bind(listen).await?,
            control: match control {
                Some(address) => Some(bind(address).await?),
                None => None,
            },
            steps,
        });
    }
    let default_keys = (!args.serve.is_empty()).then(|| PathBuf::from(KEYS));
    if let Some(folder) = args.keys.or(default_keys) {
        write_keys(&seats, &folder)?;
    }
    announce(&seats)?;
    serve(seats, &args.serve).await
}

/// Puts the certificate or public key of each that signs with one into the folder.
fn write_keys(seats: &[Seat], folder: &Path) -> Outcome {
    let fault = |error: std::io::Error| Failure::failed(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(fault)?;
    for Seat { sandbox, .. } in seats {
        if let Some(pem) = sandbox
            .certificate_pem()
            .or_else(|| sandbox.public_key_pem())
        {
            let file = folder.join(sandbox.kind().as_str()).with_extension("pem");
            std::fs::write(file, pem).map_err(fault)?;
        }
    }
    Ok(())
}

/// What the flags say of every kind, from the start on.
fn by_flags(latency: Option<Span>, fault: Option<FaultKind>) -> Scenario {
    let step = Step {
        latency_ms: latency
            .map(|Span(latency)| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
        faults: fault.map(|kind| vec![Fault::always(kind)]),
        ..Step::default()
    };
    Scenario { steps: vec![step] }
}

/// Which kinds listen where.
fn places(
    kind: Option<Kind>,
    listen: Option<SocketAddr>,
    control: Option<SocketAddr>,
    base_port: u16,
) -> Outcome<Vec<(Kind, SocketAddr, Option<SocketAddr>)>> {
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let any_port = |kind| (kind == Kind::Smtp).then(|| here(0));
    if let (Some(kind), Some(listen)) = (kind, listen) {
        return Ok(vec![(kind, listen, control.or_else(|| any_port(kind)))]);
    }
    let mut places = Vec::new();
    for (kind, offset) in Kind::all().zip(0..) {
        let Some(port) = base_port.checked_add(offset) else {
            return Err(Failure::Usage(format!(
                "--base-port {base_port} leaves no room for every service below 65536"
            )));
        };
        places.push((kind, here(port), any_port(kind)));
    }
    Ok(places)
}

fn announce(seats: &[Seat]) -> Outcome {
    for seat in seats {
        let api = seat.listener.local_addr()?;
        let control = seat.control.as_ref();
        let controlled = control.map_or(Ok(api), TcpListener::local_addr)?;
        out::text(&format!(
            "sandbox {} listens on {api}; what it took: http://{controlled}/_sandbox/messages",
            seat.sandbox.kind().as_str()
        ))?;
    }
    Ok(())
}

async fn serve(seats: Vec<Seat>, gateway: &[PathBuf]) -> Outcome {
    let shutdown = CancellationToken::new();
    let mut serving = JoinSet::new();
    for seat in seats {
        let (player, steps) = (seat.sandbox.clone(), seat.steps);
        let stop = shutdown.clone();
        tokio::spawn(async move { stop.run_until_cancelled(player.play(steps)).await });
        let shutdown = shutdown.clone();
        serving.spawn(async move {
            let sandbox = seat.sandbox;
            sandbox.serve(seat.listener, seat.control, shutdown).await
        });
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut gateway = match gateway.is_empty() {
        true => None,
        false => Some(Serving::start(gateway, None)?),
    };
    let outcome = tokio::select! {
        Some(ended) = serving.join_next() => return Ok(ended??),
        ended = ended(gateway.as_mut()) => ended,
        ended = tokio::signal::ctrl_c() => Ok(ended?),
        _ = terminate.recv() => Ok(()),
    };
    // First: its calls under way are still answered.
    if let Some(gateway) = &mut gateway {
        gateway.stop().await;
    }
    shutdown.cancel();
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    outcome
}

/// Waits for the end of the gateway, if there is one; it ends well when it was asked to, as by a
/// Ctrl-C that it hears as well.
async fn ended(gateway: Option<&mut Serving>) -> Outcome {
    let Some(gateway) = gateway else {
        return std::future::pending().await;
    };
    match gateway.end().await? {
        status if status.success() => Ok(()),
        status => Err(Failure::failed(format!("the gateway ended: {status}"))),
    }
}

async fn read_scenario(path: &Path) -> Outcome<Scenario> {
    let fault =
        |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", path.display()));
    let metadata = tokio::fs::metadata(path).await.map_err(|e| fault(&e))?;
    if !metadata.is_file() || metadata.len() > SCENARIO_BYTES_MAX {
        return Err(fault(&"is not a file of at most 1 MiB"));
    }
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|e| fault(&e))?;
    toml::from_str(&text).map_err(|error| fault(&error))
}

async fn bind(address: SocketAddr) -> Outcome<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Failure::failed(format!("{address}: {error}")))
}

fn config(args: AccountArgs) -> SandboxConfig {
    let clock = SystemClock::start();
    let mut config = SandboxConfig::new(Arc::new(move || clock.now()));
    let ses = &mut config.ses;
    put(&mut ses.region, args.region);
    put(&mut ses.access_key_id, args.access_key_id);
    put(&mut ses.secret_access_key, args.secret_access_key);
    put(&mut ses.topic_arn, args.topic_arn);
    ses.certificate_file = args.certificate_file;
    ses.configuration_sets = listed(args.pools.clone());
    put(&mut config.mailgun.api_key, args.api_key.clone());
    put(
        &mut config.mailgun.webhook_signing_key,
        args.webhook_signing_key.clone(),
    );
    config.mailgun.domains = listed(args.senders.clone());
    let account = &mut config.account;
    put(&mut account.api_key, args.api_key);
    put(&mut account.secret_key, args.secret_key);
    put(&mut account.webhook_secret, args.webhook_signing_key);
    account.senders = listed(args.senders);
    account.pools = listed(args.pools);
    account.is_limited = args.limited;
    account.stops_suppressed = args.stop_suppressed;
    config.smtp.login = args.user.zip(args.password);
    config.smtp.service = args.words_of;
    config
}

fn listed(given: Vec<String>) -> Option<Vec<String>> {
    (!given.is_empty()).then_some(given)
}

fn put(place: &mut String, given: Option<String>) {
    if let Some(given) = given {
        *place = given;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_a_rehearsal_is_good_for_every_kind() {
        let text = include_str!("../../../../config/rehearsal.toml");
        let scenario: Scenario = toml::from_str(text).unwrap();
        for kind in Kind::all() {
            let steps = scenario.of(kind).unwrap();
            let expected = if kind == Kind::Mailgun { 3 } else { 1 };
            assert_eq!(steps.len(), expected, "{kind:?}");
        }
    }

    #[test]
    fn the_example_of_misbehaviour_has_every_kind_of_webhook_trouble_and_ends() {
        let text = include_str!("../../../../config/misbehaving.toml");
        let scenario: Scenario = toml::from_str(text).unwrap();
        for kind in Kind::all() {
            let steps = scenario.of(kind).unwrap();
            let [(_, behaviour)] = steps.as_slice() else {
                panic!("{kind:?} has {} steps", steps.len());
            };
            let faults = behaviour.faults.iter().flatten();
            assert!(faults.into_iter().all(|fault| fault.count == Some(1)));
            let webhooks = behaviour.webhooks.as_ref().unwrap();
            let shares = [webhooks.duplicated, webhooks.forged, webhooks.late_s];
            assert!(shares.iter().all(|share| *share > 0.0));
        }
    }

    #[test]
    fn flags_say_what_is_so_from_the_start() {
        let scenario = by_flags("80ms".parse().ok(), "429".parse().ok());
        let steps = scenario.of(Kind::Ses).unwrap();
        let behaviour = &steps[0].1;
        assert_eq!(behaviour.latency_ms, Some(80));
        assert_eq!(behaviour.faults.as_ref().unwrap()[0].count, None);
        assert!(by_flags("1d".parse().ok(), None).of(Kind::Ses).is_err());
    }

    #[test]
    fn every_service_has_a_port_of_its_own_or_none_has() {
        let ports = places(None, None, None, 9000).unwrap_or_default();
        let mut taken: Vec<u16> = ports.iter().map(|(_, listen, _)| listen.port()).collect();
        taken.dedup();
        assert_eq!(taken.len(), Kind::all().count());
        assert!(places(None, None, None, u16::MAX).is_err());
    }
}
