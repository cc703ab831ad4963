//! The engine: intake, dispatch, limits, breaker, retry and the consequences of events.
