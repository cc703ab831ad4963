//! Contacts who are excluded from campaigns (REST API, `contact`): those who complained or
//! unsubscribed, and whom the account's owner excluded. Who bounced is in no list.

use axum::extract::{Query, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::problem::{self, words};
use super::{Listing, is_known, rest_error, rows};
use crate::http::answer_list;
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

const fn is_excluded(why: Why) -> bool {
    match why {
        Why::Complained | Why::Unsubscribed | Why::Manual => true,
        Why::Bounced | Why::Blocked | Why::Invalid | Why::Compliance => false,
    }
}

/// `GET /v3/REST/contact?IsExcludedFromCampaigns=true`: the simulator knows no other contacts.
pub(super) async fn list(
    State(sandbox): State<Sandbox>,
    Query(listing): Query<Listing>,
    headers: HeaderMap,
) -> Response {
    if !is_known(&sandbox, &headers) {
        return rest_error(StatusCode::UNAUTHORIZED, problem::NOT_AUTHORIZED);
    }
    let accept = || {
        let is_own = |entry: &Suppressed| is_excluded(entry.why);
        let (all, _) = sandbox.suppressed().page(is_own, 0, usize::MAX - 1);
        rows(all.iter().map(written).collect(), &listing)
    };
    answer_list(&sandbox, accept, |kind| words(kind, 1)).await
}

fn written(entry: &Suppressed) -> Value {
    let at = entry.at.map(|at| at.to_string());
    json!({
        "CreatedAt": at,
        "DeliveredCount": 1,
        "Email": entry.address,
        "ExclusionFromCampaignsUpdatedAt": at,
        "ID": 1,
        "IsExcludedFromCampaigns": true,
        "IsOptInPending": false,
        "IsSpamComplaining": entry.why == Why::Complained,
        "LastActivityAt": at,
        "LastUpdateAt": at,
        "Name": "",
    })
}
