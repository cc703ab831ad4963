//! Misbehaviour on demand: what a fault is, and the queue of armed ones.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Armed faults beyond this many are refused.
const ARMED_MAX: usize = 1_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum FaultKind {
    /// `"429"`, `"401"`, `"500"`, …: this status in the service's own error shape; for SMTP this
    /// reply code (an HTTP-only status becomes its SMTP cousin).
    Status(u16),
    /// `"bare-500"`, …: this status with a proxy's HTML page as its body.
    Bare(u16),
    /// `"quota"`: the daily quota is spent.
    Quota,
    /// `"suspended"`: the account may not send.
    Suspended,
    /// `"sender"`: the sender domain is not verified.
    Sender,
    /// `"recipient"`: this mailbox does not exist.
    Recipient,
    /// `"content"`: the message is refused for what it says.
    Content,
    /// `"reputation"`: the sending address is on a block list.
    Reputation,
    /// `"partial"`: the first half of the recipients is refused and the others are taken, in the
    /// form the service has for that; where it has none, all are refused as by `"recipient"`.
    Partial,
    /// `"hang"`: no answer, ever.
    Hang,
    /// `"cut"`: the connection closes with no answer, when all of the request was read.
    Cut,
    /// `"cut-early"`: the connection closes before the message was read.
    CutEarly,
    /// `"hang-early"`: the message is never read, and there is no answer.
    HangEarly,
    /// `"cut-reply"`: the message is taken and the connection closes in the middle of the answer.
    CutReply,
    /// `"nonsense"`: success that says nothing.
    Nonsense,
    /// `"redirect"`: 307 to another address; SMTP: 551, user not local.
    Redirect,
    /// `"huge"`: success, with an answer of 1 GiB; SMTP: a reply line of 1 MiB.
    Huge,
    /// `"echo"`: the login is refused, in words that repeat it as it was sent and in clear.
    Echo,
    /// `"slow"`: a right answer, late by `delay_ms`.
    Slow,
}

/// A name that is no fault's.
#[derive(Debug, thiserror::Error)]
#[error(
    "no fault {0:?}; there are a status from 400 to 599, bare-STATUS, quota, suspended, sender, \
     recipient, content, reputation, partial, hang, cut, cut-early, hang-early, \
     cut-reply, nonsense, redirect, huge, echo and slow"
)]
pub struct UnknownFault(pub String);

/// The faults without a number.
const NAMED: [(&str, FaultKind); 17] = [
    ("quota", FaultKind::Quota),
    ("suspended", FaultKind::Suspended),
    ("sender", FaultKind::Sender),
    ("recipient", FaultKind::Recipient),
    ("content", FaultKind::Content),
    ("reputation", FaultKind::Reputation),
    ("partial", FaultKind::Partial),
    ("hang", FaultKind::Hang),
    ("cut", FaultKind::Cut),
    ("cut-early", FaultKind::CutEarly),
    ("hang-early", FaultKind::HangEarly),
    ("cut-reply", FaultKind::CutReply),
    ("nonsense", FaultKind::Nonsense),
    ("redirect", FaultKind::Redirect),
    ("huge", FaultKind::Huge),
    ("echo", FaultKind::Echo),
    ("slow", FaultKind::Slow),
];

impl FromStr for FaultKind {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        if let Some((_, kind)) = NAMED.iter().find(|(known, _)| *known == name) {
            return Ok(*kind);
        }
        let (number, is_bare) = match name.strip_prefix("bare-") {
            Some(number) => (number, true),
            None => (name, false),
        };
        let status = number.parse::<u16>().ok();
        match status.filter(|status| number.len() == 3 && (400..600).contains(status)) {
            Some(status) if is_bare => Ok(Self::Bare(status)),
            Some(status) => Ok(Self::Status(status)),
            None => Err(UnknownFault(name.to_owned())),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Status(status) = self {
            return write!(formatter, "{status}");
        }
        if let Self::Bare(status) = self {
            return write!(formatter, "bare-{status}");
        }
        let name = NAMED.iter().find(|(_, kind)| kind == self);
        formatter.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FaultKind {
    /// How many of the first entries of a batch it refuses, where the service answers each entry by
    /// itself; `None` if it is of the whole call.
    pub(crate) const fn refused_of(self, entries: usize) -> Option<usize> {
        match self {
            Self::Partial => Some(entries.div_ceil(2)),
            Self::Sender | Self::Recipient | Self::Content | Self::Reputation => Some(entries),
            Self::Status(_)
            | Self::Bare(_)
            | Self::Quota
            | Self::Suspended
            | Self::Hang
            | Self::Cut
            | Self::CutEarly
            | Self::HangEarly
            | Self::CutReply
            | Self::Nonsense
            | Self::Redirect
            | Self::Huge
            | Self::Echo
            | Self::Slow => None,
        }
    }
}

impl TryFrom<String> for FaultKind {
    type Error = UnknownFault;

    fn try_from(name: String) -> Result<Self, UnknownFault> {
        name.parse()
    }
}

impl From<FaultKind> for String {
    fn from(kind: FaultKind) -> Self {
        kind.to_string()
    }
}

/// Where in an SMTP session a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// In place of the greeting.
    Connect,
    /// In answer to EHLO.
    Ehlo,
    /// In answer to AUTH.
    Auth,
    /// In answer to MAIL.
    Mail,
    /// In answer to RCPT.
    Rcpt,
    /// In answer to DATA.
    Data,
    /// In answer to the final dot.
    End,
}

fn once() -> Option<u32> {
    Some(1)
}

fn late_ms() -> u64 {
    1_000
}

/// One armed fault, as `POST /_sandbox/fault` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// For how many sends; `null`: until disarmed. Default 1.
    #[serde(default = "once")]
    pub count: Option<u32>,
    /// Whether the message is taken before things go wrong. Default false.
    #[serde(default)]
    pub after_take: bool,
    /// SMTP: where it strikes; by default where that kind of trouble usually comes from.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// How late the answer of a `slow` fault is, in milliseconds. Default 1,000.
    #[serde(default = "late_ms")]
    pub delay_ms: u64,
}

