//! The configuration as it is written: rules, routes and the mailbox providers' table.
//!
//! Names are plain text here, so that [`crate::Router::compile`] can report every fault at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use malote_core::name::{CredentialName, PoolName, ProviderName, RouteName, StreamName};
use malote_core::provider::Capabilities;
use malote_core::stream::Class;
use malote_core::units::ByteSize;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One `[[rules]]` table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// What `explain` and timelines call it: 1 to 200 characters, each name once.
    pub name: String,
    /// The facts that must hold, all of them; none given means always.
    #[serde(default)]
    pub when: WhenConfig,
    /// Where matching mail goes.
    pub then: ThenConfig,
}

/// The facts of a rule. Every given one must hold; of a list, one entry is enough.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhenConfig {
    /// Who submitted.
    pub credential: Option<OneOrMany>,
    /// The stream that the message is in. Only in rules that choose a route.
    pub stream: Option<OneOrMany>,
    /// The address in From: exact, or with `*` (any text) and `?` (one character), as in
    /// `"invoice-*@shop.example"`. Upper and lower case are the same.
    pub sender: Option<OneOrMany>,
    /// The domain in From; its subdomains match too.
    pub sender_domain: Option<OneOrMany>,
    /// The recipient's domain; its subdomains match too. Only in rules that choose a route.
    pub recipient_domain: Option<OneOrMany>,
    /// Who runs the recipient's mailbox (`google`, `microsoft`, ..., `other`). Only in rules that
    /// choose a route.
    pub mailbox_provider: Option<OneOrMany>,
    /// Header fields; each entry must hold.
    pub headers: Vec<HeaderConfig>,
    /// A tag that the message carries.
    pub tag: Option<OneOrMany>,
    /// Metadata: each key must have the value, or one of the values, given.
    pub metadata: BTreeMap<String, OneOrMany>,
    /// The message's size in octets, both bounds included.
    pub size: Option<SizeConfig>,
    /// The hour of the day.
    pub hour: Option<HourConfig>,
}

/// A test of one header field: `name` and exactly one of the others. Of a field that occurs more
/// than once, one occurrence is enough.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderConfig {
    /// The field's name, in any case.
    pub name: String,
    /// The whole value, or one of several. ASCII case is ignored (`Bulk` is `bulk`).
    pub equals: Option<OneOrMany>,
    /// How the value begins, or one of several beginnings. ASCII case is ignored.
    pub prefix: Option<OneOrMany>,
    /// A regular expression found anywhere in the value (syntax of the `regex` crate, linear
    /// time); case counts unless it begins with `(?i)`. At most 1,000 characters.
    pub regex: Option<String>,
    /// `true`: the field is there; `false`: it is not.
    pub present: Option<bool>,
    /// `true`: the field is not there; `false`: it is.
    pub absent: Option<bool>,
}

/// Bounds of the size, both included; at least one is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SizeConfig {
    /// Smallest, as in `"1MiB"`.
    pub min: Option<ByteSize>,
    /// Largest.
    pub max: Option<ByteSize>,
}

/// Hours of the day, from `from` until just before `to`; `from = 22, to = 6` is the night.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HourConfig {
    /// First hour, 0 to 23.
    pub from: u8,
    /// The hour at which it ends, 0 to 24.
    pub to: u8,
    /// `"utc"` (default) or a zone such as `"America/Sao_Paulo"`.
    pub zone: Option<String>,
}

/// Where matching mail goes: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThenConfig {
    /// The stream, decided once per message.
    pub stream: Option<String>,
    /// The route, decided once per delivery.
    pub route: Option<String>,
}

/// One `[routes.NAME]` table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// In which order the targets are tried.
    pub strategy: Strategy,
    /// What a sticky route keeps together; only there, and needed there.
    pub by: Option<StickyBy>,
    /// Where mail can go, each target once.
    #[serde(default)]
    pub targets: Vec<TargetConfig>,
    /// The route whose targets come after these, when none of these is left.
    pub fallback: Option<String>,
}

/// In which order a route's targets are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// In the order written.
    Failover,
    /// Drawn by weight; the rest of the draw is the order of failover.
    Weighted,
    /// Each in turn.
    RoundRobin,
    /// The same target for the same recipient or campaign, shared out by weight. When a target is
    /// out, only its own share moves.
    Sticky,
    /// By the providers' `cost_per_thousand`, then in the order written.
    LeastCost,
}

