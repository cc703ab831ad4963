//! Whether whoever we are at Mautic may do there what it takes to be told. Asking changes nothing.

use http::Method;
use serde_json::json;

use super::Peer;
use super::api::{Api, Call, WAY_OUT, get};
use super::contact::number;
use super::miss::Miss;

/// Mautic's name for the right to edit contacts of others. A contact without an owner, as imports
/// and forms make them, takes it too.
const EDIT_OTHERS: &str = "lead:leads:editother";

impl Api {
    /// In words, whether contacts may be edited.
    ///
    /// # Errors
    /// [`Miss::Closed`] if they may not; else that it cannot be asked now. A Mautic that does not let
    /// itself be asked is no fault.
    pub(super) async fn check_rights(&self, peer: &Peer) -> Result<String, Miss> {
        match self.may_edit(peer).await {
            Ok(Some(true)) => Ok("may edit them".to_owned()),
            Ok(Some(false)) => Err(Miss::Closed(format!(
                "contacts of others may be seen, and not be edited ({EDIT_OTHERS}); {WAY_OUT}"
            ))),
            Ok(None) | Err(Miss::Refused(_) | Miss::Closed(_)) => {
                Ok("whether they may be edited could not be asked".to_owned())
            }
            Err(miss @ (Miss::Wait(_) | Miss::Busy { .. } | Miss::Later { .. })) => Err(miss),
        }
    }

    /// `POST /api/users/ID/permissioncheck` (`UserApiController::isGrantedAction`) of whom
    /// `GET /api/users/self` says that we are; `None` where it says neither. A token of client
    /// credentials may be of no user.
    async fn may_edit(&self, peer: &Peer) -> Result<Option<bool>, Miss> {
        let own = self.call(peer, get("/api/users/self", &[])).await?;
        let Some(id) = own.as_ref().and_then(|own| number(own.get("id")?)) else {
            return Ok(None);
        };
        let path = format!("/api/users/{id}/permissioncheck");
        let call = Call {
            method: Method::POST,
            path: &path,
            query: &[],
            body: Some(json!({ "permissions": [EDIT_OTHERS] })),
        };
        let rights = self.call(peer, call).await?;
        Ok(rights.and_then(|rights| rights.get(EDIT_OTHERS)?.as_bool()))
    }
}
