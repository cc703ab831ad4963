//! One behaviour a file, through real sockets, against the real program.

mod abuse_config;
mod abuse_http;
mod abuse_reports;
mod abuse_smtp;
mod abuse_webhooks;
mod all_down;
mod app_webhooks;
mod backend_moto;
mod backend_postfix;
mod backend_smtp_sink;
mod bounce_mail;
mod canaries;
mod certificates;
mod check_online;
mod client_nodemailer;
mod client_smtplib;
mod client_swaks;
mod client_symfony;
mod cluster;
mod command_line;
mod conformance;
mod corpus;
mod credential_rotated;
mod dashboards;
mod database_pooled;
mod database_refused;
mod database_restore;
mod demo_cluster;
mod demo_full;
mod disk_full;
mod dkim;
mod doctor;
mod drain;
mod eight_services;
mod erasure;
mod event_feed;
mod every_service;
mod failover;
mod http_submission;
mod ip_block;
mod isolation;
mod kill_nine;
mod lost_reply;
mod mautic_api;
mod mautic_feedback;
mod migrate;
mod one_click;
mod privacy;
mod provider_lists;
mod provider_removed;
mod queue_full;
mod rate;
mod recovery;
mod relay_faults;
mod reload;
mod reload_under_load;
mod reputation_guard;
mod route_rules;
mod scenario;
mod service_webhooks;
mod shared_postgres;
mod shutdown;
mod smtp_submission;
mod strangers;
mod stray_events;
mod suppressed_recipients;
mod suppression;
mod suppression_api;
mod tracking;
mod unknown_outcome;
mod unsubscribe;
mod webhooks;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Taken;
use malote_tests::{Config, SHOP_KEY, World};
use serde_json::{Value, json};

/// How long one delivery may take on a busy machine.
const SENT_MAX: Duration = Duration::from_secs(30);
/// The variable that asks for the long runs.
const LONG_VARIABLE: &str = "MALOTE_LONG_TESTS";

/// So long, or so many; less when nobody asked for the long runs.
fn long<T>(long: T, short: T) -> T {
    if std::env::var_os(LONG_VARIABLE).is_some() {
        long
    } else {
        short
    }
}

/// Campaigns leave by Mailgun alone, so that a test knows where to look.
const CAMPAIGN_ROUTE: &str = "strategy = \"weighted\"
targets = [{ provider = \"mailgun\", pool = \"news\", weight = 9 }, { provider = \"relay\", pool = \"bulk\", weight = 1 }]";

fn campaigns_by(config: &mut Config, target: &str) -> Result<()> {
    let route = format!("strategy = \"failover\"\ntargets = [{target}]");
    config.replace(CAMPAIGN_ROUTE, &route)
}

/// A message of the shop to this recipient.
fn order(recipient: &str) -> Value {
    json!({
        "from": { "email": "orders@shop.example", "name": "Shop" },
        "to": [recipient],
        "subject": "Your order",
        "text": "Thank you.\n",
    })
}

/// The text of what a simulator took.
fn raw_text(taken: &Taken) -> Result<String> {
    let raw = taken.raw.as_ref().context("its raw form is gone")?;
    Ok(String::from_utf8_lossy(raw).into_owned())
}

/// Posts a message to this recipient and waits until it was sent; answers its timeline.
async fn send_order(world: &World, recipient: &str) -> Result<Value> {
    world.gateway.submit(&order(recipient)).await?;
    let gateway = &world.gateway;
    gateway
        .reached(recipient, SHOP_KEY, &["sent"], SENT_MAX)
        .await
}

/// Each attempt of a timeline's first delivery, as provider and outcome.
fn attempts(timeline: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = timeline["deliveries"][0]["attempts"].as_array();
    list.into_iter()
        .flatten()
        .map(|attempt| (word(&attempt["provider"]), word(&attempt["outcome"])))
        .collect()
}

/// Refuses a message that did not reach this recipient exactly once at this simulator.
fn ensure_once(messages: &[Taken]) -> Result<&Taken> {
    ensure!(messages.len() == 1, "{} messages arrived", messages.len());
    messages.first().context("nothing arrived")
}
