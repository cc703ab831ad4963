//! Places for messages under way, over all lanes: campaign lanes leave a share free, so that
//! transactional mail never waits for them.

use std::sync::Arc;

use malote_core::stream::Class;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places.
pub(crate) struct Workers {
    count: u32,
    all: Arc<Semaphore>,
    campaign: Arc<Semaphore>,
}

/// Places taken together. Dropping it frees them.
pub(crate) struct Places {
    all: OwnedSemaphorePermit,
    campaign: Option<OwnedSemaphorePermit>,
}

impl Workers {
    /// `count` places, of which campaign lanes may take all but `reserve` (0.0 to 0.9).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 10,000 places and a share of 0.0 to 0.9, checked by the configuration"
    )]
    pub(crate) fn new(count: u32, reserve: f64) -> Self {
        let campaign = (f64::from(count) * (1.0 - reserve)) as usize;
        Self {
            count,
            all: Arc::new(Semaphore::new(count as usize)),
            campaign: Arc::new(Semaphore::new(campaign.max(1))),
        }
    }

    /// Places that are taken.
    pub(crate) fn under_way(&self) -> u32 {
        let free = u32::try_from(self.all.available_permits()).unwrap_or(u32::MAX);
        self.count.saturating_sub(free)
    }

    /// Waits for one place and takes up to `count_max` of those that are free then.
    pub(crate) async fn take(&self, class: Class, count_max: u32) -> Option<Places> {
        let campaign = match class {
            Class::Transactional => None,
            Class::Campaign => Some(take_some(&self.campaign, count_max).await?),
        };
        let count_max = campaign
            .as_ref()
            .map_or(count_max, |taken| places_of(taken).min(count_max));
        let all = take_some(&self.all, count_max).await?;
        Some(Places { all, campaign })
    }
}

impl Places {
    /// How many they are.
    pub(crate) fn count(&self) -> u32 {
        places_of(&self.all)
    }

    /// One of them for itself.
    pub(crate) fn split(&mut self) -> Option<Self> {
        let campaign = match &mut self.campaign {
            Some(taken) => Some(taken.split(1)?),
            None => None,
        };
        Some(Self {
            all: self.all.split(1)?,
            campaign,
        })
    }
}

async fn take_some(places: &Arc<Semaphore>, count_max: u32) -> Option<OwnedSemaphorePermit> {
    let mut taken = Arc::clone(places).acquire_owned().await.ok()?;
    let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
    let more = free.min(count_max.saturating_sub(1));
    if more > 0
        && let Ok(others) = Arc::clone(places).try_acquire_many_owned(more)
    {
        taken.merge(others);
    }
    Some(taken)
}

fn places_of(permit: &OwnedSemaphorePermit) -> u32 {
    u32::try_from(permit.num_permits()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn campaign_lanes_leave_the_reserve_to_transactional_ones() {
        let workers = Workers::new(8, 0.25);
        let campaign = workers.take(Class::Campaign, 100).await.unwrap();
        assert_eq!(campaign.count(), 6);
        let more = timeout(Duration::from_millis(20), workers.take(Class::Campaign, 1));
        assert!(more.await.is_err(), "campaign waits");
        let mut transactional = workers.take(Class::Transactional, 100).await.unwrap();
        assert_eq!(transactional.count(), 2);
        assert_eq!(workers.under_way(), 8);
        let one = transactional.split().unwrap();
        drop(transactional);
        assert_eq!(
            workers
                .take(Class::Transactional, 100)
                .await
                .unwrap()
                .count(),
            1
        );
        drop(one);
        drop(campaign);
        assert_eq!(workers.under_way(), 0);
    }
}
