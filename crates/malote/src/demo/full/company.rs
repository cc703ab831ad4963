//! Who plays in the full demo: the gateway as a program of its own, eight services, a relay, a
//! Mautic and an app.

use anyhow::Context;

use super::app::{self, App};
use super::desk::Desk;
use super::mailer::Mailer;
use super::mautic::Mautic;
use super::service::Service;
use crate::demo::process::{Gateway, free_address, new_folder};

/// The gateway's configuration without the services.
const CONFIG: &str = include_str!("full.toml");

/// Everybody.
pub(super) struct Company {
    /// The eight services and the relay, which is the last one.
    pub(super) services: Vec<Service>,
    pub(super) mautic: Mautic,
    pub(super) app: App,
    pub(super) desk: Desk,
    pub(super) mailer: Mailer,
    gateway: Gateway,
}

impl Company {
    /// Starts everybody and waits until the gateway is ready.
    pub(super) async fn gather() -> anyhow::Result<Self> {
        let services = Service::enter_all().await?;
        // Whoever may be written to is a contact, so that a wrong word about anyone shows.
        let names = [
            "ana", "block", "gone", "blocked", "full", "angry", "tired", "calm", "nobody",
        ];
        let people = services
            .iter()
            .flat_map(|service| names.iter().map(|name| service.person(name)));
        let mautic = Mautic::open(people.collect()).await?;
        let app = App::open().await?;
        let (http, smtp, admin) = (
            free_address().await?,
            free_address().await?,
            free_address().await?,
        );
        let folder = new_folder()?;
        let mut config = CONFIG
            .replace("{http}", &http.to_string())
            .replace("{smtp}", &smtp.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{store}", &folder.join("demo.db").display().to_string())
            .replace("{app}", &format!("http://{}/events", app.address))
            .replace("{app_secret}", app::SECRET)
            .replace("{mautic}", &format!("http://{}", mautic.address));
        for service in &services {
            config.push_str(&service.tables(&folder)?);
        }
        let gateway = Gateway::start(folder, &config, admin).await?;
        Ok(Self {
            services,
            mautic,
            app,
            desk: Desk::new(http, admin)?,
            mailer: Mailer::new(smtp, gateway.folder())?,
            gateway,
        })
    }

    /// The service of this name.
    pub(super) fn service(&self, name: &str) -> anyhow::Result<&Service> {
        let mut services = self.services.iter();
        let found = services.find(|service| service.name() == name);
        found.with_context(|| format!("no service {name}"))
    }

    /// Those that report by webhooks: all but the relay.
    pub(super) fn reporters(&self) -> impl Iterator<Item = &Service> {
        self.services
            .iter()
            .filter(|service| service.has_webhooks())
    }

    /// From now on every service reports each mail as delivered, twice.
    pub(super) fn deliver_all(&self) -> anyhow::Result<()> {
        self.reporters()
            .try_for_each(|service| service.deliver_all(&self.desk.http))
    }

    /// From now on no service says anything of its own accord.
    pub(super) fn be_silent(&self) {
        self.reporters().for_each(Service::be_silent);
    }

    /// Ends the gateway in order and removes what it left.
    pub(super) async fn leave(self) {
        self.gateway.leave().await;
    }
}
