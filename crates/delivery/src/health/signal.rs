//! What a whole call says of its target: pure.

use malote_core::provider::Verdict;

use crate::breaker::Signal;

/// What a whole call says of its target: nothing if all it told is what takes the target out by
/// itself; that it fails only if it failed for every recipient that it says something of.
pub(super) fn signal_of<'v>(verdicts: impl Iterator<Item = Option<&'v Verdict>>) -> Option<Signal> {
    let mut signal = None;
    for verdict in verdicts {
        match verdict {
            Some(Verdict::Transient | Verdict::Unknown) => signal = Some(Signal::Fails),
            Some(
                Verdict::QuotaSpent { .. } | Verdict::ProviderUnusable | Verdict::PoolUnusable,
            ) => {}
            None
            | Some(
                Verdict::Throttled { .. }
                | Verdict::Deferred
                | Verdict::SenderUnusable
                | Verdict::Ungroup
                | Verdict::Suppressed
                | Verdict::Rejected(_),
            ) => return Some(Signal::Works),
        }
    }
    signal
}
