//! Which stream a message is in, and why.

use std::fmt;
use std::sync::Arc;

use malote_core::name::{NAME_BYTES_MAX, StreamName};
use malote_core::provider::bounded;
use malote_core::stream::Class;
use serde::{Deserialize, Serialize};

use crate::condition::Subject;
use crate::facts::{MessageFacts, STREAM_HEADER};
use crate::router::{Allowed, Router};
use crate::rule::RuleTrial;

/// The stream of a message, with everything that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamDecision {
    /// The stream; written as `null` if nothing says which.
    #[serde(with = "stream_or_null")]
    pub stream: Result<StreamName, NoStream>,
    /// What decided.
    pub reason: StreamReason,
    /// The rules tried, in order, up to the one that decided.
    pub trace: Vec<RuleTrial>,
}

/// Nothing says which stream the message is in: the credential lists several and has no
/// `default_stream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no stream: give `stream`, or set default_stream for this credential")]
pub struct NoStream;

/// What put a message into its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "rule", rename_all = "snake_case")]
pub enum StreamReason {
    /// The API call asked for it.
    Asked,
    /// The operator's rule of this name.
    Rule(Arc<str>),
    /// The message's `X-Malote-Stream`.
    Header,
    /// The credential lists no other.
    OnlyStream,
    /// `Precedence: bulk`.
    PrecedenceBulk,
    /// `List-Unsubscribe`.
    ListUnsubscribe,
    /// `X-EMAIL-ID` without `List-Unsubscribe`.
    EmailIdAlone,
    /// `X-EMAIL-ID` without `List-Unsubscribe`, sent to too many in ten minutes.
    EmailIdBurst,
    /// The credential's `default_stream`.
    DefaultStream,
    /// Nothing: there is no stream.
    Undecided,
}

impl fmt::Display for StreamReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "asked for by the API call",
            Self::Rule(name) => name,
            Self::Header => HEADER,
            Self::OnlyStream => "the credential's only stream",
            Self::PrecedenceBulk => "header Precedence: bulk",
            Self::ListUnsubscribe => "header List-Unsubscribe",
            Self::EmailIdAlone => "header X-EMAIL-ID without List-Unsubscribe",
            Self::EmailIdBurst => "header X-EMAIL-ID sent to many within ten minutes",
            Self::DefaultStream => "the credential's default_stream",
            Self::Undecided => "nothing says which stream",
        })
    }
}

impl StreamDecision {
    /// What decided, and that the stream which `X-Malote-Stream` asks for was passed over, if so: for
    /// the timeline, since the field itself does not leave.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut trials = self.trace.iter().filter(|trial| &*trial.name == HEADER);
        match trials.find_map(|trial| trial.first_failed_condition.as_ref()) {
            None => self.reason.to_string(),
            Some(failed) => {
                let reason = &self.reason;
                format!("{reason}; {HEADER} was passed over, as this does not hold: {failed}")
            }
        }
    }
}

/// How a trace and a timeline name the field that asks for a stream.
const HEADER: &str = "header X-Malote-Stream";

impl Router {
    /// Which stream a message is in. First match: what the API call asked for, the operator's
    /// rules, `X-Malote-Stream`, a credential with one stream only, `Precedence: bulk`,
    /// `List-Unsubscribe`, `X-EMAIL-ID` alone, the credential's `default_stream`. A stream that
    /// the credential may not use is passed over, and the trace says so.
    #[must_use]
    pub fn stream(&self, facts: &MessageFacts<'_>) -> StreamDecision {
        let mut trace = Vec::new();
        let (stream, reason) = self
            .credentials
            .get(facts.credential)
            .and_then(|allowed| self.decide_stream(facts, allowed, &mut trace))
            .map_or((Err(NoStream), StreamReason::Undecided), |(s, r)| {
                (Ok(s.clone()), r)
            });
        StreamDecision {
            stream,
            reason,
            trace,
        }
    }

