//! The compiled routes, and the order in which each strategy tries their targets.

use malote_core::name::{RouteName, TargetName};
use malote_core::provider::Capabilities;
use sha2::{Digest, Sha256};

use crate::config::{StickyBy, Strategy};
use crate::facts::PlanFacts;
use crate::plan::Draw;

/// A compiled route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) strategy: Strategy,
    pub(crate) by: Option<StickyBy>,
    /// Never empty.
    pub(crate) targets: Vec<Target>,
    pub(crate) fallback: Option<RouteName>,
}

/// A compiled target.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: TargetName,
    /// 0 or a finite number above it, not 0 for all targets of a weighted or sticky route.
    pub(crate) weight: f64,
    pub(crate) cost_per_thousand: Option<f64>,
    pub(crate) capabilities: Capabilities,
    /// Depends on the name alone, so that a target keeps its share when others come and go.
    hash: u64,
}

impl Target {
    pub(crate) fn new(name: TargetName, weight: f64, capabilities: Capabilities) -> Self {
        Self {
            hash: hash(name.to_string().as_bytes()),
            name,
            weight,
            cost_per_thousand: None,
            capabilities,
        }
    }
}

/// A target in its place, with the reason for it.
pub(crate) struct Placed<'r> {
    pub(crate) target: &'r Target,
    pub(crate) why: String,
}

impl Route {
    /// Puts those of the route's targets that can be used into the order in which to try them.
    pub(crate) fn order<'r>(
        &'r self,
        usable: Vec<&'r Target>,
        facts: &PlanFacts<'_>,
        draw: Draw,
    ) -> Vec<Placed<'r>> {
        match self.strategy {
            Strategy::Failover => placed(usable, |_| "in the order written".to_owned()),
            Strategy::Weighted => placed(race(usable, mix(draw.seed)), |target| {
                format!("drawn by weight {} of {}", target.weight, self.weight_sum())
            }),
            Strategy::RoundRobin => placed(rotated(usable, draw.turn), |_| {
                format!("in its turn, number {}", draw.turn)
            }),
            Strategy::Sticky => {
                let (key, what) = self.sticky_key(facts);
                placed(race(usable, key), |_| format!("where this {what} belongs"))
            }
            Strategy::LeastCost => placed(by_cost(usable), |target| {
                target.cost_per_thousand.map_or_else(
                    || "last, since its cost is not known".to_owned(),
                    |cost| format!("at {cost} a thousand"),
                )
            }),
        }
    }

    fn weight_sum(&self) -> f64 {
        self.targets.iter().map(|t| t.weight).sum()
    }

    fn sticky_key(&self, facts: &PlanFacts<'_>) -> (u64, &'static str) {
        let campaign = match self.by {
            Some(StickyBy::Campaign) => facts.campaign,
            Some(StickyBy::Recipient) | None => None,
        };
        campaign.map_or_else(
            || (hash(facts.recipient.key().as_bytes()), "recipient"),
            |campaign| (hash(campaign.as_bytes()), "campaign"),
        )
    }
}

fn placed<'r>(targets: Vec<&'r Target>, why: impl Fn(&Target) -> String) -> Vec<Placed<'r>> {
    targets
        .into_iter()
        .map(|target| Placed {
            target,
            why: why(target),
        })
        .collect()
}

fn rotated(mut targets: Vec<&Target>, turn: u64) -> Vec<&Target> {
    if let Ok(count @ 1..) = u64::try_from(targets.len()) {
        let first = usize::try_from(turn % count).unwrap_or(0);
        targets.rotate_left(first);
    }
    targets
}

fn by_cost(mut targets: Vec<&Target>) -> Vec<&Target> {
    let cost = |target: &Target| target.cost_per_thousand.unwrap_or(f64::INFINITY);
    targets.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    targets
}

/// Orders targets by an exponential race (Efraimidis and Spirakis, "Weighted random sampling with
/// a reservoir", 2006): each runs for `-ln(u) / weight`, u drawn from key and name. The order is a
/// draw by weight without replacement. A target's time does not depend on the others', so that
/// taking one out leaves the order of the rest as it was; this is rendezvous hashing where the key
/// is a recipient or a campaign.
fn race(targets: Vec<&Target>, key: u64) -> Vec<&Target> {
    let mut timed: Vec<(f64, &Target)> = targets
        .into_iter()
        .map(|target| (race_time(key, target), target))
        .collect();
    timed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    timed.into_iter().map(|(_, target)| target).collect()
}

fn race_time(key: u64, target: &Target) -> f64 {
    if target.weight <= 0.0 {
        return f64::INFINITY;
    }
    -unit(mix(key ^ target.hash)).ln() / target.weight
}

/// A number above 0 and below 1, from the upper 53 bits.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are what an f64 holds exactly"
)]
fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): neighbours become strangers.
const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The first 8 octets of SHA-256: the same on every machine and in every release, so that sticky
/// mail stays where it is.
fn hash(octets: &[u8]) -> u64 {
    let digest = Sha256::digest(octets);
    digest
        .iter()
        .take(8)
        .fold(0, |value, octet| value << 8 | u64::from(*octet))
}
