//! An adapter, built from a table as the gateway builds it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use malote_core::clock::{Clock, SystemClock};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::message::DsnParameters;
use malote_core::provider::{Outgoing, OutgoingRecipient, Provider};
use malote_core::stream::{Class, WritePace};
use malote_core::tracking::Tracking;

use crate::Fault;
use crate::given::Given;

/// The adapter and what it sends.
pub(crate) struct Malote {
    provider: Arc<dyn Provider>,
    body: Bytes,
    number: AtomicU64,
}

impl Malote {
    pub(crate) fn new(given: &Given) -> Result<Self, Fault> {
        let url = given.text("url")?;
        let service = given.text("service")?;
        let table = match service {
            "mailgun" => format!("domain = 'shop.example'\napi_key = 'key'\nendpoint = '{url}'"),
            "sendgrid" => format!("transport = 'api'\napi_key = 'SG.key'\nendpoint = '{url}'"),
            "ses" => format!(
                "region = 'us-east-1'\naccess_key_id = 'AKIAIOSFODNN7EXAMPLE'\n\
                 secret_access_key = 'key'\nendpoint = '{url}'"
            ),
            other => return Err(format!("service {other:?} is not measured").into()),
        };
        let text = format!(
            "http2 = {}\nlimits.concurrency = {}\n[{service}]\n{table}\n",
            given.is_http2()?,
            given.number("inflight")?
        );
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let mut faults = Vec::new();
        let config = toml::from_str(&text)?;
        let name = "measured".try_into()?;
        let adapter = malote_providers::build(&name, &config, &clock, &mut faults);
        Ok(Self {
            provider: adapter.ok_or(format!("{faults:?}"))?.provider,
            body: given.message()?.into(),
            number: AtomicU64::new(0),
        })
    }

    pub(crate) async fn send(&self) -> Result<(), Fault> {
        let outgoing = self.outgoing()?;
        for result in self.provider.send(&outgoing).await {
            result.map_err(|error| error.reply.to_string())?;
        }
        Ok(())
    }

    /// The next message; the engine makes one of these for each call too.
    fn outgoing(&self) -> Result<Outgoing, Fault> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let message = MessageId::from_bytes(u128::from(number).to_be_bytes());
        Ok(Outgoing {
            message,
            recipients: vec![OutgoingRecipient {
                delivery: DeliveryId { message, index: 0 },
                address: "ana@dest.example".parse()?,
                notify: None,
                orcpt: None,
            }],
            mail_from: Some("bounce@shop.example".parse()?),
            body: self.body.clone(),
            pool: "default".try_into()?,
            stream: "orders".try_into()?,
            class: Class::Transactional,
            tags: vec!["order".to_owned()],
            metadata: BTreeMap::from([("order".to_owned(), "42".to_owned())]),
            tracking: Tracking::default(),
            dsn: DsnParameters::default(),
            write_pace: WritePace::default(),
            reply_wait_max: Duration::from_secs(60),
        })
    }
}
