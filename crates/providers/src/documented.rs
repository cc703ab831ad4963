//! What the services document of their refusals, and what the adapters make of them: the rows of
//! the adapters' table tests, which `malote providers` and the pages of `docs/providers` show.

/// One answer that a service documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Documented {
    /// The HTTP status or SMTP reply code.
    pub status: u16,
    /// The answer's body, or the reply's text, as the service writes it.
    pub answer: &'static str,
    /// The verdict's word ([`malote_core::provider::Verdict::as_str`]); `accepted` for a receipt.
    pub verdict: &'static str,
    /// Where it is documented, or a word on what it means.
    pub source: &'static str,
}

impl Documented {
    /// A row.
    pub(crate) const fn new(
        status: u16,
        answer: &'static str,
        verdict: &'static str,
        source: &'static str,
    ) -> Self {
        Self {
            status,
            answer,
            verdict,
            source,
        }
    }
}
