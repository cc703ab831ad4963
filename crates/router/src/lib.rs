//! Facts, rules and health in; a plan with its reasons out.
