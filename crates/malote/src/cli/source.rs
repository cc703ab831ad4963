//! What a reading command reads: a running gateway, else the store, read-only.

use std::cell::OnceCell;
use std::sync::Arc;

use malote_core::clock::{Clock, SystemClock};
use malote_core::id::MessageId;
use malote_core::ledger::{MessageView, Search, SearchPage};
use malote_delivery::{Hypothesis, MxCache};
use malote_router::{Explanation, Health, Router};
use malote_store::{PostgresSettings, PostgresShared, Shared, StoreError};
use prometheus::Registry;

use super::client::Client;
use super::exit::{Failure, Outcome};
use super::place::{GIVE_CONFIG, PlaceArgs};
use crate::admin::api::{
    GuardBody, NodesBody, OutletsBody, RawEventsBody, StatsBody, SwitchesBody, TargetBody,
    TargetsBody, UnreadableBody,
};
use crate::config::{Config, StorePart, StoreSettings};
use crate::place::StorePlace;

/// What is read.
pub(super) enum Source {
    /// A running gateway.
    Gateway(Client),
    /// The store of one that does not run.
    Store(Box<Offline>),
}

/// A store without its gateway.
pub(super) struct Offline {
    /// The store; every write fails.
    pub(super) store: StorePlace,
    /// Where it is, and where what nodes share is.
    part: StorePart,
    /// The configuration that named it.
    place: PlaceArgs,
    /// All of it, once it was read.
    config: OnceCell<Config>,
    /// Who runs the mailboxes that were asked about.
    mx: MxCache,
    /// The time.
    pub(super) clock: Arc<dyn Clock>,
}

impl Offline {
    /// What nodes share: the store, or the database that the configuration names, opened to be
    /// read only.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) async fn shared(&self) -> Outcome<Arc<dyn Shared>> {
        open_shared(self.part.shared.as_ref(), &self.store, &self.clock).await
    }

    /// The whole configuration that named it.
    ///
    /// # Errors
    /// Exit code 2 with the report, if it is not good.
    pub(super) fn config(&self) -> Outcome<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = self.place.config(GIVE_CONFIG)?;
        Ok(self.config.get_or_init(|| config))
    }
}

impl Source {
    /// A running gateway, or the store of the given configuration; says on standard error which if
    /// it is the store.
    ///
    /// # Errors
    /// Exit code 1 if neither is there.
    pub(super) async fn open(args: &PlaceArgs) -> Outcome<Self> {
        let client = args.client()?;
        let Some(absence) = client.absence().await else {
            return Ok(Self::Gateway(client));
        };
        if !args.has_config() {
            let text = format!("{absence}: give --admin URL, or --config FILE to read the store");
            return Err(Failure::failed(text));
        }
        let part = args.store(GIVE_CONFIG)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let store = open_store(&part.store, &clock).await?;
        let at = part.store.place();
        eprintln!("{absence}: reading the store at {at}");
        Ok(Self::Store(Box::new(Offline {
            store,
            part,
            place: args.clone(),
            config: OnceCell::new(),
            mx: MxCache::new(),
            clock,
        })))
    }

