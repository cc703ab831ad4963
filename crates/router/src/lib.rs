//! Facts, rules and health in; a plan with its reasons out.
//!
//! Nothing here is async, reads a clock, does I/O or draws by chance: time, seed and turn are
//! arguments, so that the same question has the same answer today, in a test and in `explain`.

mod compile;
mod condition;
mod config;
mod explain;
mod facts;
mod health;
mod hint;
mod mailbox;
mod order;
mod plan;
mod route;
mod router;
mod rule;
mod stream;
mod targets;

pub use config::{
    CAMPAIGN_BURST_DEFAULT, EMAIL_ID_WINDOW_S, HeaderConfig, HourConfig, MailboxProvidersConfig,
    OneOrMany, RouteConfig, RouterConfig, RouterCredential, RouterProvider, RouterStream,
    RuleConfig, SizeConfig, StickyBy, Strategy, TargetConfig, ThenConfig, WhenConfig,
};
pub use explain::{ExplainedDelivery, Explanation};
pub use facts::{DeliveryFacts, EMAIL_ID_HEADER, MessageFacts, PlanFacts, STREAM_HEADER};
pub use health::{Exclusion, Health};
pub use mailbox::is_free_mail;
pub use plan::{Draw, Plan, PlannedTarget};
pub use route::{RouteDecision, RouteReason};
pub use router::Router;
pub use rule::RuleTrial;
pub use stream::{NoStream, StreamDecision, StreamReason};
