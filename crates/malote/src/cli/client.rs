//! Asks a running gateway through its operators' door.

use std::error::Error;
use std::time::Duration;

use malote_core::provider::bounded;
use malote_core::secret::Secret;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::{Failure, Outcome};
use crate::admin::problem::ProblemBody;

/// How long connecting may take: the gateway is near.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a backup, an export or an import may take.
pub(super) const LONG_ANSWER_MAX: Duration = Duration::from_secs(3600);
/// Longest text of an answer that is no problem document.
const TEXT_BYTES_MAX: usize = 300;

/// A gateway's operators' door.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    token: Token,
}

/// What is presented at a gateway's operators' door, and where it is from.
#[derive(Debug)]
pub(super) enum Token {
    /// From `MALOTE_ADMIN_TOKEN`.
    Variable {
        /// The token.
        token: Secret,
        /// Whether the configuration has one, which this one goes before.
        hides_own: bool,
    },
    /// From the gateway's configuration.
    Configured(Secret),
    /// None: why the configuration's cannot be read, if it has one.
    Missing(Option<String>),
}

impl Token {
    const fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Variable { token, .. } | Self::Configured(token) => Some(token),
            Self::Missing(_) => None,
        }
    }

    /// What to say if a gateway does not take it.
    fn refused(&self) -> String {
        match self {
            Self::Variable {
                hides_own: true, ..
            } => "the gateway refuses the token in MALOTE_ADMIN_TOKEN, which goes before that of \
                  the configuration: unset it, or correct it"
                .to_owned(),
            Self::Variable {
                hides_own: false, ..
            } => "the gateway refuses the token in MALOTE_ADMIN_TOKEN".to_owned(),
            Self::Configured(_) => {
                "the gateway refuses the token of [admin] in the configuration: \
                                    it runs with another one; give that in MALOTE_ADMIN_TOKEN"
                    .to_owned()
            }
            Self::Missing(None) => {
                "the gateway wants its admin token in MALOTE_ADMIN_TOKEN".to_owned()
            }
            Self::Missing(Some(why)) => {
                format!("the gateway wants its admin token in MALOTE_ADMIN_TOKEN ({why})")
            }
        }
    }
}

impl Client {
    /// For the door at `url` (scheme, host and port). Connects to nothing.
    ///
    /// # Errors
    /// Exit code 2 if that is no such URL.
    pub(super) fn new(url: String, token: Token) -> Outcome<Self> {
        let parsed = reqwest::Url::parse(&url);
        if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            let text = format!("{url:?} is not an address such as http://127.0.0.1:8081");
            return Err(Failure::Usage(text));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { http, url, token })
    }

    /// The address asked.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether a gateway answers there.
    pub(super) async fn is_there(&self) -> bool {
        self.absence().await.is_none()
    }

    /// That no gateway answers there, and why; `None` if one does.
    pub(super) async fn absence(&self) -> Option<String> {
        let request = self.http.get(format!("{}/healthz", self.url));
        match request.timeout(CONNECT_MAX).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => None,
            Ok(answer) => Some(self.absent(&answer.status().to_string())),
            Err(error) => Some(self.absent(&innermost(&error))),
        }
    }

    fn absent(&self, why: &str) -> String {
        format!("no gateway answers at {} ({why})", self.url)
    }

    /// Fails with the way out if no gateway answers.
    ///
    /// # Errors
    /// Exit code 1.
    pub(super) async fn expect(&self) -> Outcome {
        match self.absence().await {
            None => Ok(()),
            Some(absence) => Err(Failure::failed(format!(
                "{absence}: this needs a running one (see --admin and --config)"
            ))),
        }
    }

    /// `GET /admin/v1/PATH`.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Outcome<T> {
        let request = self.request(Method::GET, path).query(query);
        self.read(request).await
    }

    /// `POST /admin/v1/PATH` with JSON.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Outcome<T> {
        self.read(self.request(Method::POST, path).json(body)).await
    }

    /// Whether the gateway takes mail.
    ///
    /// # Errors
    /// As [`Client::answer`]: nobody answers, or it takes none and says why.
    pub(super) async fn ready(&self) -> Outcome {
        let answered = self.answer(self.http.get(format!("{}/readyz", self.url)));
        match answered.await {
            // Something answers there that has no such page: another program, or another listener.
            Err(Failure::Nothing(_)) => Err(Failure::failed(format!(
                "what answers at {} is no admin listener: see --admin and --config",
                self.url
            ))),
            answered => answered.map(drop),
        }
    }

    /// What the gateway measures, in Prometheus' text form.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub(super) async fn metrics(&self) -> Outcome<String> {
        let answer = self
            .answer(self.http.get(format!("{}/metrics", self.url)))
            .await?;
        Ok(answer.text().await?)
    }

    /// A request to `/admin/v1/PATH`.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/admin/v1/{path}", self.url);
        let request = self.http.request(method, url);
        match self.token.secret() {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// The answer as `T`.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub(super) async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Outcome<T> {
        Ok(self.answer(request).await?.json().await?)
    }

    /// The answer, if it is a good one.
    ///
    /// # Errors
    /// Exit code 3 for 404, 2 for a request that the gateway does not understand, else 1.
    pub(super) async fn answer(&self, request: RequestBuilder) -> Outcome<reqwest::Response> {
        let answer = request
            .send()
            .await
            .map_err(|error| match error.is_connect() {
                true => {
                    let absence = self.absent(&innermost(&error));
                    Failure::failed(format!("{absence}: see --admin and --config"))
                }
                false => error.into(),
            })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().await.unwrap_or_default();
        let text = bounded(&refusal(status, &body), TEXT_BYTES_MAX);
        Err(match status {
            StatusCode::NOT_FOUND => Failure::Nothing(text),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Failure::Usage(text),
            StatusCode::UNAUTHORIZED => Failure::failed(self.token.refused()),
            _ => Failure::failed(text),
        })
    }
}

/// The cause at the bottom: a refused connection, an unknown host, a certificate. The outer errors
/// only repeat the URL.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What a gateway that refuses says. The place in its JSON is left out: who typed a command has
/// seen none.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<ProblemBody>(body) {
        Ok(problem) => problem.detail,
        Err(_) => format!("{status} {}", String::from_utf8_lossy(body)),
    }
}
