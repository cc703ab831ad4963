//! The door that a session came in by, which a drain closes.

use malote_core::intake::Openness;
use tokio::sync::watch;

/// One listener's door. Those through which mail comes back are never closed before the gateway
/// stops.
#[derive(Clone, Default)]
pub(crate) struct Door(Option<watch::Receiver<Openness>>);

impl Door {
    /// One that a drain closes.
    pub(crate) const fn of(openness: watch::Receiver<Openness>) -> Self {
        Self(Some(openness))
    }

    /// Whether it takes no new mail.
    pub(crate) fn is_closed(&self) -> bool {
        let openness = self.0.as_ref();
        openness.is_some_and(|openness| *openness.borrow() == Openness::Closed)
    }

    /// Resolves when it takes no new mail.
    pub(crate) async fn closed(&mut self) {
        if let Some(openness) = &mut self.0
            && openness
                .wait_for(|openness| *openness == Openness::Closed)
                .await
                .is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}
