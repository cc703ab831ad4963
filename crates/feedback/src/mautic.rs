//! Mautic: which contacts must not be written to again, told by the first way that works.

mod api;
mod config;
mod contact;
mod lookups;
mod miss;
mod pace;
mod post;
mod report;
mod rights;
mod saying;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::clock::Clock;
use malote_core::event::EventKind;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::feed::FeedEvent;
use malote_core::name::CredentialName;
use malote_core::outlet::{Checked, Outlet, OutletName, Told, Unasked, Untold};
use reqwest::Url;
use tokio::time::timeout;

pub use self::config::MauticConfig;
pub use self::saying::SinkKind;

use self::api::Api;
use self::config::Table;
use self::miss::Miss;
use self::report::Mailbox;
use self::saying::Saying;
use crate::Owner;
use crate::web::{Reach, Web};

/// Longest that telling one event may take, all calls and turns together; below
/// [`malote_core::outlet::TELL_WAIT_MAX`].
const TELL_MAX: Duration = Duration::from_secs(55);

/// Largest answer that is read: a page of contacts with all their fields.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// One Mautic.
#[derive(Debug)]
struct MauticOutlet {
    name: OutletName,
    credential: CredentialName,
    peer: Peer,
    sinks: Vec<Sink>,
}

/// Where Mautic is, and how it is called.
struct Peer {
    web: Web,
    base: Option<Url>,
    clock: Arc<dyn Clock>,
}

/// A way to tell it, ready for use.
#[derive(Debug)]
enum Sink {
    /// The REST API.
    Api(Box<Api>),
    /// One-click addresses on these hosts.
    OneClick(Vec<String>),
    /// Reports to this mailbox.
    Dsn(Mailbox),
    /// The plug-in's callback.
    KumomtaCallback,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Peer {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn base(&self) -> Result<&Url, Miss> {
        let missing = || Miss::Closed("url is missing".to_owned());
        self.base.as_ref().ok_or_else(missing)
    }
}

impl Sink {
    const fn kind(&self) -> SinkKind {
        match self {
            Self::Api(_) => SinkKind::Api,
            Self::OneClick(_) => SinkKind::OneClick,
            Self::Dsn(_) => SinkKind::Dsn,
            Self::KumomtaCallback => SinkKind::KumomtaCallback,
        }
    }
}

/// Mautic's X-EMAIL-ID, where the campaign is one.
fn email_id(event: &FeedEvent) -> Option<u64> {
    let id = event.campaign.as_deref()?.trim().parse().ok()?;
    (id > 0).then_some(id)
}

/// Builds the outlet of the table `at`; `None` if something is wrong with it.
pub(crate) fn build(
    owner: &Owner<'_>,
    at: &str,
    config: &MauticConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn Outlet>> {
    let before = faults.len();
    let reach = Reach::of(config.allow_private);
    let mut table = Table { at, config, faults };
    let (base, sinks) = (table.base(reach), table.sinks());
    let web = Web::new(reach).map(|web| web.reading_up_to(ANSWER_BYTES_MAX));
    if let Err(error) = &web {
        faults.push(ConfigFault::error(at, format!("no TLS: {error}")));
    }
    let web = web.ok()?;
    if faults[before..]
        .iter()
        .any(|f| f.severity == Severity::Error)
    {
        return None;
    }
    Some(Arc::new(MauticOutlet {
        name: OutletName::new(owner.name, "mautic"),
        credential: owner.name.clone(),
        peer: Peer {
            web,
            base,
            clock: Arc::clone(owner.clock),
        },
        sinks,
    }))
}

#[async_trait]
impl Outlet for MauticOutlet {
    fn name(&self) -> &OutletName {
        &self.name
    }

    fn credential(&self) -> &CredentialName {
        &self.credential
    }

    fn wants(&self, event: &FeedEvent) -> bool {
        let can_say = |saying| self.sinks.iter().any(|sink| sink.kind().can_say(saying));
        event.credential == self.credential && Saying::of(event).is_some_and(can_say)
    }

    fn undone_by(&self, kind: &EventKind) -> Option<EventKind> {
        Saying::undone_by(kind)
    }

    async fn tell(&self, event: &FeedEvent, attempt: u32) -> Result<Told, Untold> {
        let told = timeout(TELL_MAX, self.by_the_first_that_works(event, attempt)).await;
        told.unwrap_or_else(|_| {
            Err(Untold::Later {
                after: None,
                why: "Mautic took too long".to_owned(),
            })
        })
    }

    async fn check(&self) -> Result<Checked, Untold> {
        let mut words = Vec::new();
        let mut misses = Vec::new();
        let mut unasked = None;
        for sink in &self.sinks {
            match timeout(TELL_MAX, self.check_one(sink)).await {
                Ok(Ok(found)) => {
                    words.extend(Some(found.words).filter(|words| !words.is_empty()));
                    unasked = unasked.or(found.unasked);
                }
                Ok(Err(missed)) => misses.push((sink.kind(), missed)),
                Err(_) => {
                    let why = "Mautic took too long".to_owned();
                    misses.push((sink.kind(), Miss::Later { after: None, why }));
                }
            }
        }
        match misses.is_empty() {
            true => Ok(Checked {
                words: words.join("; "),
                unasked,
            }),
            false => Err(miss::untold(&misses)),
        }
    }
}

impl MauticOutlet {
    /// Looks at one way, by no request that could be taken for an event.
    async fn check_one(&self, sink: &Sink) -> Result<Checked, Miss> {
        match sink {
            Sink::Api(api) => api.check(&self.peer).await.map(Checked::well),
            Sink::OneClick(hosts) => post::check_hosts(&self.peer, hosts)
                .await
                .map(Checked::well),
            Sink::Dsn(mailbox) => Ok(Checked {
                words: String::new(),
                unasked: Some(Unasked {
                    what: "dsn: no mailbox can be asked whether Mautic reads it".to_owned(),
                    way_out: format!(
                        "see in Mautic that mail to {} arrives and is fetched",
                        mailbox.to
                    ),
                }),
            }),
            Sink::KumomtaCallback => post::check_callback(&self.peer).await.map(Checked::well),
        }
    }

    async fn by_the_first_that_works(
        &self,
        event: &FeedEvent,
        attempt: u32,
    ) -> Result<Told, Untold> {
        let mut misses = Vec::new();
        let Some(saying) = Saying::of(event) else {
            return Err(miss::untold(&misses));
        };
        let sinks = self.sinks.iter().filter(|sink| sink.kind().can_say(saying));
        for sink in sinks {
            let missed = match self.by(sink, saying, (event, attempt)).await {
                Ok(Told::Done(words)) if !misses.is_empty() => {
                    let why = miss::words(&misses);
                    return Ok(Told::Done(format!("{words}, since {why}")));
                }
                Ok(told) => return Ok(told),
                Err(missed) => missed,
            };
            let waits = missed.is_worth_waiting(attempt);
            misses.push((sink.kind(), missed));
            if waits {
                break;
            }
        }
        Err(miss::untold(&misses))
    }

    async fn by(
        &self,
        sink: &Sink,
        saying: Saying,
        (event, attempt): (&FeedEvent, u32),
    ) -> Result<Told, Miss> {
        match sink {
            Sink::Api(api) => api.say(&self.peer, saying, (event, attempt)).await,
            Sink::OneClick(hosts) => post::one_click(&self.peer, hosts, event, attempt).await,
            Sink::Dsn(mailbox) => {
                report::compose(mailbox, saying, event, self.peer.now()).map(Told::ByMail)
            }
            Sink::KumomtaCallback => post::kumomta_callback(&self.peer, event).await,
        }
    }
}
