//! Which targets a route has, and which there are at all.

use std::collections::BTreeSet;

use malote_core::name::{RouteName, StreamName, TargetName};

use crate::router::Router;

impl Router {
    /// The targets of a route and of the routes it falls back to, each once, in the order
    /// written; of the stream's own route if this one is no longer configured.
    #[must_use]
    pub fn targets_of(&self, route: &RouteName, stream: &StreamName) -> Vec<TargetName> {
        let mut targets: Vec<TargetName> = Vec::new();
        let Some((route, _)) = self.planned_route(route, stream) else {
            return targets;
        };
        for (_, route) in self.chain(route) {
            for target in &route.targets {
                if !targets.contains(&target.name) {
                    targets.push(target.name.clone());
                }
            }
        }
        targets
    }

    /// The routes that mail of a stream can take: its own, and those of rules that can apply to it.
    pub fn routes_of(&self, stream: &StreamName) -> impl Iterator<Item = &RouteName> {
        self.taken.get(stream).into_iter().flatten()
    }

    /// Every target that a route names.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<TargetName> {
        let of_routes = self.routes.values().flat_map(|route| &route.targets);
        of_routes.map(|target| target.name.clone()).collect()
    }
}