impl Fault {
    /// A fault for the next send.
    #[must_use]
    pub fn once(kind: FaultKind) -> Self {
        Self {
            kind,
            count: once(),
            after_take: false,
            stage: None,
            delay_ms: late_ms(),
        }
    }

    /// A fault for every send until it is disarmed.
    #[must_use]
    pub fn always(kind: FaultKind) -> Self {
        Self {
            count: None,
            ..Self::once(kind)
        }
    }

    /// The same fault, striking after the message was taken.
    #[must_use]
    pub fn after_take(self) -> Self {
        Self {
            after_take: true,
            ..self
        }
    }

    /// The same fault, striking at this stage of an SMTP session.
    #[must_use]
    pub fn at(self, stage: Stage) -> Self {
        Self {
            stage: Some(stage),
            ..self
        }
    }

    /// The fault that a recipient's local part asks for: a kind's name, alone or before a `+`, and
    /// `taken-` in front of it when the message is to be taken first (`429@`, `hang+7@`,
    /// `taken-cut@`).
    #[must_use]
    pub fn of_recipient(address: &str) -> Option<Self> {
        let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
        let name = local.split_once('+').map_or(local, |(name, _)| name);
        let (name, after_take) = match name.strip_prefix("taken-") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let kind = name.parse().ok()?;
        Some(Self {
            after_take,
            ..Self::once(kind)
        })
    }

    /// Where it strikes in an SMTP session.
    #[must_use]
    pub fn stage(&self) -> Stage {
        if self.after_take {
            return Stage::End;
        }
        self.stage.unwrap_or(match self.kind {
            FaultKind::Status(401 | 403 | 530 | 535)
            | FaultKind::Status(421 | 429)
            | FaultKind::Suspended
            | FaultKind::Sender => Stage::Mail,
            FaultKind::Echo => Stage::Auth,
            FaultKind::Recipient | FaultKind::Partial => Stage::Rcpt,
            FaultKind::CutEarly | FaultKind::HangEarly => Stage::Data,
            FaultKind::Status(_)
            | FaultKind::Bare(_)
            | FaultKind::Quota
            | FaultKind::Content
            | FaultKind::Reputation
            | FaultKind::Hang
            | FaultKind::Cut
            | FaultKind::CutReply
            | FaultKind::Nonsense
            | FaultKind::Redirect
            | FaultKind::Huge
            | FaultKind::Slow => Stage::End,
        })
    }

    /// How many of the first entries of a batch it refuses by themselves, and as what.
    pub(crate) fn of_entries(&self, entries: usize) -> Option<(FaultKind, usize)> {
        let refused = self.kind.refused_of(entries).filter(|_| !self.after_take);
        refused.map(|refused| (self.kind, refused))
    }

    /// How late the answer of a `slow` fault is.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// Whether it says that these credentials are no good, which a check of the account sees too.
    fn is_of_account(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Status(401 | 403 | 535) | FaultKind::Suspended
        )
    }
}

/// The armed faults, played in the order they were armed.
#[derive(Default)]
pub(crate) struct Faults {
    armed: Mutex<VecDeque<Fault>>,
    /// Length of `armed`, so that a send without faults takes no lock.
    armed_count: AtomicUsize,
    played: AtomicU64,
}

impl Faults {
    /// Arms a fault; false when too many are armed.
    pub(crate) fn arm(&self, fault: Fault) -> bool {
        let mut armed = self.lock();
        if armed.len() >= ARMED_MAX || fault.count == Some(0) {
            return false;
        }
        armed.push_back(fault);
        self.armed_count.store(armed.len(), Ordering::Release);
        true
    }

