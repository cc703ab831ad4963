//! `/admin/v1/recipients`: erasing a recipient on request.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use malote_core::suppression::SuppressedAddress;
use malote_store::Erasing;
use serde::Deserialize;

use super::AdminState;
use super::api::ErasedBody;
use super::problem::{Problem, ProblemKind};
use super::request;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EraseQuery {
    address: Option<SuppressedAddress>,
    hash: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `DELETE recipients?address=` or `?hash=`: erases, or with `&dry_run=true` counts.
pub(super) async fn erase(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<ErasedBody>, Problem> {
    let query: EraseQuery = request::query(&uri)?;
    let erasing = if query.dry_run {
        Erasing::Count
    } else {
        Erasing::Erase
    };
    let meant = match (query.address, query.hash) {
        (Some(address), None) => address,
        (None, Some(hash)) => format!("hash:{hash}").parse().map_err(|_| {
            let text = "give 32 hex digits, as an earlier answer told them";
            Problem::at(ProblemKind::BadQuery, "hash", text)
        })?,
        (Some(_), Some(_)) | (None, None) => {
            let text = "give either address or hash";
            return Err(Problem::at(ProblemKind::BadQuery, "address", text));
        }
    };
    let address = match meant {
        SuppressedAddress::Known(address) => address,
        SuppressedAddress::Erased(hash) => {
            let found = state.engine.recipient_of(hash).await?;
            found.ok_or_else(|| {
                Problem::new(ProblemKind::NotFound, "no mail to this recipient is kept")
            })?
        }
    };
    let erased = state.engine.erase(&address, erasing).await?;
    if erasing == Erasing::Erase {
        tracing::info!(
            recipient.domain = address.domain(),
            deliveries = erased.mail.deliveries,
            "erased a recipient"
        );
    }
    Ok(Json(erased.into()))
}
