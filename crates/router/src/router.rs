//! All that was compiled, and the questions it answers from its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use malote_core::fault::ConfigFault;
use malote_core::name::{
    CredentialName, MailboxProvider, PoolName, ProviderName, RouteName, StreamName, TargetName,
};
use malote_core::stream::Class;

use crate::config::{RouterConfig, RouterStream};
use crate::mailbox::MailboxTable;
use crate::order::Route;
use crate::rule::Rule;

/// Says which stream a message is in, which route a delivery takes, and which targets are tried
/// in which order. Never changes: a reload compiles a new one.
#[derive(Debug)]
pub struct Router {
    pub(crate) stream_rules: Vec<Rule<StreamName>>,
    pub(crate) route_rules: Vec<Rule<RouteName>>,
    pub(crate) routes: BTreeMap<RouteName, Route>,
    /// One for each provider, with it alone: no rule and no stream names them.
    pub(crate) direct: BTreeMap<RouteName, Route>,
    pub(crate) streams: BTreeMap<StreamName, RouterStream>,
    /// The providers that a stream's mail can leave through, whatever the rules decide.
    pub(crate) reach: BTreeMap<StreamName, BTreeSet<TargetName>>,
    /// The routes that a stream's mail can take.
    pub(crate) taken: BTreeMap<StreamName, BTreeSet<RouteName>>,
    pub(crate) credentials: BTreeMap<CredentialName, Allowed>,
    pub(crate) mailboxes: MailboxTable,
    pub(crate) campaign_burst: u64,
}

impl Router {
    /// Checks a configuration and compiles it, reporting every fault at once. There is a router
    /// if no fault is an error; warnings may come with it.
    ///
    /// Paths of faults begin at the root of the configuration (`rules[2].when.headers[0].regex`).
    /// Time zones of rules are looked up here, once; nothing is looked up later.
    #[must_use]
    pub fn compile(config: &RouterConfig) -> (Option<Self>, Vec<ConfigFault>) {
        crate::compile::compile(config)
    }

    /// Who runs the mailboxes of `domain` (lower-case A-labels): by the table of domains, else by
    /// its MX hosts in order of preference, else `other`.
    #[must_use]
    pub fn mailbox_provider(&self, domain: &str, mx: Option<&[String]>) -> MailboxProvider {
        self.mailboxes.provider(domain, mx)
    }

    /// Whether the table of domains alone does not settle who runs the mailboxes of `domain`, so
    /// that its MX should be looked up.
    #[must_use]
    pub fn needs_mx_of(&self, domain: &str) -> bool {
        self.mailboxes.mx_lookup && !self.mailboxes.knows(domain)
    }

    /// Whether MX look-ups are wanted at all.
    #[must_use]
    pub const fn needs_mx(&self) -> bool {
        self.mailboxes.mx_lookup
    }

    /// The name server to ask for MX; `None` is the system's.
    #[must_use]
    pub const fn dns_server(&self) -> Option<SocketAddr> {
        self.mailboxes.dns_server
    }

    /// The route that has this provider's pool `default` alone, for mail of the gateway itself that
    /// is to leave by it and no other way; `None` if there is no such provider, or its name is
    /// longer than 57 octets.
    #[must_use]
    pub fn direct_route(&self, provider: &ProviderName) -> Option<RouteName> {
        let name = direct_name(provider)?;
        self.direct.contains_key(&name).then_some(name)
    }

    /// Whether the route is one of those.
    #[must_use]
    pub fn is_direct(&self, route: &RouteName) -> bool {
        self.direct.contains_key(route)
    }

    /// Whether the route is configured. After a reload a waiting delivery's may no longer be.
    #[must_use]
    pub fn has_route(&self, route: &RouteName) -> bool {
        self.routes.contains_key(route)
    }

    /// The header fields that route rules ask of, each as a rule writes it.
    pub fn route_fields(&self) -> impl Iterator<Item = &str> {
        let conditions = self.route_rules.iter().flat_map(|rule| &rule.conditions);
        conditions.filter_map(|condition| condition.matcher.header_name())
    }

    /// Whether mail of `stream` can leave through `provider`: by its own route, by a rule that may
    /// apply to it, or by a fallback of one of those.
    #[must_use]
    pub fn reaches(&self, stream: &StreamName, provider: &ProviderName) -> bool {
        self.pools_at(stream, provider).next().is_some()
    }

    /// The pools by which mail of `stream` can leave through `provider`.
    pub fn pools_at<'a>(
        &'a self,
        stream: &StreamName,
        provider: &'a ProviderName,
    ) -> impl Iterator<Item = &'a PoolName> {
        let targets = self.reach.get(stream).into_iter().flatten();
        targets
            .filter(move |target| target.provider == *provider)
            .map(|target| &target.pool)
    }
}

/// What the names of direct routes begin with; no configured route's may.
pub(crate) const DIRECT_PREFIX: &str = "direct-";

/// The name of a provider's direct route; `None` if it would be too long.
pub(crate) fn direct_name(provider: &ProviderName) -> Option<RouteName> {
    RouteName::try_from(format!("{DIRECT_PREFIX}{provider}")).ok()
}

/// The streams that a credential may use.
#[derive(Debug)]
pub(crate) struct Allowed {
    pub(crate) streams: Vec<(StreamName, Class)>,
    pub(crate) default_stream: Option<StreamName>,
}

impl Allowed {
    pub(crate) fn has(&self, stream: &StreamName) -> bool {
        self.streams.iter().any(|(own, _)| own == stream)
    }

    /// The first stream of a class, in the order the credential lists them.
    pub(crate) fn first_of(&self, class: Class) -> Option<&StreamName> {
        self.streams
            .iter()
            .find(|(_, own)| *own == class)
            .map(|(name, _)| name)
    }
}
