//! Errors of `send`: of the whole call, and of one message in it ("Send API errors").

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::fault::FaultKind;
use crate::http::{json as json_answer, status};

pub(super) const NOT_AUTHORIZED: &str = "API key authentication/authorization failure. You may be unauthorized to access the API or \
     your API key may be expired. Visit API keys management section to check your keys.";
/// What a real identifier looks like; nothing is kept under it.
const IDENTIFIER: &str = "06df1144-c6f3-4ca7-8885-7ec5d4344113";

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub(super) struct Wrong {
    pub(super) status: StatusCode,
    code: &'static str,
    text: String,
    related: Vec<String>,
}

impl Wrong {
    pub(super) fn new(code: &'static str, text: impl Into<String>, related: &[&str]) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            text: text.into(),
            related: related.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    pub(super) fn mismatch(expected: &str, name: &str) -> Self {
        let text = format!("Type mismatch. Expected type \"{expected}\".");
        Self::new("mj-0004", text, &[name])
    }

    pub(super) fn missing(name: &str) -> Self {
        let text = format!("The {name} is mandatory but missing from the input");
        Self::new("mj-0003", text, &[name])
    }

    pub(super) fn address(name: &str) -> Self {
        let text = "The email address format is invalid.";
        Self::new("mj-0013", text, &[name])
    }

    pub(super) fn sender(from: &str) -> Self {
        let text =
            format!("\"{from}\" is not an authorized sender email address for your account.");
        Self {
            status: StatusCode::FORBIDDEN,
            ..Self::new("send-0008", text, &["From"])
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "ErrorIdentifier": IDENTIFIER,
            "ErrorCode": self.code,
            "StatusCode": self.status.as_u16(),
            "ErrorMessage": self.text,
            "ErrorRelatedTo": self.related,
        })
    }
}

/// What is said of a message that is wrong.
pub(super) fn of_message(wrongs: &[Wrong]) -> Value {
    let errors: Vec<Value> = wrongs.iter().map(Wrong::to_json).collect();
    json!({ "Status": "error", "Errors": errors })
}

/// What is wrong with the call as a whole.
#[derive(Debug)]
pub(super) struct Problem(Wrong);

impl Problem {
    pub(super) fn malformed() -> Self {
        let text = "Malformed JSON, please review the syntax and properties types.";
        Self(Wrong::new("mj-0002", text, &[]))
    }

    pub(super) fn too_large() -> Self {
        let text = "The payload size is over the limit.";
        Self(Wrong::new("mj-0011", text, &[]))
    }

    pub(super) fn not_authorized() -> Self {
        let status = StatusCode::UNAUTHORIZED;
        Self(Wrong {
            status,
            ..Wrong::new("mj-0015", NOT_AUTHORIZED, &[])
        })
    }

    fn suspended() -> Self {
        let status = StatusCode::UNAUTHORIZED;
        let text = "The API key is suspended.";
        Self(Wrong {
            status,
            ..Wrong::new("mj-0001", text, &[])
        })
    }
}

impl From<Wrong> for Problem {
    fn from(wrong: Wrong) -> Self {
        Self(wrong)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json_answer(self.0.status, &self.0.to_json())
    }
}

/// What the service says for each fault to a call of so many messages.
pub(super) fn words(kind: FaultKind, messages: usize) -> Response {
    let of_all = |wrong: Wrong| {
        let results = vec![of_message(std::slice::from_ref(&wrong)); messages];
        json_answer(wrong.status, &json!({ "Messages": results }))
    };
    match kind {
        FaultKind::Status(401) => Problem::not_authorized().into_response(),
        // The one answer that is not JSON. No other is documented for a quota that is spent.
        FaultKind::Status(429) | FaultKind::Quota => {
            (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests").into_response()
        }
        FaultKind::Status(number) => of_status(number),
        FaultKind::Suspended => Problem::suspended().into_response(),
        FaultKind::Sender => of_all(Wrong::sender("s@sandbox.invalid")),
        FaultKind::Recipient | FaultKind::Partial => of_all(Wrong::address("To[0].Email")),
        // It judges no content at once; this is a rule about what a message may say.
        FaultKind::Content | FaultKind::Reputation => {
            let text = "The Subject is longer than the maximum allowed number of characters.";
            of_all(Wrong::new("mj-0006", text, &["Subject"]))
        }
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
        | FaultKind::Slow => of_status(500),
    }
}

fn of_status(number: u16) -> Response {
    let status = status(number);
    let body = json!({
        "ErrorIdentifier": IDENTIFIER,
        "ErrorMessage": status.to_string(),
        "StatusCode": number,
    });
    json_answer(status, &body)
}
