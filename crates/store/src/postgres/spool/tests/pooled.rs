//! The suite of [`Spool`](crate::Spool) behind a pooler that gives every transaction another
//! session.

use std::sync::OnceLock;

use super::open;
use crate::PostgresSpool;
use crate::postgres::tests::cluster::{Cluster, KEY, TestDatabase, settings};

/// A new engine on a database of its own, by way of the pooler.
async fn pooled() -> (PostgresSpool, TestDatabase) {
    static ONE: OnceLock<(Cluster, String)> = OnceLock::new();
    let (cluster, pooler) = ONE.get_or_init(|| {
        let mut cluster = Cluster::start(&[]);
        let pooler = cluster.pooler();
        (cluster, pooler)
    });
    let database = cluster.database().await;
    let settings = settings(&format!("{pooler}/{}", database.name()), KEY);
    (open(&settings).await.spool, database)
}

crate::conformance_spool!(pooled);
