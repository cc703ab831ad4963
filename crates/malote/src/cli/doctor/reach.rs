//! Whether the URL that a service was told leads to this gateway. It is asked by a post that proves
//! nothing, as a forger's: the gateway refuses it, counts it, and changes nothing.

use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::links::{cause, client};
use super::report::{Level, Line};

const CHECK: &str = "reachable";
/// What `type` of the gateway's problems begins with.
const OURS: &str = "urn:malote:problem:";
/// Octets of an answer that are read: a problem has a few hundred.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A gateway that refuses a post without proof.
    Ours,
    /// A gateway that has no webhook of this name.
    Unknown,
    /// It leads elsewhere, and services follow nothing.
    Redirect(String),
    /// Somebody else, with this status.
    Other(u16),
    /// Nobody; in words.
    Nothing(String),
}

/// Posts nothing to a webhook's URL.
pub(super) async fn ask(url: &str) -> Answer {
    let asked = match client() {
        Ok(client) => client.post(url).body("{}").send().await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(response) => meaning(response).await,
        Err(error) => Answer::Nothing(cause(&error)),
    }
}

async fn meaning(mut response: Response) -> Answer {
    let status = response.status();
    if status.is_redirection() {
        let to = response.headers().get(LOCATION);
        let to = to.and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        return Answer::Redirect(to.to_owned());
    }
    let mut body = Vec::new();
    while let Ok(Some(part)) = response.chunk().await {
        body.extend_from_slice(&part);
        if body.len() > ANSWER_BYTES_MAX {
            return Answer::Other(status.as_u16());
        }
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let is_ours = problem["type"]
        .as_str()
        .is_some_and(|own| own.starts_with(OURS));
    match (is_ours, status) {
        (true, StatusCode::NOT_FOUND) => Answer::Unknown,
        (true, _) => Answer::Ours,
        (false, _) => Answer::Other(status.as_u16()),
    }
}

/// What it means for events.
pub(super) fn line(answer: &Answer) -> Line {
    let fault = |text: String| Line::new(Level::Fault, CHECK, text);
    match answer {
        Answer::Ours => Line::new(
            Level::Ok,
            CHECK,
            "a gateway answers there, and refuses a post without proof",
        ),
        Answer::Unknown => fault("the gateway that answers there has no such webhook".to_owned())
            .way_out("it runs with another configuration, or http.public_url is another one's"),
        Answer::Redirect(to) => fault(format!("it leads to {to}, and services follow nothing"))
            .way_out("give the last address as http.public_url, and the service the new URL"),
        Answer::Other(status) => fault(format!("somebody else answers, with {status}"))
            .way_out("pass /v1/webhooks/ on to [http], without a login or a puzzle before it"),
        // The gateway may be unable to reach itself from inside.
        Answer::Nothing(why) => Line::new(Level::Warning, CHECK, format!("none from here: {why}"))
            .way_out("try it from outside; services want a certificate that everybody trusts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_in_our_place_is_a_fault_and_silence_is_not() {
        for (answer, level) in [
            (Answer::Ours, Level::Ok),
            (Answer::Unknown, Level::Fault),
            (
                Answer::Redirect("https://login.test/".to_owned()),
                Level::Fault,
            ),
            (Answer::Other(200), Level::Fault),
            (Answer::Nothing("refused".to_owned()), Level::Warning),
        ] {
            assert_eq!(line(&answer).level, level, "{answer:?}");
        }
    }
}
