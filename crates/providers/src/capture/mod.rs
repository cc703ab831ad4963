//! A provider that takes everything and sends nothing, for development: the message stays in the
//! store, where the admin listener shows it.

use std::sync::Arc;

use async_trait::async_trait;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::provider::{
    Account, Capabilities, Outgoing, Provider, Receipt, Reply, SendError, SendReport,
};
use malote_core::tracking::TrackingSwitches;
use malote_core::units::Span;
use serde::Deserialize;

use crate::{Adapter, ProviderConfig};

/// Longest pretended wait, below every wait for a reply.
const DELAY_S_MAX: u64 = 30;

/// `[providers.NAME.capture]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureConfig {
    /// How long a send pretends to take, at most `"30s"`. Default: no time.
    pub delay: Option<Span>,
}

/// Builds the adapter; see [`crate::build`].
pub(crate) fn build(
    name: &ProviderName,
    table: &CaptureConfig,
    _config: &ProviderConfig,
    _clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let before = faults.len();
    if table
        .delay
        .is_some_and(|delay| delay.0.as_secs() > DELAY_S_MAX)
    {
        let path = format!("providers.{name}.capture.delay");
        faults.push(ConfigFault::error(path, "must be at most \"30s\""));
    }
    (faults.len() == before).then(|| Adapter {
        provider: Arc::new(CaptureProvider { delay: table.delay }),
        webhook: None,
        list: None,
    })
}

struct CaptureProvider {
    delay: Option<Span>,
}

/// Nothing is too much for it; the gateway's own bounds are lower.
const CAPABILITIES: Capabilities = Capabilities {
    message_bytes_max: u64::MAX,
    recipients_max: 1000,
    envelope_sender: true,
    smtputf8: true,
    eight_bit: true,
    tracking: TrackingSwitches::NEVER,
};

#[async_trait]
impl Provider for CaptureProvider {
    fn kind(&self) -> &'static str {
        "capture"
    }

    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    async fn send(&self, outgoing: &Outgoing) -> SendReport {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay.0).await;
        }
        let receipt = |recipient: &malote_core::provider::OutgoingRecipient| Receipt {
            provider_message_id: format!("captured-{}", recipient.delivery),
            reply: Reply::new(Some(250), None, "captured, not sent"),
        };
        outgoing.recipients.iter().map(|r| Ok(receipt(r))).collect()
    }

    async fn check(&self) -> Result<Account, SendError> {
        Ok(Account {
            note: "captures mail and sends nothing".to_owned(),
            ..Account::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use malote_core::clock::FixedClock;
    use tokio::time::Instant;

    use super::*;
    use crate::correlation::tests::outgoing;

    fn build_from(table: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
        let config: ProviderConfig = toml::from_str(table).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(FixedClock(jiff::Timestamp::UNIX_EPOCH));
        let name = ProviderName::try_from("dev").unwrap();
        let mut faults = Vec::new();
        let adapter = crate::build(&name, &config, &clock, &mut faults);
        (adapter, faults)
    }

    #[tokio::test]
    async fn everything_is_taken_and_named_by_its_delivery() {
        let (adapter, faults) = build_from("[capture]\ndelay = '50ms'");
        assert_eq!(faults, []);
        let sent = outgoing(&["a@x.test", "b@x.test"]);
        let begun = Instant::now();
        let report = adapter.unwrap().provider.send(&sent).await;
        assert!(begun.elapsed() >= Duration::from_millis(50));
        for (result, recipient) in report.iter().zip(&sent.recipients) {
            let id = &result.as_ref().unwrap().provider_message_id;
            assert_eq!(*id, format!("captured-{}", recipient.delivery));
        }
        assert_eq!(report.len(), 2);
    }

    #[test]
    fn a_table_takes_a_delay_and_nothing_else() {
        assert!(build_from("[capture]").0.is_some());
        let (adapter, faults) = build_from("[capture]\ndelay = '31s'");
        assert!(adapter.is_none());
        assert_eq!(faults[0].path, "providers.dev.capture.delay");
        assert!(toml::from_str::<ProviderConfig>("[capture]\nport = 1").is_err());
    }
}
