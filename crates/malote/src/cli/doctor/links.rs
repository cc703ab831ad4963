//! Links of List-Unsubscribe: their host is known to everybody, and behind it is our page.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};

use super::super::client::innermost;
use super::facts::{Facts, Found};
use super::progress::Progress;
use super::report::{Level, Line, Section};
use crate::config::is_internal;

/// How long the page may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What stands for a ticket. It is none, so that nobody is unsubscribed.
const NO_TICKET: &str = "doctor";
/// What our page has and pages for people do not.
const OURS: (&str, &str) = ("x-robots-tag", "noindex, nofollow");

const PAGE: &str = "page";
const CLICK: &str = "one click";

/// What answered.
pub(super) struct Page {
    /// To a reader who follows the link.
    read: Answer,
    /// To a mailbox provider that posts (RFC 8058 3.2).
    clicked: Answer,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// Our own page, which knows no such ticket.
    Ours,
    /// Our own page, which can look nothing up now.
    OursLater,
    /// It leads elsewhere.
    Redirect(String),
    /// Somebody else's, with this status.
    Other(u16),
    /// None that can be read; in words.
    Nothing(String),
}

/// Asks for a page whose ticket is none.
pub(super) async fn ask(base: &str, progress: &Progress) -> Page {
    progress.show("asking the unsubscribe page");
    Page {
        read: one(base, Method::GET).await,
        clicked: one(base, Method::POST).await,
    }
}

/// Asks as a service or a reader would, and follows nothing.
pub(super) fn client() -> reqwest::Result<Client> {
    let client = Client::builder().user_agent(concat!("malote/", env!("CARGO_PKG_VERSION")));
    let client = client.redirect(Policy::none()).no_proxy();
    client.timeout(ANSWER_MAX).build()
}

async fn one(base: &str, method: Method) -> Answer {
    let asked = match client() {
        Ok(client) => {
            let mut request = client.request(method.clone(), format!("{base}/u/{NO_TICKET}"));
            if method == Method::POST {
                request = request
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body("List-Unsubscribe=One-Click");
            }
            request.send().await
        }
        Err(error) => Err(error),
    };
    match asked {
        Ok(response) => meaning(&response),
        Err(error) => Answer::Nothing(cause(&error)),
    }
}

fn meaning(response: &Response) -> Answer {
    let field = |name: &str| response.headers().get(name)?.to_str().ok();
    let is_ours = field(OURS.0) == Some(OURS.1);
    match response.status() {
        StatusCode::NOT_FOUND if is_ours => Answer::Ours,
        StatusCode::SERVICE_UNAVAILABLE if is_ours => Answer::OursLater,
        status if status.is_redirection() => {
            let to = field(LOCATION.as_str()).unwrap_or("nowhere");
            Answer::Redirect(to.to_owned())
        }
        status => Answer::Other(status.as_u16()),
    }
}

/// The cause at the bottom: the outer errors only repeat the URL.
pub(super) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", ANSWER_MAX.as_secs());
    }
    innermost(error)
}

/// Looks at the host and at what answered.
pub(super) fn judge(facts: &Facts, base: &str, page: &Page) -> Section {
    let mut lines = host(facts, base);
    lines.push(line(PAGE, &page.read));
    lines.push(line(CLICK, &page.clicked));
    Section {
        name: base.to_owned(),
        about: "[unsubscribe]: where List-Unsubscribe leads".to_owned(),
        lines,
        pages: Vec::new(),
    }
}

fn host(facts: &Facts, base: &str) -> Vec<Line> {
    const CHECK: &str = "host";
    let url = base.parse::<Url>().ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    if host
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok()
    {
        let text = "is an address: mailbox providers mistrust links without a name";
        let way_out = "give a name of your own, with a certificate for it";
        return vec![Line::new(Level::Warning, CHECK, text).way_out(way_out)];
    }
    let line = match facts.addresses(host) {
        Found::Here(addresses) if addresses.iter().all(|ip| is_internal(*ip)) => {
            let text = format!("{host} has private addresses only: no recipient can follow a link");
            let way_out = "publish an address that the Internet reaches, with [http] behind it";
            Line::new(Level::Fault, CHECK, text).way_out(way_out)
        }
        Found::Here(_) => Line::new(Level::Ok, CHECK, format!("{host} has public addresses")),
        Found::Nothing => {
            let text = format!("{host} has no address: no link works");
            let way_out = "publish one, with [http] behind it";
            Line::new(Level::Fault, CHECK, text).way_out(way_out)
        }
        Found::Unknown(why) => Line::new(Level::Unknown, CHECK, why),
    };
    vec![line]
}

fn line(check: &str, answer: &Answer) -> Line {
    let fault = |text: String| Line::new(Level::Fault, check, text);
    match answer {
        Answer::Ours => {
            let text = match check {
                CLICK => "a post without a ticket is answered as it should be",
                _ => "the page answers, by https",
            };
            Line::new(Level::Ok, check, text)
        }
        Answer::OursLater => Line::new(
            Level::Warning,
            check,
            "the page answers 503: the gateway cannot read its store now",
        ),
        Answer::Redirect(to) => fault(format!(
            "it leads to {to}: a one-click post follows nothing"
        ))
        .way_out("give the last address as unsubscribe.base_url, or take the redirect away"),
        Answer::Other(status) => fault(format!("somebody else answers, with {status}"))
            .way_out("pass /u/ on to [http], GET and POST, without a login or a puzzle before it"),
        // The gateway may be unable to reach itself from inside.
        Answer::Nothing(why) => Line::new(Level::Warning, check, format!("none from here: {why}"))
            .way_out(
                "try a link from outside; a certificate that is not trusted here is trusted by no \
                 mailbox provider",
            ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::facts;
    use super::*;

    #[test]
    fn a_link_that_nobody_can_follow_is_a_fault() {
        for (zone, level, word) in [
            (&["A m.test 9.9.9.9"][..], Level::Ok, "public"),
            (&["A m.test 10.0.0.1"], Level::Fault, "private"),
            (&[], Level::Fault, "no address"),
            (&["A m.test ?"], Level::Unknown, "SERVFAIL"),
        ] {
            let lines = facts(zone, |facts| host(facts, "https://m.test/mail"));
            assert_eq!((lines.len(), lines[0].level), (1, level), "{zone:?}");
            assert!(lines[0].text.contains(word), "{lines:?}");
        }
        let facts = Facts::default();
        assert_eq!(
            host(&facts, "https://[2600::1]:8443")[0].level,
            Level::Warning
        );
        assert!(facts.take_missing().is_empty());
    }

    #[test]
    fn what_answers_in_our_place_is_a_fault_and_silence_is_not() {
        let redirect = Answer::Redirect("https://login.test/".to_owned());
        for (answer, level) in [
            (Answer::Ours, Level::Ok),
            (Answer::OursLater, Level::Warning),
            (redirect, Level::Fault),
            (Answer::Other(200), Level::Fault),
            (Answer::Other(403), Level::Fault),
            (Answer::Nothing("refused".to_owned()), Level::Warning),
        ] {
            assert_eq!(line(CLICK, &answer).level, level, "{answer:?}");
        }
    }
}