    fn decide_stream<'s>(
        &'s self,
        facts: &MessageFacts<'_>,
        allowed: &'s Allowed,
        trace: &mut Vec<RuleTrial>,
    ) -> Option<(&'s StreamName, StreamReason)> {
        if let Some(asked) = facts.asked_stream {
            match usable(asked.as_str(), allowed) {
                Some(stream) => return Some((stream, StreamReason::Asked)),
                None => trace.push(RuleTrial::skipped(
                    "asked for by the API call",
                    is_allowed(asked.as_str()),
                )),
            }
        }
        if let Some(found) = self.stream_by_rule(facts, allowed, trace) {
            return Some(found);
        }
        if let Some(wanted) = facts.header(STREAM_HEADER) {
            match usable(wanted.trim(), allowed) {
                Some(stream) => return Some((stream, StreamReason::Header)),
                None => trace.push(RuleTrial::skipped(HEADER, is_allowed(wanted.trim()))),
            }
        }
        if let [(only, _)] = allowed.streams.as_slice() {
            return Some((only, StreamReason::OnlyStream));
        }
        self.stream_by_marks(facts, allowed).or_else(|| {
            let default = allowed.default_stream.as_ref()?;
            Some((default, StreamReason::DefaultStream))
        })
    }

    fn stream_by_rule<'s>(
        &'s self,
        facts: &MessageFacts<'_>,
        allowed: &Allowed,
        trace: &mut Vec<RuleTrial>,
    ) -> Option<(&'s StreamName, StreamReason)> {
        let subject = Subject::message(facts);
        for rule in &self.stream_rules {
            let trial = rule.try_on(&subject);
            if trial.matched && !allowed.has(&rule.then) {
                trace.push(RuleTrial::skipped(
                    Arc::clone(&rule.name),
                    is_allowed(rule.then.as_str()),
                ));
                continue;
            }
            let matched = trial.matched;
            trace.push(trial);
            if matched {
                return Some((&rule.then, StreamReason::Rule(Arc::clone(&rule.name))));
            }
        }
        None
    }

    /// The marks that bulk mail in general and Mautic in particular carry. A class of which the
    /// credential has no stream settles nothing.
    fn stream_by_marks<'s>(
        &self,
        facts: &MessageFacts<'_>,
        allowed: &'s Allowed,
    ) -> Option<(&'s StreamName, StreamReason)> {
        let is_bulk = facts
            .header_values("Precedence")
            .any(|v| v.trim().eq_ignore_ascii_case("bulk"));
        let is_list = facts.header("List-Unsubscribe").is_some();
        let has_email_id = facts.email_id().is_some() && !is_list;
        let is_burst = facts.email_id_recipients > self.campaign_burst;
        [
            (is_bulk, Class::Campaign, StreamReason::PrecedenceBulk),
            (is_list, Class::Campaign, StreamReason::ListUnsubscribe),
            (
                has_email_id && is_burst,
                Class::Campaign,
                StreamReason::EmailIdBurst,
            ),
            (
                has_email_id && !is_burst,
                Class::Transactional,
                StreamReason::EmailIdAlone,
            ),
        ]
        .into_iter()
        .filter(|(holds, _, _)| *holds)
        .find_map(|(_, class, reason)| Some((allowed.first_of(class)?, reason)))
    }
}

/// The stream of this name, if the credential may use it.
fn usable<'s>(wanted: &str, allowed: &'s Allowed) -> Option<&'s StreamName> {
    let found = allowed.streams.iter().find(|(s, _)| s.as_str() == wanted);
    found.map(|(stream, _)| stream)
}

/// The condition that a stream fails which the credential may not use.
fn is_allowed(stream: &str) -> String {
    let stream = bounded(stream, NAME_BYTES_MAX);
    format!("the credential may use the stream {stream:?}")
}

/// Writes the stream or `null`: the error has nothing to say that the reason does not.
mod stream_or_null {
    use malote_core::name::StreamName;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::NoStream;

    pub(super) fn serialize<S: Serializer>(
        stream: &Result<StreamName, NoStream>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        stream.as_ref().ok().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Result<StreamName, NoStream>, D::Error> {
        Ok(Option::deserialize(deserializer)?.ok_or(NoStream))
    }
}

#[cfg(test)]
mod tests;