    /// How much waits where.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn stats(&self) -> Outcome<StatsBody> {
        match self {
            Self::Gateway(client) => client.get("queue/stats", &[]).await,
            Self::Store(offline) => {
                let stats = offline.store.spool().stats(offline.clock.now()).await;
                Ok(stats.map_err(unreadable)?.into())
            }
        }
    }

    /// One page of deliveries.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) async fn search(&self, search: &Search) -> Outcome<SearchPage> {
        match self {
            Self::Gateway(client) => client.get("queue", &query_of(search)).await,
            Self::Store(offline) => offline
                .store
                .spool()
                .search(search)
                .await
                .map_err(unreadable),
        }
    }

    /// A message's timeline.
    ///
    /// # Errors
    /// Exit code 3 if there is none of this id.
    pub(super) async fn message(&self, id: MessageId) -> Outcome<MessageView> {
        match self {
            Self::Gateway(client) => client.get(&format!("messages/{id}"), &[]).await,
            Self::Store(offline) => {
                let view = offline.store.spool().view(id).await.map_err(unreadable)?;
                view.ok_or_else(no_message)
            }
        }
    }

    /// What services told of a message's events, as they told it.
    ///
    /// # Errors
    /// Exit code 3 if there is no message of this id.
    pub(super) async fn raw_events(&self, id: MessageId) -> Outcome<RawEventsBody> {
        match self {
            Self::Gateway(client) => client.get(&format!("messages/{id}/raw"), &[]).await,
            Self::Store(offline) => {
                let record = offline
                    .store
                    .spool()
                    .message(id)
                    .await
                    .map_err(unreadable)?;
                record.ok_or_else(no_message)?;
                Ok(offline
                    .store
                    .spool()
                    .raw_events(id)
                    .await
                    .map_err(unreadable)?
                    .into())
            }
        }
    }

    /// What services told and nobody could read, the newest `limit`, newest first.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn unreadable(&self, limit: u16) -> Outcome<UnreadableBody> {
        match self {
            Self::Gateway(client) => {
                let query = [("limit", limit.to_string())];
                client.get("events/unreadable", &query).await
            }
            Self::Store(offline) => {
                let parts = offline.store.spool().unreadable(limit).await;
                Ok(parts.map_err(unreadable)?.into())
            }
        }
    }

    /// Who is told of events.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn outlets(&self) -> Outcome<OutletsBody> {
        match self {
            Self::Gateway(client) => client.get("outlets", &[]).await,
            Self::Store(offline) => {
                let outlets = offline.store.spool().outlets().await.map_err(unreadable)?;
                Ok(OutletsBody {
                    outlets: outlets.into_iter().map(Into::into).collect(),
                })
            }
        }
    }

    /// Why a kept message goes where it goes.
    ///
    /// # Errors
    /// Exit code 3 if there is none of this id.
    pub(super) async fn explain(&self, id: MessageId) -> Outcome<Explanation> {
        match self {
            Self::Gateway(client) => client.get(&format!("explain/{id}"), &[]).await,
            Self::Store(offline) => {
                let message = Hypothesis::of_kept(offline.store.spool().as_ref(), id).await;
                let message = message.map_err(unreadable)?.ok_or_else(no_message)?;
                let config = offline.config()?;
                let (router, mx) = (&config.router, &offline.mx);
                Ok(explain_alone(router, &message, mx, &offline.clock).await)
            }
        }
    }

    /// The targets that routes name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) async fn targets(&self) -> Outcome<TargetsBody> {
        match self {
            Self::Gateway(client) => client.get("targets", &[]).await,
            Self::Store(offline) => Ok(targets_of(offline.config()?)),
        }
    }

    /// The gateways that work together.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) async fn nodes(&self) -> Outcome<NodesBody> {
        match self {
            Self::Gateway(client) => client.get("nodes", &[]).await,
            Self::Store(offline) => {
                let shared = offline.shared().await?;
                NodesBody::of(shared.as_ref()).await.map_err(unreadable)
            }
        }
    }

    /// What the reputation guard counts and has decided.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn guard(&self) -> Outcome<GuardBody> {
        match self {
            Self::Gateway(client) => client.get("guard", &[]).await,
            Self::Store(offline) => {
                let streams = &offline.config()?.streams;
                let shared = offline.shared().await?;
                let now = offline.clock.now();
                let rows = malote_delivery::guard_rows(shared.as_ref(), streams, now).await;
                Ok(rows.map_err(unreadable)?.into())
            }
        }
    }

    /// What is switched off.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn switches(&self) -> Outcome<SwitchesBody> {
        match self {
            Self::Gateway(client) => client.get("switches", &[]).await,
            Self::Store(offline) => {
                let switches = offline.shared().await?.switches().await;
                let switches = switches.map_err(unreadable)?.into_iter();
                Ok(SwitchesBody {
                    switches: switches.map(Into::into).collect(),
                })
            }
        }
    }
}

/// Opens the store of a configuration, to be read only.
///
/// # Errors
/// If there is none, or it cannot be read.
pub(super) async fn open_store(at: &StoreSettings, clock: &Arc<dyn Clock>) -> Outcome<StorePlace> {
    let store = StorePlace::open_read_only(at, clock).await;
    store.map_err(|error| Failure::failed(format!("store {}: {error}", at.place())))
}

/// What nodes share: the store, or the database that the configuration names, opened to be read
/// only.
///
/// # Errors
/// If it cannot be opened.
pub(super) async fn open_shared(
    database: Option<&PostgresSettings>,
    store: &StorePlace,
    clock: &Arc<dyn Clock>,
) -> Outcome<Arc<dyn Shared>> {
    let Some(settings) = database else {
        return Ok(store.shared());
    };
    match PostgresShared::open_read_only(settings, Arc::clone(clock), &Registry::new()).await {
        Ok(shared) => Ok(Arc::new(shared)),
        Err(error) => {
            let place = settings.place();
            Err(Failure::failed(format!("database {place}: {error}")))
        }
    }
}

/// Why a message would go where it goes with every target well, from rules and routes alone.
pub(super) async fn explain_alone(
    router: &Router,
    message: &Hypothesis,
    mx: &MxCache,
    clock: &Arc<dyn Clock>,
) -> Explanation {
    let mut mailboxes = Vec::with_capacity(message.recipients.len());
    for recipient in &message.recipients {
        mailboxes.push(mx.mailbox_provider(router, recipient.domain()).await);
    }
    message.explain(router, &Health::default(), &mailboxes, clock.now())
}

fn targets_of(config: &Config) -> TargetsBody {
    let targets = config.router.targets().into_iter().map(|target| {
        let provider = config.providers.get(&target.provider);
        let kind = provider.map_or("", |provider| provider.adapter.provider.kind());
        TargetBody {
            target: target.to_string(),
            kind: kind.to_owned(),
            is_up: None,
            why: None,
            breaker: None,
        }
    });
    TargetsBody {
        targets: targets.collect(),
    }
}

fn query_of(search: &Search) -> Vec<(&'static str, String)> {
    let given = [
        ("credential", search.owner.as_ref().map(ToString::to_string)),
        ("rcpt", search.recipient.as_ref().map(ToString::to_string)),
        ("stream", search.stream.as_ref().map(ToString::to_string)),
        ("state", search.state.map(|state| state.as_str().to_owned())),
        ("tag", search.tag.clone()),
        ("since", search.since.map(|since| since.to_string())),
        ("cursor", search.cursor.clone()),
        ("limit", Some(search.limit.to_string())),
    ];
    let given = given.into_iter();
    given
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn no_message() -> Failure {
    Failure::Nothing("no such message".to_owned())
}

fn unreadable(error: StoreError) -> Failure {
    Failure::Failed(anyhow::Error::new(error).context("the store cannot be read"))
}
