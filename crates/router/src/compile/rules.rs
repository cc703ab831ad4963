//! Checks rules and compiles them into their two passes.

mod when;

use std::collections::BTreeMap;
use std::sync::Arc;

use malote_core::fault::ConfigFault;
use malote_core::name::{CredentialName, RouteName, StreamName};

use super::unknown_stream;
use crate::config::{RouterConfig, RuleConfig};
use crate::hint::unknown;
use crate::rule::Rule;

/// Most rules. All of them may be tried on every message.
const RULES_MAX: usize = 1_000;

/// Longest name of a rule, in characters.
const RULE_NAME_CHARS_MAX: usize = 200;

/// What a rule chooses.
enum Then {
    Stream(StreamName),
    Route(RouteName),
}

type Passes = (Vec<Rule<StreamName>>, Vec<Rule<RouteName>>);

/// The stream rules and the route rules, in file order, without those that have a fault.
pub(super) fn compile(
    config: &RouterConfig,
    mailbox_providers: &[&str],
    faults: &mut Vec<ConfigFault>,
) -> Passes {
    if config.rules.len() > RULES_MAX {
        let message = format!("at most {RULES_MAX} rules");
        faults.push(ConfigFault::error("rules", message));
    }
    check_names(config, faults);
    warn_unreachable(config, faults);
    let (mut streams, mut routes) = (Vec::new(), Vec::new());
    for (index, rule) in config.rules.iter().enumerate() {
        let path = format!("rules[{index}]");
        let then = then(rule, &path, config, faults);
        let conditions = when::compile(
            rule,
            &format!("{path}.when"),
            when::Known::new(config, mailbox_providers),
            faults,
        );
        let name: Arc<str> = rule.name.as_str().into();
        match then {
            Some(Then::Stream(then)) => streams.push(Rule {
                name,
                conditions,
                then,
            }),
            Some(Then::Route(then)) => routes.push(Rule {
                name,
                conditions,
                then,
            }),
            None => {}
        }
    }
    (streams, routes)
}

fn check_names(config: &RouterConfig, faults: &mut Vec<ConfigFault>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, rule) in config.rules.iter().enumerate() {
        let path = format!("rules[{index}].name");
        let is_text = !rule.name.trim().is_empty() && !rule.name.contains(char::is_control);
        if !is_text || rule.name.chars().count() > RULE_NAME_CHARS_MAX {
            let message = format!("a rule's name is 1 to {RULE_NAME_CHARS_MAX} characters of text");
            faults.push(ConfigFault::error(path, message));
        } else if let Some(first) = seen.insert(&rule.name, index) {
            let message =
                format!("rules[{first}] has the same name: `explain` could not tell them apart");
            faults.push(ConfigFault::error(path, message));
        }
    }
}

fn then(
    rule: &RuleConfig,
    path: &str,
    config: &RouterConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<Then> {
    match (&rule.then.stream, &rule.then.route) {
        (Some(stream), None) => {
            let found = StreamName::try_from(stream.as_str())
                .ok()
                .filter(|name| config.streams.contains_key(name));
            match &found {
                Some(name) => warn_useless(rule, name, path, config, faults),
                None => faults.push(ConfigFault::error(
                    format!("{path}.then.stream"),
                    unknown_stream(config, stream),
                )),
            }
            found.map(Then::Stream)
        }
        (None, Some(route)) => {
            let found = RouteName::try_from(route.as_str())
                .ok()
                .filter(|name| config.routes.contains_key(name));
            if found.is_none() {
                let known = config.routes.keys().map(RouteName::as_str);
                faults.push(ConfigFault::error(
                    format!("{path}.then.route"),
                    unknown("route", route, known),
                ));
            }
            found.map(Then::Route)
        }
        (Some(_), Some(_)) | (None, None) => {
            faults.push(ConfigFault::error(
                format!("{path}.then"),
                "give exactly one of `stream` (once per message) and `route` (once per delivery)",
            ));
            None
        }
    }
}

/// Warns of a stream rule that none of its credentials may use.
fn warn_useless(
    rule: &RuleConfig,
    stream: &StreamName,
    path: &str,
    config: &RouterConfig,
    faults: &mut Vec<ConfigFault>,
) {
    let is_meant = |name: &CredentialName| {
        let given = rule.when.credential.as_ref();
        given.is_none_or(|given| given.values().iter().any(|v| v == name.as_str()))
    };
    let mut users = config.credentials.iter();
    if !users.any(|(name, credential)| is_meant(name) && credential.streams.contains(stream)) {
        faults.push(ConfigFault::warning(
            format!("{path}.then.stream"),
            format!("this rule never applies: none of its credentials may use \"{stream}\""),
        ));
    }
}

/// Warns of rules behind one of the same pass that has no conditions.
fn warn_unreachable(config: &RouterConfig, faults: &mut Vec<ConfigFault>) {
    let mut stream_catch_all: Option<&str> = None;
    let mut route_catch_all: Option<&str> = None;
    for (index, rule) in config.rules.iter().enumerate() {
        let catch_all = match (&rule.then.stream, &rule.then.route) {
            (Some(_), None) => &mut stream_catch_all,
            (None, Some(_)) => &mut route_catch_all,
            (Some(_), Some(_)) | (None, None) => continue,
        };
        if let Some(first) = catch_all {
            faults.push(ConfigFault::warning(
                format!("rules[{index}]"),
                format!("never reached: the rule {first:?} above it matches everything"),
            ));
        } else if rule.when == crate::config::WhenConfig::default()
            && is_for_every_credential(rule, config)
        {
            *catch_all = Some(&rule.name);
        }
    }
}

/// A stream rule is passed over for credentials that may not use its stream.
fn is_for_every_credential(rule: &RuleConfig, config: &RouterConfig) -> bool {
    rule.then.stream.as_deref().is_none_or(|stream| {
        let mut all = config.credentials.values();
        all.all(|c| c.streams.iter().any(|own| own.as_str() == stream))
    })
}
