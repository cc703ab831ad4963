//! Addresses that wait to be looked up: what waits at the same time is one search.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::{self, Receiver, Sender};

use super::contact::Contact;
use super::miss::Miss;

/// Most addresses of one search. An outlet is told no more events at once, and the query stays below
/// the 8 KiB that servers take of a request line.
pub(crate) const ADDRESSES_MAX: usize = 8;

/// What a search found of one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its contacts.
    pub contacts: Vec<Contact>,
    /// Whether there are more than are looked at.
    pub is_cut: bool,
}

/// Those that wait for a search.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    waiting: Mutex<VecDeque<Lookup>>,
    searching: tokio::sync::Mutex<()>,
}

/// An address that waits.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// The address.
    pub address: String,
    answer: Sender<Result<Found, Miss>>,
}

/// Whoever joined has an answer, or makes the next search for all that wait, itself among them.
pub(crate) enum Turn<'a> {
    /// Somebody has looked it up meanwhile.
    Answered(Result<Found, Miss>),
    /// Nobody else searches while this is held.
    Search {
        /// Where the own answer arrives.
        answer: Receiver<Result<Found, Miss>>,
        /// One search at a time: this is what makes the others wait together.
        _searching: tokio::sync::MutexGuard<'a, ()>,
    },
}

impl Lookup {
    /// Tells whoever waits. Who is gone needs no answer.
    pub(crate) fn answer(self, found: Result<Found, Miss>) {
        self.answer.send(found).ok();
    }
}

impl Lookups {
    /// Waits with the others, for an answer or to make the next search.
    pub(crate) async fn join(&self, address: &str) -> Turn<'_> {
        let (sender, mut answer) = oneshot::channel();
        self.waiting().push_back(Lookup {
            address: address.to_owned(),
            answer: sender,
        });
        tokio::select! {
            biased;
            found = &mut answer => Turn::Answered(found.unwrap_or_else(|_| Err(cut_off()))),
            searching = self.searching.lock() => Turn::Search { answer, _searching: searching },
        }
    }

    /// Those that are looked up next, who came first first; who has gone meanwhile is left out.
    pub(crate) fn take(&self) -> Vec<Lookup> {
        let mut waiting = self.waiting();
        waiting.retain(|lookup| !lookup.answer.is_closed());
        let count = waiting.len().min(ADDRESSES_MAX);
        waiting.drain(..count).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Lookup>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever searched for it was stopped.
pub(crate) fn cut_off() -> Miss {
    Miss::Later {
        after: None,
        why: "the search was cut off".to_owned(),
    }
}

/// The addresses as `where[0][val]` of the expression `in` takes them: Mautic reads a line of CSV.
pub(crate) fn list(addresses: &[String]) -> String {
    let field = |address: &String| match address.contains([',', '"']) {
        true => format!("\"{}\"", address.replace('"', "\"\"")),
        false => address.clone(),
    };
    let fields: Vec<String> = addresses.iter().map(field).collect();
    fields.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_line_of_csv() {
        for (addresses, line) in [
            (vec!["a@x.test"], "a@x.test"),
            (
                vec!["o'brien@x.test", "b+c@x.test"],
                "o'brien@x.test,b+c@x.test",
            ),
            (
                vec!["\"a,b\"@x.test", "c@x.test"],
                "\"\"\"a,b\"\"@x.test\",c@x.test",
            ),
        ] {
            let addresses: Vec<String> = addresses.into_iter().map(ToOwned::to_owned).collect();
            assert_eq!(list(&addresses), line);
        }
    }

    #[tokio::test]
    async fn who_waits_is_taken_in_turn_and_who_is_gone_is_left_out() {
        let lookups = Lookups::default();
        let Turn::Search { answer, _searching } = lookups.join("0@x.test").await else {
            panic!("nobody searches yet");
        };
        let gone = lookups.join("gone@x.test");
        let waits = |number: usize| {
            let lookups = &lookups;
            async move { lookups.join(&format!("{number}@x.test")).await }
        };
        let waiting: Vec<_> = (1..=8).map(waits).map(Box::pin).collect();
        let mut waiting = waiting;
        let once = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(once, gone).await.is_err());
        for own in &mut waiting {
            assert!(tokio::time::timeout(once, own).await.is_err());
        }
        let taken: Vec<String> = lookups.take().into_iter().map(|own| own.address).collect();
        let expected: Vec<String> = (0..8).map(|number| format!("{number}@x.test")).collect();
        assert_eq!(taken, expected);
        assert_eq!(lookups.take().len(), 1);
        drop(answer);
        // Those that were taken and never told are told so.
        let Turn::Answered(told) = waiting.swap_remove(0).await else {
            panic!("not answered");
        };
        assert_eq!(told, Err(cut_off()));
    }
}
