//! Campaign and transactional mail never share a pool: checked over every way a stream can go.

use std::collections::{BTreeMap, BTreeSet};

use malote_core::fault::ConfigFault;
use malote_core::name::{RouteName, StreamName, TargetName};
use malote_core::stream::Class;

use super::routes::{fallback_chain, find, target_name};
use crate::config::{OneOrMany, RouterConfig, RuleConfig};

/// Reports each target of a campaign stream that a transactional stream can reach too.
pub(super) fn check(config: &RouterConfig, faults: &mut Vec<ConfigFault>) {
    let mut transactional: BTreeMap<TargetName, &StreamName> = BTreeMap::new();
    for stream in of_class(config, Class::Transactional) {
        for (_, _, target) in reachable(config, stream) {
            transactional.entry(target).or_insert(stream);
        }
    }
    let mut reported = BTreeSet::new();
    for stream in of_class(config, Class::Campaign) {
        for (route, index, target) in reachable(config, stream) {
            let Some(other) = transactional.get(&target) else {
                continue;
            };
            if reported.insert((route, index)) {
                faults.push(ConfigFault::error(
                    format!("routes.{route}.targets[{index}]"),
                    format!(
                        "the campaign stream \"{stream}\" shares a pool with the transactional \
                         stream \"{other}\": both can leave through {target}; give one of them a \
                         pool of its own"
                    ),
                ));
            }
        }
    }
}

/// The providers that each stream's mail can leave through.
pub(super) fn reach(config: &RouterConfig) -> BTreeMap<StreamName, BTreeSet<TargetName>> {
    let streams = config.streams.keys();
    streams
        .map(|stream| {
            let targets = reachable(config, stream).into_iter();
            let targets = targets.map(|(_, _, target)| target);
            (stream.clone(), targets.collect())
        })
        .collect()
}

/// The routes that mail of each stream can take: its own, and those of the rules that can apply.
pub(super) fn routes(config: &RouterConfig) -> BTreeMap<StreamName, BTreeSet<RouteName>> {
    let streams = config.streams.keys();
    streams
        .map(|stream| {
            let routes = named(config, stream).filter_map(|name| find(config, name));
            let routes = routes.map(|(route, _)| route.clone());
            (stream.clone(), routes.collect())
        })
        .collect()
}

fn of_class(config: &RouterConfig, class: Class) -> impl Iterator<Item = &StreamName> {
    let streams = config.streams.iter();
    streams
        .filter(move |(_, stream)| stream.class == class)
        .map(|(name, _)| name)
}

/// Every target that mail of `stream` can leave through, with its place in the configuration.
fn reachable<'c>(
    config: &'c RouterConfig,
    stream: &StreamName,
) -> Vec<(&'c RouteName, usize, TargetName)> {
    let mut routes = BTreeSet::new();
    for route in named(config, stream) {
        routes.extend(fallback_chain(config, route));
    }
    let mut targets = Vec::new();
    for route in routes {
        let written = find(config, route.as_str()).map_or(&[][..], |(_, r)| &r.targets);
        for (index, target) in written.iter().enumerate() {
            if let Some(target) = target_name(target, config) {
                targets.push((route, index, target));
            }
        }
    }
    targets
}

/// The routes that `stream` and the rules that can apply to its mail name.
fn named<'c>(config: &'c RouterConfig, stream: &StreamName) -> impl Iterator<Item = &'c str> {
    let own = config.streams.get(stream).map(|s| s.route.as_str());
    let by_rule = config
        .rules
        .iter()
        .filter(|rule| rule.then.stream.is_none() && can_apply(config, rule, stream))
        .filter_map(|rule| rule.then.route.as_deref());
    own.into_iter().chain(by_rule)
}

/// Whether a rule can apply to mail of `stream`, as far as its stream and credential tell.
fn can_apply(config: &RouterConfig, rule: &RuleConfig, stream: &StreamName) -> bool {
    let names = |given: &Option<OneOrMany>, name: &str| {
        given
            .as_ref()
            .is_none_or(|g| g.values().iter().any(|v| v == name))
    };
    let mut credentials = config.credentials.iter();
    names(&rule.when.stream, stream.as_str())
        && (rule.when.credential.is_none()
            || credentials.any(|(name, credential)| {
                names(&rule.when.credential, name.as_str()) && credential.streams.contains(stream)
            }))
}
