//! `malote sandbox --all --scenario config/misbehaving.toml`: at every service mail meets each fault
//! of the file and is sent in the end, and webhooks come late, twice and out of order.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_core::clock::{Clock as _, SystemClock};
use malote_sandbox::Kind;
use malote_tests::{
    Answer, Config, Gateway, Peer, SHOP_KEY, eventually, free_ports, program, provider_tables,
    repository,
};
use serde_json::Value;

use crate::{SENT_MAX, attempts, order};

/// How long a service may take to play all of its faults.
const THROUGH_MAX: Duration = Duration::from_secs(30);
/// Faults of the example.
const FAULTS: u64 = 8;
/// Mails to one service, more than it has faults.
const MAILS: usize = 12;
/// How long it may take to hand them all over.
const SUBMITTED_MAX: Duration = Duration::from_secs(5);

/// Every simulator, in a process of the program's own; it ends when dropped.
struct Simulators {
    child: Child,
    first_port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Simulators {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Simulators {
    /// Starts them with the example, whose webhooks go to this address.
    fn start(hook: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let example = std::fs::read_to_string(repository().join("config/misbehaving.toml"))?;
        let scenario = folder.path().join("misbehaving.toml");
        ensure!(
            example.contains("127.0.0.1:8080"),
            "where do its webhooks go?"
        );
        std::fs::write(
            &scenario,
            example.replace("127.0.0.1:8080", &hook.to_string()),
        )?;
        let count = u16::try_from(Kind::all().count())?;
        let first_port = free_ports(count)?;
        let child = Command::new(program()?)
            .args(["sandbox", "--all", "--base-port", &first_port.to_string()])
            .arg("--scenario")
            .arg(&scenario)
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("stdout"))?)
            .spawn()?;
        Ok(Self {
            child,
            first_port,
            _folder: folder,
        })
    }

    fn address(&self, kind: Kind) -> Result<SocketAddr> {
        let place = Kind::all().position(|other| other == kind);
        let offset = u16::try_from(place.context("no such kind")?)?;
        Ok((Ipv4Addr::LOCALHOST, self.first_port + offset).into())
    }
}

/// A gateway with a provider of each kind and the only route to it for `KIND.example`.
async fn gateway(simulators: &Simulators) -> Result<Gateway> {
    let mut tables = "[providers.kept.capture]\n[routes.main]\nstrategy = \"failover\"\n\
                      targets = [{ provider = \"kept\" }]\n"
        .to_owned();
    for kind in Kind::all() {
        let name = kind.as_str();
        tables += &provider_tables(kind, name, simulators.address(kind)?);
        tables += &format!(
            "[routes.{name}]\nstrategy = \"failover\"\n\
             targets = [{{ provider = \"{name}\" }}, {{ provider = \"kept\" }}]\n\
             [[rules]]\nname = \"{name}\"\nwhen = {{ recipient_domain = [\"{name}.example\"] }}\n\
             then = {{ route = \"{name}\" }}\n"
        );
    }
    let mut config = Config::rehearsal(&tables)?;
    let retry = "first = \"10s\", factor = 2.0, max = \"15m\"";
    config.replace(retry, "first = \"1s\", factor = 1.0, max = \"1s\"")?;
    Gateway::start(config).await
}

/// A simulator's count of faults that it played.
async fn played(client: &reqwest::Client, address: SocketAddr) -> Result<u64> {
    let url = format!("http://{address}/_sandbox/stats");
    let stats: Value = client.get(url).send().await?.json().await?;
    stats["faults"].as_u64().context("no count of faults")
}

/// Sends several mails to each of these at one time, before a breaker can keep one from it, and waits
/// until each has played all of its faults.
async fn provoke(gateway: &Gateway, kinds: &[(Kind, SocketAddr)]) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let at = SystemClock::start().now().checked_add(SUBMITTED_MAX)?;
    for number in 0..MAILS {
        for (kind, _) in kinds {
            let mut order = order(&format!("r{number}@{}.example", kind.as_str()));
            order["send_at"] = at.to_string().into();
            gateway.submit(&order).await?;
        }
    }
    let mut missing = Vec::new();
    let all_played = eventually("every fault is played", THROUGH_MAX, async || {
        missing.clear();
        for (kind, address) in kinds {
            match played(&client, *address).await? {
                FAULTS => {}
                fewer => missing.push((kind.as_str(), fewer)),
            }
        }
        Ok(missing.is_empty().then_some(()))
    })
    .await;
    all_played.with_context(|| format!("of {FAULTS} played: {missing:?}"))
}

/// What came of the attempts at all mails to this service.
async fn outcomes(gateway: &Gateway, kind: Kind) -> Result<BTreeSet<String>> {
    let mut outcomes = BTreeSet::new();
    for number in 0..MAILS {
        let recipient = format!("r{number}@{}.example", kind.as_str());
        let states = ["sent", "delivered", "bounced", "suppressed"];
        let timeline = gateway
            .reached(&recipient, SHOP_KEY, &states, SENT_MAX)
            .await?;
        outcomes.extend(attempts(&timeline).into_iter().map(|(_, outcome)| outcome));
    }
    Ok(outcomes)
}

#[tokio::test]
async fn mail_comes_through_every_misbehaviour_of_the_example() -> Result<()> {
    let hooks = Peer::start(|_| Answer::empty(200)).await?;
    let simulators = Simulators::start(hooks.address)?;
    let gateway = gateway(&simulators).await?;
    // A server that speaks SMTP has no webhooks, and its control endpoints are elsewhere.
    let kinds = Kind::all().filter(|kind| *kind != Kind::Smtp);
    let kinds: Vec<(Kind, SocketAddr)> = kinds
        .map(|kind| Ok((kind, simulators.address(kind)?)))
        .collect::<Result<_>>()?;
    provoke(&gateway, &kinds).await?;
    for (kind, _) in &kinds {
        let outcomes = outcomes(&gateway, *kind).await?;
        for expected in ["sent", "throttled", "unknown"] {
            let name = kind.as_str();
            ensure!(outcomes.contains(expected), "{name}: {outcomes:?}");
        }
    }
    eventually("each has posted, and one twice", SENT_MAX, async || {
        let posted = hooks.requests();
        let has_posted = |(kind, _): &(Kind, SocketAddr)| {
            let path = format!("/v1/webhooks/{}", kind.as_str());
            posted.iter().any(|post| post.target.starts_with(&path))
        };
        let bodies: BTreeSet<&str> = posted.iter().map(|post| post.body.as_str()).collect();
        let is_all = kinds.iter().all(has_posted) && bodies.len() < posted.len();
        Ok(is_all.then_some(()))
    })
    .await
}
