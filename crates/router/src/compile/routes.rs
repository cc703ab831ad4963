//! Checks routes and their targets, and compiles them.

use std::collections::{BTreeMap, BTreeSet};

use malote_core::fault::ConfigFault;
use malote_core::name::{PoolName, ProviderName, RouteName, TargetName};

use crate::config::{RouteConfig, RouterConfig, RouterProvider, Strategy, TargetConfig};
use crate::hint::unknown;
use crate::order::{Route, Target};
use crate::router::{DIRECT_PREFIX, direct_name};

/// Largest weight. Beyond a million to one a share cannot be told from none.
const WEIGHT_MAX: f64 = 1_000_000.0;

/// Most targets of one route.
const TARGETS_MAX: usize = 100;

pub(super) fn compile(
    config: &RouterConfig,
    faults: &mut Vec<ConfigFault>,
) -> BTreeMap<RouteName, Route> {
    check_costs(config, faults);
    check_fallbacks(config, faults);
    let compiled = config.routes.iter().map(|(name, route)| {
        let path = format!("routes.{name}");
        if name.as_str().starts_with(DIRECT_PREFIX) {
            let message = format!("names that begin with {DIRECT_PREFIX} are the gateway's own");
            faults.push(ConfigFault::error(path.clone(), message));
        }
        check_route(route, &path, config, faults);
        let targets = targets(route, &path, config, faults);
        let fallback = route.fallback.as_deref();
        let compiled = Route {
            strategy: route.strategy,
            by: route.by,
            targets,
            fallback: fallback.and_then(|name| RouteName::try_from(name).ok()),
        };
        (name.clone(), compiled)
    });
    compiled.collect()
}

/// A route to each provider alone.
pub(super) fn direct(config: &RouterConfig) -> BTreeMap<RouteName, Route> {
    let providers = config.providers.iter();
    let routes = providers.filter_map(|(name, provider)| {
        let target = TargetName {
            provider: name.clone(),
            pool: TargetName::default_pool(),
        };
        let route = Route {
            strategy: Strategy::Failover,
            by: None,
            targets: vec![Target::new(target, 1.0, provider.capabilities.clone())],
            fallback: None,
        };
        Some((direct_name(name)?, route))
    });
    routes.collect()
}

fn check_costs(config: &RouterConfig, faults: &mut Vec<ConfigFault>) {
    for (name, provider) in &config.providers {
        if provider
            .cost_per_thousand
            .is_some_and(|cost| !cost.is_finite() || cost < 0.0)
        {
            faults.push(ConfigFault::error(
                format!("providers.{name}.cost_per_thousand"),
                "a cost is 0 or a number above it",
            ));
        }
    }
}

/// What concerns a route as a whole.
fn check_route(
    route: &RouteConfig,
    path: &str,
    config: &RouterConfig,
    faults: &mut Vec<ConfigFault>,
) {
    match (route.strategy, route.by) {
        (Strategy::Sticky, None) => faults.push(ConfigFault::error(
            format!("{path}.by"),
            "a sticky route says by = \"recipient\" or by = \"campaign\"",
        )),
        (
            Strategy::Failover | Strategy::Weighted | Strategy::RoundRobin | Strategy::LeastCost,
            Some(_),
        ) => faults.push(ConfigFault::error(
            format!("{path}.by"),
            format!(
                "`by` belongs to sticky routes, this one is {}",
                route.strategy
            ),
        )),
        (Strategy::Sticky, Some(_))
        | (
            Strategy::Failover | Strategy::Weighted | Strategy::RoundRobin | Strategy::LeastCost,
            None,
        ) => {}
    }
    let targets = format!("{path}.targets");
    if route.targets.is_empty() {
        faults.push(ConfigFault::error(
            targets.clone(),
            "a route needs at least one target: nothing would ever leave by it",
        ));
    }
    if route.targets.len() > TARGETS_MAX {
        let message = format!("a route has at most {TARGETS_MAX} targets");
        faults.push(ConfigFault::error(targets.clone(), message));
    }
    check_weights(route, &targets, faults);
    if let Some(fallback) = &route.fallback
        && !config.routes.keys().any(|r| r.as_str() == fallback)
    {
        let known = config.routes.keys().map(RouteName::as_str);
        faults.push(ConfigFault::error(
            format!("{path}.fallback"),
            unknown("route", fallback, known),
        ));
    }
}

fn check_weights(route: &RouteConfig, path: &str, faults: &mut Vec<ConfigFault>) {
    for (index, target) in route.targets.iter().enumerate() {
        let Some(weight) = target.weight else {
            continue;
        };
        let path = format!("{path}[{index}].weight");
        if !(0.0..=WEIGHT_MAX).contains(&weight) {
            let message = format!("a weight is a number from 0 to {WEIGHT_MAX}, not {weight:e}");
            faults.push(ConfigFault::error(path, message));
        } else if !is_weighted(route.strategy) {
            let message = format!("a weight changes nothing in a {} route", route.strategy);
            faults.push(ConfigFault::warning(path, message));
        }
    }
    let is_nothing = |t: &TargetConfig| t.weight == Some(0.0);
    if is_weighted(route.strategy)
        && !route.targets.is_empty()
        && route.targets.iter().all(is_nothing)
    {
        let message = "all weights are 0: give at least one target a weight";
        faults.push(ConfigFault::error(path, message));
    }
}

