//! What each condition matches and what it does not.
