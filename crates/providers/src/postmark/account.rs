//! What the service tells of a server: whether its token is good, whether it delivers, which
//! message streams it has. Sender signatures can be asked for with the account's token only,
//! which we do not have.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::name::PoolName;
use malote_core::provider::{About, Account, Finding, SendError};
use serde::Deserialize;

use super::classify::unwell;
use crate::http::Answer;

const SANDBOX: &str = "a sandbox server: Postmark delivers nothing";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    delivery_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Streams {
    message_streams: Vec<Stream>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stream {
    #[serde(rename = "ID")]
    id: String,
    message_stream_type: Option<String>,
    archived_at: Option<String>,
}

impl Stream {
    fn can_send(&self) -> bool {
        let is_inbound = self.message_stream_type.as_deref() == Some("Inbound");
        !is_inbound && self.archived_at.is_none()
    }
}

/// Reads the answer of `GET /server`.
///
/// # Errors
/// If the token is not good or the service is out of reach.
pub(crate) fn server(answer: &Answer, now: Timestamp) -> Result<Account, SendError> {
    let note = match answer.status {
        200 if is_sandbox(answer) => SANDBOX,
        200 if answer.json::<Server>().is_some() => "",
        404 | 405 => "the endpoint does not know GET /server: the token was not checked",
        _ => return Err(unwell(answer, now)),
    };
    Ok(Account {
        note: note.to_owned(),
        ..Account::default()
    })
}

fn is_sandbox(answer: &Answer) -> bool {
    let server: Option<Server> = answer.json();
    let delivery_type = server.and_then(|server| server.delivery_type);
    delivery_type.is_some_and(|kind| kind.eq_ignore_ascii_case("sandbox"))
}

/// What the answer of `GET /server` says that mail would fail on.
pub(crate) fn sandbox(answer: &Answer) -> Vec<Finding> {
    let finding = Finding {
        about: About::Account,
        text: format!("{SANDBOX}; use the token of a live server"),
    };
    is_sandbox(answer).then_some(finding).into_iter().collect()
}

/// The pools whose message stream is not in the answer of `GET /message-streams`, or does not
/// send.
///
/// # Errors
/// If the service does not answer with its streams.
pub(crate) fn missing_streams(
    answer: &Answer,
    pools: &BTreeMap<PoolName, String>,
    now: Timestamp,
) -> Result<Vec<Finding>, SendError> {
    let streams: Option<Streams> = answer.json();
    let Some(streams) = streams.filter(|_| answer.status == 200) else {
        return Err(unwell(answer, now));
    };
    let sends = |id: &String| {
        streams
            .message_streams
            .iter()
            .any(|s| s.id == *id && s.can_send())
    };
    let missing = pools.iter().filter(|(_, id)| !sends(id));
    let finding = |(pool, id): (&PoolName, &String)| Finding {
        about: About::Pool(pool.clone()),
        text: format!(
            "the server has no message stream {id} that sends: create it, or correct message_stream"
        ),
    };
    Ok(missing.map(finding).collect())
}
