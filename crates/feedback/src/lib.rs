//! Events out again, to the apps and Mautics whose mail they are about: one outlet each.
//!
//! An outlet tells and reports. It never decides when to come again and never touches the store:
//! the engine keeps the outbox.