impl Strategy {
    /// The word used in configuration and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Weighted => "weighted",
            Self::RoundRobin => "round_robin",
            Self::Sticky => "sticky",
            Self::LeastCost => "least_cost",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a sticky route keeps on one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickyBy {
    /// All mail to one address.
    Recipient,
    /// All mail of one campaign: `X-EMAIL-ID`, or the metadata key `campaign`. Mail of no campaign
    /// goes by recipient.
    Campaign,
}

/// One target of a route.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// The provider.
    pub provider: String,
    /// One of its pools; none is the pool `default`.
    pub pool: Option<String>,
    /// Its share in `weighted` and `sticky` routes, 0 to 1,000,000; default 1. With 0 it is used
    /// only when nothing else is left.
    pub weight: Option<f64>,
}

/// The `[mailbox_providers]` table. What it gives is laid over a built-in table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailboxProvidersConfig {
    /// Name → recipient domains, matched whole. A domain given here leaves its built-in name.
    pub domains: BTreeMap<String, Vec<String>>,
    /// Name → names of MX hosts; a host matches with everything below it.
    pub mx: BTreeMap<String, Vec<String>>,
    /// Whether domains that are in no table are looked up in the DNS, default `false`. It asks the
    /// name server for the MX of each such recipient domain, once until the answer is too old.
    pub mx_lookup: bool,
    /// The name server to ask, as in `"127.0.0.1:53"`; default: the system's.
    pub dns_server: Option<SocketAddr>,
}

/// Recipients of one X-EMAIL-ID within [`EMAIL_ID_WINDOW_S`] above which it is a campaign, where the
/// configuration does not say. A transactional e-mail of Mautic goes to one contact at a time.
pub const CAMPAIGN_BURST_DEFAULT: u64 = 50;

/// The span, in seconds, over which recipients of one X-EMAIL-ID are counted.
pub const EMAIL_ID_WINDOW_S: u64 = 600;

/// All that a [`crate::Router`] is compiled from. Providers, credentials and streams are given
/// with names that are checked already; what rules and routes say of them is not.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    /// `[[rules]]`, in file order.
    pub rules: Vec<RuleConfig>,
    /// `[routes.NAME]`.
    pub routes: BTreeMap<RouteName, RouteConfig>,
    /// What matters here of `[streams.NAME]`.
    pub streams: BTreeMap<StreamName, RouterStream>,
    /// What matters here of `[credentials.NAME]`.
    pub credentials: BTreeMap<CredentialName, RouterCredential>,
    /// What matters here of `[providers.NAME]`.
    pub providers: BTreeMap<ProviderName, RouterProvider>,
    /// `[mailbox_providers]`.
    pub mailbox_providers: MailboxProvidersConfig,
    /// Recipients of one X-EMAIL-ID in ten minutes above which it is a campaign.
    pub campaign_burst: u64,
}

/// What routing needs to know of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterStream {
    /// Its class.
    pub class: Class,
    /// The route of deliveries that no rule takes elsewhere.
    pub route: RouteName,
}

/// What routing needs to know of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterCredential {
    /// The streams it may use, in the order written.
    pub streams: Vec<StreamName>,
    /// The stream of mail that nothing else classifies.
    pub default_stream: Option<StreamName>,
}

/// What routing needs to know of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterProvider {
    /// Its pools. The pool `default` is always there.
    pub pools: BTreeSet<PoolName>,
    /// What it can carry.
    pub capabilities: Capabilities,
    /// Price of a thousand recipients, in any one currency, for `least_cost`.
    pub cost_per_thousand: Option<f64>,
}

/// A text or a list of texts; a list of one and the text alone mean the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OneOrMany {
    values: Vec<String>,
    is_list: bool,
}

impl OneOrMany {
    /// The texts, in order.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// The path of entry `index`, for faults: indexed only if a list was written.
    #[must_use]
    pub(crate) fn path(&self, key: &str, index: usize) -> String {
        if self.is_list {
            format!("{key}[{index}]")
        } else {
            key.to_owned()
        }
    }
}

impl From<&str> for OneOrMany {
    fn from(text: &str) -> Self {
        Self {
            values: vec![text.to_owned()],
            is_list: false,
        }
    }
}

impl<const N: usize> From<[&str; N]> for OneOrMany {
    fn from(texts: [&str; N]) -> Self {
        Self {
            values: texts.iter().map(|t| (*t).to_owned()).collect(),
            is_list: true,
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

/// Written out, since an untagged enum would hide which entry is wrong.
struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(OneOrMany {
            values,
            is_list: true,
        })
    }
}
