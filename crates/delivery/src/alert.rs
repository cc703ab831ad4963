//! What a human should see: told once when it begins.

/// Something that a human should see: told once when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alert {
    /// A breaker opened.
    BreakerOpened,
    /// The provider refuses us until it is checked.
    ProviderOut,
    /// The provider does not know the pool.
    PoolOut,
    /// The provider does not accept a sender domain.
    SenderOut,
    /// The account may not mail a recipient (a sandbox).
    NotPermitted,
}

impl Alert {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::BreakerOpened,
        Self::ProviderOut,
        Self::PoolOut,
        Self::SenderOut,
        Self::NotPermitted,
    ];

    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::BreakerOpened => "breaker_opened",
            Self::ProviderOut => "provider_out",
            Self::PoolOut => "pool_out",
            Self::SenderOut => "sender_out",
            Self::NotPermitted => "not_permitted",
        }
    }
}
