//! A gateway with its three simulated services.

use anyhow::Result;
use malote_sandbox::Kind;

use crate::config::{Backends, Config};
use crate::gateway::Gateway;
use crate::service::Service;

/// The contract, running.
pub struct World {
    /// The real program.
    pub gateway: Gateway,
    /// Amazon SES: transactional mail's first target.
    pub ses: Service,
    /// Mailgun: nine tenths of the campaigns.
    pub mailgun: Service,
    /// The SMTP relay: transactional mail's second target.
    pub relay: Service,
}

impl World {
    /// Starts the contract as it is.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| Ok(())).await
    }

    /// Starts the contract with changes.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start_with(change: impl FnOnce(&mut Config) -> Result<()>) -> Result<Self> {
        let ses = Service::start(Kind::Ses).await?;
        let mailgun = Service::start(Kind::Mailgun).await?;
        let relay = Service::start(Kind::Smtp).await?;
        let mut config = Config::contract(Backends {
            ses: ses.address,
            mailgun: mailgun.address,
            relay: relay.address,
        })?;
        change(&mut config)?;
        let gateway = Gateway::start(config).await?;
        Ok(Self {
            gateway,
            ses,
            mailgun,
            relay,
        })
    }
}