const fn is_weighted(strategy: Strategy) -> bool {
    match strategy {
        Strategy::Weighted | Strategy::Sticky => true,
        Strategy::Failover | Strategy::RoundRobin | Strategy::LeastCost => false,
    }
}

/// The route's targets, without those that have a fault.
fn targets(
    route: &RouteConfig,
    path: &str,
    config: &RouterConfig,
    faults: &mut Vec<ConfigFault>,
) -> Vec<Target> {
    let mut seen = BTreeSet::new();
    let mut targets = Vec::with_capacity(route.targets.len());
    for (index, written) in route.targets.iter().enumerate() {
        let path = format!("{path}.targets[{index}]");
        let Some((name, provider)) = target(written, &path, config, faults) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            let message = format!("{name} is listed twice in this route");
            faults.push(ConfigFault::error(path, message));
            continue;
        }
        if route.strategy == Strategy::LeastCost && provider.cost_per_thousand.is_none() {
            let message = format!(
                "provider {} has no cost_per_thousand, so it is tried last",
                name.provider
            );
            faults.push(ConfigFault::warning(path, message));
        }
        let weight = written.weight.unwrap_or(1.0);
        let mut target = Target::new(name, weight, provider.capabilities.clone());
        target.cost_per_thousand = provider.cost_per_thousand;
        targets.push(target);
    }
    targets
}

fn target<'c>(
    written: &TargetConfig,
    path: &str,
    config: &'c RouterConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<(TargetName, &'c RouterProvider)> {
    let Some((name, provider)) = provider_of(written, config) else {
        let known = config.providers.keys().map(ProviderName::as_str);
        faults.push(ConfigFault::error(
            format!("{path}.provider"),
            unknown("provider", &written.provider, known),
        ));
        return None;
    };
    let Some(pool) = pool_of(written, provider) else {
        let wanted = written.pool.as_deref().unwrap_or_default();
        let kind = format!("pool of provider {name} called");
        let known = provider.pools.iter().map(PoolName::as_str);
        faults.push(ConfigFault::error(
            format!("{path}.pool"),
            unknown(&kind, wanted, known.chain([TargetName::DEFAULT_POOL])),
        ));
        return None;
    };
    let name = TargetName {
        provider: name.clone(),
        pool,
    };
    Some((name, provider))
}

fn provider_of<'c>(
    written: &TargetConfig,
    config: &'c RouterConfig,
) -> Option<(&'c ProviderName, &'c RouterProvider)> {
    let name = ProviderName::try_from(written.provider.as_str()).ok()?;
    config.providers.get_key_value(&name)
}

/// The pool a target means, if there is such a pool. `default` is always there.
fn pool_of(written: &TargetConfig, provider: &RouterProvider) -> Option<PoolName> {
    let Some(pool) = written.pool.as_deref() else {
        return Some(TargetName::default_pool());
    };
    let pool = PoolName::try_from(pool).ok()?;
    (pool == TargetName::default_pool() || provider.pools.contains(&pool)).then_some(pool)
}

/// The target that is meant, if provider and pool exist.
pub(super) fn target_name(written: &TargetConfig, config: &RouterConfig) -> Option<TargetName> {
    let (provider, known) = provider_of(written, config)?;
    Some(TargetName {
        provider: provider.clone(),
        pool: pool_of(written, known)?,
    })
}

/// A route and those it falls back to, in order, each once: it ends before a repeat.
pub(super) fn fallback_chain<'c>(config: &'c RouterConfig, route: &str) -> Vec<&'c RouteName> {
    let mut chain: Vec<&RouteName> = Vec::new();
    let mut next = Some(route);
    while let Some((name, route)) = next.and_then(|name| find(config, name)) {
        if chain.contains(&name) {
            break;
        }
        chain.push(name);
        next = route.fallback.as_deref();
    }
    chain
}

pub(super) fn find<'c>(
    config: &'c RouterConfig,
    name: &str,
) -> Option<(&'c RouteName, &'c RouteConfig)> {
    let name = RouteName::try_from(name).ok()?;
    config.routes.get_key_value(&name)
}

/// Reports each cycle of fallbacks once, at its alphabetically first route.
fn check_fallbacks(config: &RouterConfig, faults: &mut Vec<ConfigFault>) {
    for name in config.routes.keys() {
        let chain = fallback_chain(config, name.as_str());
        let last = chain.last().and_then(|last| config.routes.get(*last));
        let closes = last.and_then(|route| route.fallback.as_deref()) == Some(name.as_str());
        if closes && chain.iter().all(|other| name <= *other) {
            let mut walk: Vec<&str> = chain.iter().map(|r| r.as_str()).collect();
            walk.push(name.as_str());
            faults.push(ConfigFault::error(
                format!("routes.{name}.fallback"),
                format!("fallbacks run in a circle: {}", walk.join(" -> ")),
            ));
        }
    }
}
