//! From configuration to router, with every fault reported at once.

mod isolation;
mod routes;
mod rules;

use std::collections::BTreeMap;

use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::{CredentialName, StreamName};

use crate::config::RouterConfig;
use crate::hint::{proposal, unknown};
use crate::mailbox::MailboxTable;
use crate::router::{Allowed, Router};

/// See [`Router::compile`].
pub(crate) fn compile(config: &RouterConfig) -> (Option<Router>, Vec<ConfigFault>) {
    let mut faults = Vec::new();
    check_streams(config, &mut faults);
    let credentials = credentials(config, &mut faults);
    let mailboxes = MailboxTable::compile(&config.mailbox_providers, &mut faults);
    let (stream_rules, route_rules) = rules::compile(config, &mailboxes.names(), &mut faults);
    let routes = routes::compile(config, &mut faults);
    isolation::check(config, &mut faults);
    if faults.iter().any(|f| f.severity == Severity::Error) {
        return (None, faults);
    }
    let router = Router {
        stream_rules,
        route_rules,
        routes,
        direct: routes::direct(config),
        streams: config.streams.clone(),
        reach: isolation::reach(config),
        taken: isolation::routes(config),
        credentials,
        mailboxes,
        campaign_burst: config.campaign_burst,
    };
    (Some(router), faults)
}

fn check_streams(config: &RouterConfig, faults: &mut Vec<ConfigFault>) {
    for (name, stream) in &config.streams {
        if !config.routes.contains_key(&stream.route) {
            let known = config.routes.keys().map(|r| r.as_str());
            faults.push(ConfigFault::error(
                format!("streams.{name}.route"),
                unknown("route", stream.route.as_str(), known),
            ));
        }
    }
}

fn credentials(
    config: &RouterConfig,
    faults: &mut Vec<ConfigFault>,
) -> BTreeMap<CredentialName, Allowed> {
    let mut all = BTreeMap::new();
    for (name, credential) in &config.credentials {
        let mut streams: Vec<(StreamName, _)> = Vec::new();
        for (index, stream) in credential.streams.iter().enumerate() {
            match config.streams.get(stream) {
                Some(known) => streams.push((stream.clone(), known.class)),
                None => faults.push(ConfigFault::error(
                    format!("credentials.{name}.streams[{index}]"),
                    unknown_stream(config, stream.as_str()),
                )),
            }
        }
        if credential.streams.is_empty() {
            faults.push(ConfigFault::error(
                format!("credentials.{name}.streams"),
                "a credential needs at least one stream",
            ));
        }
        if let Some(default) = &credential.default_stream
            && !credential.streams.contains(default)
        {
            let own = credential.streams.iter().map(StreamName::as_str);
            let near = proposal(default.as_str(), own);
            faults.push(ConfigFault::error(
                format!("credentials.{name}.default_stream"),
                format!("\"{default}\" is not one of this credential's streams{near}"),
            ));
        }
        let default_stream = credential.default_stream.clone();
        all.insert(
            name.clone(),
            Allowed {
                streams,
                default_stream,
            },
        );
    }
    all
}

fn unknown_stream(config: &RouterConfig, wanted: &str) -> String {
    unknown(
        "stream",
        wanted,
        config.streams.keys().map(StreamName::as_str),
    )
}

#[cfg(test)]
pub(crate) mod tests;
