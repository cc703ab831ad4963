//! An outlet that does what a test tells it to, and remembers what it was told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use malote_core::event::EventKind;
use malote_core::feed::FeedEvent;
use malote_core::name::CredentialName;
use malote_core::outlet::{Checked, Outlet, OutletMail, OutletName, Told, Untold};

/// What being told comes to.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Yes,
    /// After this time.
    YesAfter(Duration),
    Later(Option<Duration>),
    Busy(Duration),
    Never,
    Unusable,
    /// By mail through this provider.
    Mail(&'static str),
    Panic,
}

/// What an outlet was told: the event's id, its recipient and word, and the attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) recipient: String,
    pub(crate) word: String,
    pub(crate) attempt: u32,
}

/// The outlet. What is said is used up in turn, then `always` is said; what is said of one
/// recipient comes first.
pub(crate) struct Listener {
    name: OutletName,
    credential: CredentialName,
    deaf_to: Mutex<Vec<&'static str>>,
    next: Mutex<VecDeque<Say>>,
    always: Mutex<Say>,
    of: Mutex<BTreeMap<String, Say>>,
    heard: Mutex<Vec<Heard>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    keeps_the_last: AtomicBool,
    breaks_in: AtomicI64,
}

impl Listener {
    pub(crate) fn new(credential: &str, label: &str) -> Arc<Self> {
        let credential: CredentialName = credential.parse().unwrap();
        Arc::new(Self {
            name: OutletName::new(&credential, label),
            credential,
            deaf_to: Mutex::default(),
            next: Mutex::default(),
            always: Mutex::new(Say::Yes),
            of: Mutex::default(),
            heard: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            keeps_the_last: AtomicBool::new(false),
            breaks_in: AtomicI64::new(0),
        })
    }

    /// Of who leaves and comes back it keeps what it hears last.
    pub(crate) fn keeps_the_last(&self) {
        self.keeps_the_last.store(true, Ordering::SeqCst);
    }

    /// It panics once, when it is asked so many times what undoes an event.
    pub(crate) fn breaks_in(&self, questions: i64) {
        self.breaks_in.store(questions, Ordering::SeqCst);
    }

    /// Words of events that it does not want to hear of.
    pub(crate) fn deaf_to(&self, word: &'static str) {
        self.deaf_to.lock().unwrap().push(word);
    }

    pub(crate) fn then(&self, says: impl IntoIterator<Item = Say>) {
        self.next.lock().unwrap().extend(says);
    }

    pub(crate) fn always(&self, say: Say) {
        *self.always.lock().unwrap() = say;
    }

    pub(crate) fn of(&self, recipient: &str, say: Say) {
        self.of.lock().unwrap().insert(recipient.to_owned(), say);
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Recipient and word of all it was told.
    pub(crate) fn words(&self) -> Vec<String> {
        let heard = self.heard();
        let words = heard
            .iter()
            .map(|one| format!("{} {}", one.recipient, one.word));
        words.collect()
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }

    fn say(&self, recipient: &str) -> Say {
        if let Some(say) = self.of.lock().unwrap().get(recipient) {
            return say.clone();
        }
        let next = self.next.lock().unwrap().pop_front();
        next.unwrap_or_else(|| self.always.lock().unwrap().clone())
    }
}

/// Counts as under way until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Outlet for Listener {
    fn name(&self) -> &OutletName {
        &self.name
    }

    fn credential(&self) -> &CredentialName {
        &self.credential
    }

    fn wants(&self, event: &FeedEvent) -> bool {
        !self.deaf_to.lock().unwrap().contains(&event.kind.as_str())
    }

    fn undone_by(&self, kind: &EventKind) -> Option<EventKind> {
        let is_over = self.breaks_in.fetch_sub(1, Ordering::SeqCst) == 1;
        assert!(!is_over, "the script says so");
        let (left, back) = (EventKind::Unsubscribed, EventKind::Resubscribed);
        let undone_by = if *kind == left {
            back
        } else if *kind == back {
            left
        } else {
            return None;
        };
        let keeps_the_last = self.keeps_the_last.load(Ordering::SeqCst);
        keeps_the_last.then_some(undone_by)
    }

    async fn check(&self) -> Result<Checked, Untold> {
        Ok(Checked::well("hears".to_owned()))
    }

    async fn tell(&self, event: &FeedEvent, attempt: u32) -> Result<Told, Untold> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let _under_way = UnderWay(&self.under_way);
        self.heard.lock().unwrap().push(Heard {
            id: event.id.to_string(),
            recipient: event.recipient.clone(),
            word: event.kind.as_str().to_owned(),
            attempt,
        });
        let why = "the script says so".to_owned();
        match self.say(&event.recipient) {
            Say::Yes => Ok(Told::Done("200".into())),
            Say::YesAfter(wait) => {
                tokio::time::sleep(wait).await;
                Ok(Told::Done("200".into()))
            }
            Say::Later(after) => Err(Untold::Later { after, why }),
            Say::Busy(after) => Err(Untold::Busy { after, why }),
            Say::Never => Err(Untold::Never { why }),
            Say::Unusable => Err(Untold::Unusable { why }),
            Say::Mail(provider) => Ok(Told::ByMail(OutletMail {
                to: "feedback@mautic.example".parse().unwrap(),
                from: "gateway@shop.example".parse().unwrap(),
                body: format!(
                    "From: gateway@shop.example\r\nTo: feedback@mautic.example\r\n\
                     Message-ID: <{}@shop.example>\r\n\r\n{}\r\n",
                    event.id, event.recipient
                )
                .into(),
                provider: provider.parse().unwrap(),
            })),
            Say::Panic => panic!("the script says so"),
        }
    }
}
