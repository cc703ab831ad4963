//! Properties of plans, and the shares that the strategies give.