    /// Disarms all.
    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.armed_count.store(0, Ordering::Release);
    }

    pub(crate) fn armed(&self) -> Vec<Fault> {
        self.lock().iter().cloned().collect()
    }

    pub(crate) fn played(&self) -> u64 {
        self.played.load(Ordering::Relaxed)
    }

    /// The fault for this send: the first armed one, else the one its recipients ask for.
    pub(crate) fn for_send<'a>(
        &self,
        mut recipients: impl Iterator<Item = &'a str>,
    ) -> Option<Fault> {
        self.next_if(|_| true)
            .or_else(|| self.play(recipients.find_map(Fault::of_recipient)))
    }

    /// The fault for this call about what the service suppresses: the first armed one.
    pub(crate) fn for_list(&self) -> Option<Fault> {
        self.next_if(|_| true)
    }

    /// The next fault, if it leaves a request's body unread.
    pub(crate) fn for_unread(&self) -> Option<Fault> {
        self.next_if(|fault| matches!(fault.kind, FaultKind::CutEarly | FaultKind::HangEarly))
    }

    /// The armed fault that strikes here in an SMTP session, if it is the next one.
    pub(crate) fn for_stage(&self, strikes_here: impl Fn(&Fault) -> bool) -> Option<Fault> {
        self.next_if(strikes_here)
    }

    /// Counts a fault that a recipient asked for.
    pub(crate) fn play(&self, fault: Option<Fault>) -> Option<Fault> {
        if fault.is_some() {
            self.played.fetch_add(1, Ordering::Relaxed);
        }
        fault
    }

    /// The fault that a check of the account sees; it is not used up.
    pub(crate) fn for_check(&self) -> Option<Fault> {
        self.lock()
            .front()
            .filter(|fault| fault.is_of_account())
            .cloned()
    }

    fn next_if(&self, is_due: impl Fn(&Fault) -> bool) -> Option<Fault> {
        if self.armed_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut armed = self.lock();
        let first = armed.front_mut().filter(|fault| is_due(fault))?;
        let fault = first.clone();
        if let Some(count) = &mut first.count {
            *count = count.saturating_sub(1);
            if *count == 0 {
                armed.pop_front();
            }
        }
        self.armed_count.store(armed.len(), Ordering::Release);
        self.played.fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Fault>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_itself() {
        let numbered = ["401", "429", "500", "503", "bare-502", "421"];
        for name in NAMED.iter().map(|(name, _)| *name).chain(numbered) {
            assert_eq!(name.parse::<FaultKind>().unwrap().to_string(), name);
        }
        for name in ["200", "0429", "4290", "bare-", "bare-hang", "", "Hang"] {
            assert!(name.parse::<FaultKind>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_local_part_asks_for_a_fault() {
        let kind = |address: &str| Fault::of_recipient(address).map(|f| (f.kind, f.after_take));
        assert_eq!(kind("429@a.example"), Some((FaultKind::Status(429), false)));
        assert_eq!(kind("hang+7@a.example"), Some((FaultKind::Hang, false)));
        assert_eq!(kind("taken-cut@a.example"), Some((FaultKind::Cut, true)));
        assert_eq!(kind("ana@a.example"), None);
        assert_eq!(kind("hanging@a.example"), None);
    }

    #[test]
    fn a_fault_lasts_as_long_as_it_was_armed_for() {
        let faults = Faults::default();
        let twice = Fault {
            count: Some(2),
            ..Fault::once(FaultKind::Hang)
        };
        assert!(faults.arm(twice));
        assert!(faults.arm(Fault::always(FaultKind::Cut)));
        let kinds: Vec<_> = (0..5)
            .filter_map(|_| faults.for_send(std::iter::empty()).map(|f| f.kind))
            .collect();
        let (hang, cut) = (FaultKind::Hang, FaultKind::Cut);
        assert_eq!(kinds, [hang, hang, cut, cut, cut]);
        faults.clear();
        assert_eq!(faults.for_send(std::iter::empty()), None);
        assert_eq!(faults.played(), 5);
    }

    #[test]
    fn a_fault_waits_for_its_stage() {
        let faults = Faults::default();
        assert!(faults.arm(Fault::once(FaultKind::Status(550)).at(Stage::Rcpt)));
        let at = |stage| faults.for_stage(|fault| fault.stage() == stage);
        assert_eq!(at(Stage::Mail), None);
        assert!(at(Stage::Rcpt).is_some());
        assert_eq!(at(Stage::Rcpt), None);
    }

    #[test]
    fn an_unknown_member_of_a_fault_is_refused() {
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"429","cuont":2}"#).is_err());
        let fault: Fault = serde_json::from_str(r#"{"kind":"429","count":null}"#).unwrap();
        assert_eq!(fault, Fault::always(FaultKind::Status(429)));
    }
}
