//! The adapter against scripted servers on loopback.

mod deadlines;
mod inspect;
mod names;
mod outcome;
mod pooling;
mod protocol;
mod returned;
mod server;
mod services;
mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use malote_core::clock::{Clock, SystemClock};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::message::DsnParameters;
use malote_core::name::{PoolName, StreamName};
use malote_core::provider::{Outgoing, OutgoingRecipient, Provider, SendReport, Verdict};
use malote_core::stream::{Class, WritePace};

use super::config::Settings;
use super::connect::Timing;
use super::pools::Pools;
use super::{SmtpConfig, SmtpProvider};

/// Nothing here takes longer.
const DEADLINE: Duration = Duration::from_secs(10);

const BODY: &str = "From: a@shop.example\r\nMessage-ID: <own@x>\r\n\r\n.hi\r\n";

fn timing() -> Timing {
    let step = Duration::from_millis(400);
    Timing {
        connect: Duration::from_secs(2),
        banner: step,
        ehlo: step,
        tls: step,
        auth: step,
        command: step,
        busy: step,
    }
}

/// The machine's clock.
pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

fn settings_of(table: &str) -> Settings {
    let config: SmtpConfig = toml::from_str(table).unwrap();
    config.check("t", &mut Vec::new()).expect("a good table")
}

fn provider_of(table: &str, sources: &[&str]) -> SmtpProvider {
    let mut settings = settings_of(table);
    settings.endpoint.timing = timing();
    let addresses: Vec<IpAddr> = sources.iter().map(|ip| ip.parse().unwrap()).collect();
    let pool = PoolName::try_from("bulk").unwrap();
    SmtpProvider::new("smtp", settings, Pools::with_sources(pool, addresses))
}

fn provider(port: u16) -> SmtpProvider {
    provider_of(
        &format!("host = '127.0.0.1'\nport = {port}\ntls = 'none'"),
        &[],
    )
}

fn outgoing(addresses: &[&str]) -> Outgoing {
    let message = MessageId::from_bytes([7; 16]);
    let recipient = |(index, address): (usize, &&str)| OutgoingRecipient {
        delivery: DeliveryId {
            message,
            index: u16::try_from(index).unwrap(),
        },
        address: address.parse().unwrap(),
        notify: None,
        orcpt: None,
    };
    Outgoing {
        message,
        recipients: addresses.iter().enumerate().map(recipient).collect(),
        mail_from: Some("bounce@shop.example".parse().unwrap()),
        body: Bytes::from_static(BODY.as_bytes()),
        pool: PoolName::try_from("bulk").unwrap(),
        stream: StreamName::try_from("campaign").unwrap(),
        class: Class::Campaign,
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        tracking: malote_core::tracking::Tracking::default(),
        dsn: DsnParameters::default(),
        write_pace: WritePace {
            wait_max: Duration::from_millis(400),
            bytes_per_second_min: NonZeroU64::MAX,
        },
        reply_wait_max: Duration::from_millis(400),
    }
}

async fn send(provider: &SmtpProvider, outgoing: &Outgoing) -> SendReport {
    let sent = tokio::time::timeout(DEADLINE, provider.send(outgoing));
    let report = sent.await.expect("a send ends by itself");
    assert_eq!(report.len(), outgoing.recipients.len());
    report
}

/// `Ok(id)` or the verdict, of each recipient.
fn results(report: SendReport) -> Vec<Result<String, Verdict>> {
    let short = |r: Result<malote_core::provider::Receipt, malote_core::provider::SendError>| {
        r.map(|receipt| receipt.provider_message_id)
            .map_err(|error| error.verdict)
    };
    report.into_iter().map(short).collect()
}
