//! Simulators of the services' send APIs, for tests, the demo and rehearsals.
