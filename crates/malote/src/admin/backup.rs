//! `POST /admin/v1/store/backup`: a copy of the store while it works.

use axum::Json;
use axum::extract::{Request, State};
use malote_store::StoreError;

use super::AdminState;
use super::api::{BackupBody, BackupRequest};
use super::problem::{Problem, ProblemKind};
use super::request;
use crate::place::StorePlace;

/// Copies the store into a directory on the gateway's machine. The operator waits for it.
pub(super) async fn backup(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<BackupBody>, Problem> {
    let body: BackupRequest = request::json(request).await?;
    if !body.path.is_absolute() {
        let text = "give an absolute path on the gateway's machine";
        return Err(Problem::at(ProblemKind::InvalidValue, "/path", text));
    }
    let store = match &state.store {
        StorePlace::Sqlite(store) => store,
        StorePlace::Postgres(_, settings) => {
            let text = format!(
                "the store is a database, which its own tools copy while the gateways work: {}",
                settings.dump_command(&body.path)
            );
            return Err(Problem::new(ProblemKind::InvalidValue, text));
        }
    };
    match store.backup(&body.path).await {
        Ok(report) => {
            tracing::info!(
                database_bytes = report.database_bytes,
                body_files = report.body_files,
                "backed up the store"
            );
            Ok(Json(BackupBody {
                path: body.path,
                database_bytes: report.database_bytes,
                body_files: report.body_files,
            }))
        }
        // These texts are about the directory, which the operator chose.
        Err(StoreError::Engine(why)) => Err(Problem::at(ProblemKind::InvalidValue, "/path", why)),
        Err(error @ (StoreError::Full | StoreError::Busy | StoreError::Unavailable(_))) => {
            Err(error.into())
        }
        Err(error @ (StoreError::Closed | StoreError::BadCursor | StoreError::Damaged(_))) => {
            Err(error.into())
        }
    }
}
