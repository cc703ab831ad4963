//! The page behind an unsubscribe link: one form, no script, nothing from elsewhere, in English and
//! Portuguese.

use axum::http::{HeaderMap, header};
use malote_core::subscription::Subscription;

/// Octets of Accept-Language that are read.
const LANGUAGES_BYTES_MAX: usize = 256;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Portuguese,
}

impl Language {
    /// The one that the reader prefers (RFC 9110 12.5.4); English where it names neither.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(header::ACCEPT_LANGUAGE);
        let text = value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let text = &text[..text.floor_char_boundary(LANGUAGES_BYTES_MAX)];
        let ranges = text.split(',').filter_map(|range| {
            let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
            let weight: f32 = weight.trim().strip_prefix("q=")?.parse().ok()?;
            let primary = tag.trim().split('-').next()?;
            let language = match primary.to_ascii_lowercase().as_str() {
                "pt" => Self::Portuguese,
                "en" => Self::English,
                _ => return None,
            };
            (weight > 0.0).then_some((language, weight))
        });
        // Of two that are liked alike the first wins.
        let liked = ranges.reduce(|one, other| if other.1 > one.1 { other } else { one });
        liked.map_or(Self::English, |(language, _)| language)
    }

    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Portuguese => "pt-BR",
        }
    }
}

/// What the page shows.
pub(super) enum Shown<'a> {
    /// Where the reader stands, with a button for the other way.
    Standing(&'a Subscription),
    /// The link is none of ours, or too old.
    Unknown,
    /// The gateway cannot do it now.
    Later,
}

struct Words {
    title: &'static str,
    ask: &'static str,
    leave: &'static str,
    stopped: &'static str,
    resume: &'static str,
    unknown: &'static str,
    later: &'static str,
}

const ENGLISH: Words = Words {
    title: "Unsubscribe",
    ask: "Stop getting this kind of mail from",
    leave: "Unsubscribe",
    stopped: "You will get no more of this kind of mail from",
    resume: "Subscribe again",
    unknown: "This link is not known here. It may be incomplete, or too old.",
    later: "This cannot be done right now. Please try again in a moment.",
};

const PORTUGUESE: Words = Words {
    title: "Cancelar inscrição",
    ask: "Deixar de receber este tipo de mensagem de",
    leave: "Cancelar inscrição",
    stopped: "Você não receberá mais este tipo de mensagem de",
    resume: "Inscrever-se novamente",
    unknown: "Este link não é conhecido aqui. Ele pode estar incompleto ou ser antigo demais.",
    later: "Não é possível fazer isto agora. Tente de novo em instantes.",
};

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;\
padding:0 1rem;color:#222;background:#fff}button{font:inherit;padding:.6rem 1.2rem;border:0;\
border-radius:.4rem;background:#1a56db;color:#fff;cursor:pointer}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#1b1b1b}}";

/// Writes the page.
pub(super) fn write(shown: &Shown<'_>, language: Language) -> String {
    let words = match language {
        Language::English => &ENGLISH,
        Language::Portuguese => &PORTUGUESE,
    };
    let content = match shown {
        Shown::Standing(subscription) => standing(subscription, words),
        Shown::Unknown => format!("<p>{}</p>", words.unknown),
        Shown::Later => format!("<p>{}</p>", words.later),
    };
    format!(
        "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <style>{STYLE}</style></head><body><main>{content}</main></body></html>\n",
        language.tag(),
        words.title,
    )
}

fn standing(subscription: &Subscription, words: &Words) -> String {
    let sender = escaped(&subscription.sender_domain);
    let button = |name: &str, value: &str, text: &str| {
        format!(
            "<form method=\"post\"><button name=\"{name}\" value=\"{value}\">{text}</button></form>"
        )
    };
    if !subscription.is_stopped {
        let form = button("List-Unsubscribe", "One-Click", words.leave);
        return format!("<p>{} <b>{sender}</b>?</p>{form}", words.ask);
    }
    let form = match subscription.can_resume {
        true => button("Subscribe", "Again", words.resume),
        false => String::new(),
    };
    format!("<p>{} <b>{sender}</b>.</p>{form}", words.stopped)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_liked_best_and_english_for_others() {
        for (value, language) in [
            ("", Language::English),
            ("pt-BR,pt;q=0.9,en;q=0.8", Language::Portuguese),
            ("en-GB, pt", Language::English),
            ("fr, pt-PT;q=0.3, en;q=0.2", Language::Portuguese),
            ("pt;q=0, en;q=0.1", Language::English),
            ("de", Language::English),
            ("PT", Language::Portuguese),
            ("pt;q=high", Language::English),
            (";;,,q=", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, value.parse().unwrap());
            assert_eq!(Language::of(&headers), language, "{value:?}");
        }
    }

    #[test]
    fn a_sender_cannot_write_into_the_page() {
        let subscription = Subscription {
            sender_domain: "<script>\"&".to_owned(),
            is_stopped: true,
            can_resume: true,
        };
        let page = write(&Shown::Standing(&subscription), Language::Portuguese);
        assert!(page.contains("&lt;script&gt;&quot;&amp;"), "{page}");
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("lang=\"pt-BR\"") && page.contains("novamente"));
    }
}
