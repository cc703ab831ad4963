//! A test message by the HTTP API.

use malote_core::id::MessageId;
use malote_core::provider::bounded;
use malote_core::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ANSWER_MAX, SendArgs};
use crate::cli::client::refusal;
use crate::cli::exit::{Failure, Outcome};

/// Longest text of a refusal.
const TEXT_BYTES_MAX: usize = 500;

/// A gateway's HTTP door.
pub(super) struct Door {
    http: reqwest::Client,
    url: String,
    key: Secret,
}

#[derive(Deserialize)]
struct Accepted {
    id: MessageId,
}

impl Door {
    /// For the door at `url` (scheme, host and port).
    pub(super) fn new(url: &str, key: Secret) -> Outcome<Self> {
        let parsed = reqwest::Url::parse(url);
        if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            let text = format!("{url:?} is not an address such as http://127.0.0.1:8080");
            return Err(Failure::Usage(text));
        }
        let http = reqwest::Client::builder()
            .timeout(ANSWER_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, key })
    }

    /// Posts the message.
    pub(super) async fn send(&self, args: &SendArgs) -> Outcome<MessageId> {
        let mut body = json!({
            "from": args.from,
            "to": args.to,
            "subject": args.subject,
            "text": args.text,
        });
        if let Some(stream) = &args.stream {
            body["stream"] = json!(stream);
        }
        let request = self
            .http
            .post(format!("{}/v1/messages", self.url))
            .json(&body);
        let accepted: Accepted = self.answer(request).await?;
        Ok(accepted.id)
    }

    /// The message's timeline.
    pub(super) async fn timeline(&self, id: MessageId) -> Outcome<Value> {
        self.answer(self.http.get(format!("{}/v1/messages/{id}", self.url)))
            .await
    }

    async fn answer<T: serde::de::DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Outcome<T> {
        let answer = request.bearer_auth(self.key.expose()).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.json().await?);
        }
        let body = answer.bytes().await.unwrap_or_default();
        let text = bounded(&refusal(status, &body), TEXT_BYTES_MAX);
        Err(Failure::failed(format!("refused: {text}")))
    }
}
