//! What the account may do, how much is left of it, which IP pools and senders it has.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Problem, look_up};
use crate::config::Account;
use crate::sandbox::Sandbox;

/// `GET /v3/scopes`.
pub(super) async fn scopes(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let mut scopes = vec![
        "mail.send",
        "user.account.read",
        "user.credits.read",
        "whitelabel.read",
    ];
    if sandbox.config().account.pools.is_some() {
        scopes.push("ips.pools.read");
    }
    look_up(&sandbox, &headers, Ok(json!({ "scopes": scopes })))
}

/// `GET /v3/user/account`: a limited account is a free one.
pub(super) async fn account(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let kind = match sandbox.config().account.is_limited {
        true => "free",
        false => "paid",
    };
    let account = json!({ "type": kind, "reputation": 100 });
    look_up(&sandbox, &headers, Ok(account))
}

/// `GET /v3/user/credits`: a free account has a hundred a day.
pub(super) async fn credits(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let today = (sandbox.config().clock)().strftime("%Y-%m-%d").to_string();
    let (total, frequency) = match sandbox.config().account.is_limited {
        true => (100, "daily"),
        false => (1_000_000, "monthly"),
    };
    let used = sandbox.stats().recipients;
    let credits = json!({
        "remain": u64::saturating_sub(total, used),
        "total": total,
        "overage": u64::saturating_sub(used, total),
        "used": used,
        "last_reset": today,
        "next_reset": today,
        "reset_frequency": frequency,
    });
    look_up(&sandbox, &headers, Ok(credits))
}

fn names(account: &Account) -> impl Iterator<Item = &String> {
    account.pools.iter().flatten()
}

/// `GET /v3/ips/pools`. No list has every name: then the key lacks the scope.
pub(super) async fn pools(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let pool = |name: &String| json!({ "name": name });
    let pools: Vec<Value> = names(&sandbox.config().account).map(pool).collect();
    let told = match sandbox.config().account.pools {
        Some(_) => Ok(pools.into()),
        None => Err(Problem::new(403, "access forbidden")),
    };
    look_up(&sandbox, &headers, told)
}

/// `GET /v3/ips/pools/NAME`.
pub(super) async fn pool(
    State(sandbox): State<Sandbox>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = match sandbox.config().account.has_pool(&name) {
        true => Ok(json!({ "pool_name": name, "ips": ["192.0.2.1"] })),
        false => Err(Problem {
            field: Some("error".to_owned()),
            ..Problem::new(404, "Unable to locate specified IPs Pool")
        }),
    };
    look_up(&sandbox, &headers, found)
}

/// `GET /v3/send_ips/pools`, the newer list.
pub(super) async fn send_pools(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let pool = |(place, name): (usize, &String)| {
        json!({
            "name": name,
            "id": format!("{place:08x}"),
            "regions": ["global"],
            "ips_preview": ["192.0.2.1"],
            "total_ip_count": 1,
        })
    };
    let pools = names(&sandbox.config().account).enumerate();
    let pools: Vec<Value> = pools.map(pool).collect();
    let list = json!({ "result": pools, "_metadata": { "next_params": { "after_key": null } } });
    look_up(&sandbox, &headers, Ok(list))
}

/// What `GET /v3/whitelabel/domains` may be asked.
#[derive(Deserialize)]
pub(super) struct Wanted {
    domain: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

/// `GET /v3/whitelabel/domains?domain=D&limit=N&offset=N`. Where every domain may send, the one
/// that is asked for is there.
pub(super) async fn domains(
    State(sandbox): State<Sandbox>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let one = wanted.domain.as_deref();
    let all: Vec<String> = match &sandbox.config().account.senders {
        Some(senders) => senders.clone(),
        None => wanted.domain.iter().cloned().collect(),
    };
    let is_wanted = |domain: &&String| one.is_none_or(|one| domain.eq_ignore_ascii_case(one));
    let domains = all.iter().filter(is_wanted).enumerate();
    let domains: Vec<Value> = domains
        .skip(wanted.offset.unwrap_or(0))
        .take(wanted.limit.unwrap_or(50))
        .map(|(place, domain)| authenticated(place + 1, domain))
        .collect();
    look_up(&sandbox, &headers, Ok(domains.into()))
}

fn authenticated(id: usize, domain: &str) -> Value {
    let record = |host: &str, data: &str| json!({ "valid": true, "type": "cname", "host": format!("{host}.{domain}"), "data": data });
    json!({
        "id": id,
        "user_id": 1,
        "subdomain": "em",
        "domain": domain,
        "username": "sandbox",
        "ips": [],
        "custom_spf": false,
        "default": id == 1,
        "legacy": false,
        "automatic_security": true,
        "valid": true,
        "dns": {
            "mail_cname": record("em", "u1.wl.sendgrid.net"),
            "dkim1": record("s1._domainkey", "s1.domainkey.u1.wl.sendgrid.net"),
            "dkim2": record("s2._domainkey", "s2.domainkey.u1.wl.sendgrid.net"),
        },
    })
}

/// `GET /v3/verified_senders`: this account has domains, no single addresses.
pub(super) async fn verified_senders(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
) -> Response {
    look_up(&sandbox, &headers, Ok(json!({ "results": [] })))
}
