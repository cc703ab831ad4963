//! What the service says when it does not do what was asked.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::enveloped;
use crate::fault::FaultKind;
use crate::http::status;
use crate::sandbox::Sandbox;

/// An error in the service's shape; `data` is all but its request's id.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    data: Value,
}

impl Problem {
    fn new(status: StatusCode, code: &str, error: &str) -> Self {
        let code = format!("E_ApiResponseCodes.{code}");
        Self {
            status,
            data: json!({ "error": error, "error_code": code }),
        }
    }

    /// An email that the service's own SMTP refused: a success with a failure inside, worded as
    /// live answers are (onetimesecret issue 4190).
    fn failed(what: &str) -> Self {
        let failure = format!("An error occurred during the SMTP request: {what} - Code(550)");
        Self {
            status: StatusCode::OK,
            data: json!({ "succeeded": 0, "failed": 1, "failures": [failure], "email_id": "" }),
        }
    }

    /// The document has a member that is not as it must be.
    pub(super) fn field(name: &str, message: &str) -> Self {
        let mut problem = Self::malformed();
        problem.data["field_validation_errors"] = json!({
            "fieldname": name,
            "message": format!("{message}, Please correct your JSON payload and try again."),
        });
        problem
    }

    pub(super) fn no_mailbox(name: &str, found: &str) -> Self {
        let message = format!(
            "The field '{name}' was expecting a valid RFC-822 formatted email field but found \
             '{found}'"
        );
        Self::field(name, &message)
    }

    pub(super) fn malformed() -> Self {
        let error = "An error occurred processing the json data you sent with the request, \
                     please make sure the data conforms to the specification for this call and \
                     try again. Don't forget to set Content-Type to 'application/json'.";
        Self::new(StatusCode::BAD_REQUEST, "NON_VALIDATING_IN_PAYLOAD", error)
    }

    pub(super) fn bad_key() -> Self {
        let error = "No valid API key was provided";
        Self::new(StatusCode::UNAUTHORIZED, "API_EXCEPTION", error)
    }

    pub(super) fn not_permitted() -> Self {
        let error = "You do not have permission to access this API endpoint";
        Self::new(StatusCode::BAD_REQUEST, "ENDPOINT_PERMISSION_DENIED", error)
    }

    pub(super) fn too_large() -> Self {
        let error = "The request is larger than 50 MB";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "API_EXCEPTION", error)
    }

    pub(super) fn only_to_owner(owner: &str) -> Self {
        let error = format!(
            "You can only send testing emails to your own email address ({owner}). Verify a \
             sender domain to send to other recipients."
        );
        Self::new(StatusCode::FORBIDDEN, "SENDER_NOT_VERIFIED", &error)
    }

    pub(super) fn unverified_sender(sender: &str) -> Self {
        let domain = sender.rsplit('@').next().unwrap_or_default();
        Self::failed(&format!(
            "From header sender domain not verified ({domain})\nOn your Sending > Verified \
             Senders page add and verify the sender domain"
        ))
    }

    pub(super) fn answer(&self, sandbox: &Sandbox) -> Response {
        enveloped(sandbox, self.status, &self.data)
    }
}

/// What the service says for each fault.
pub(super) fn words(kind: FaultKind, sender: &str, recipients: &[String]) -> Problem {
    let exception = |number, error: &str| Problem::new(status(number), "API_EXCEPTION", error);
    match kind {
        FaultKind::Status(401) => Problem::bad_key(),
        FaultKind::Status(number @ (400 | 403)) => Problem::new(
            status(number),
            "ENDPOINT_PERMISSION_DENIED",
            "You do not have permission to access this API endpoint",
        ),
        FaultKind::Status(429) => exception(429, "API key ratelimit exceeded"),
        FaultKind::Status(number) => exception(number, &status(number).to_string()),
        FaultKind::Quota => exception(402, "You have reached the email limit of your plan"),
        FaultKind::Suspended => exception(401, "The API key is disabled"),
        FaultKind::Sender => Problem::unverified_sender(sender),
        // An email is taken or refused as a whole, whatever the number of its recipients.
        FaultKind::Recipient | FaultKind::Partial => {
            let first = recipients.first().map(String::as_str);
            Problem::no_mailbox("to", first.unwrap_or_default())
        }
        FaultKind::Content => Problem::failed("This message was classified as spam"),
        FaultKind::Reputation => Problem::failed("The sending address is on a block list"),
        FaultKind::Bare(_)
        | FaultKind::Hang
        | FaultKind::Cut
        | FaultKind::CutEarly
        | FaultKind::HangEarly
        | FaultKind::CutReply
        | FaultKind::Nonsense
        | FaultKind::Redirect
        | FaultKind::Huge
        | FaultKind::Echo
        | FaultKind::Slow => exception(500, "Internal Server Error"),
    }
}
