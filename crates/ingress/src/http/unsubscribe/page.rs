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
    /// The reader has just come back, if it may.
    Back(&'a Subscription),
    /// The link is none of ours, or too old.
    Unknown,
    /// The gateway cannot do it now.
    Later,
}

/// A heading, which is the title too, and what stands under it. `{sender}` is the sender's domain.
struct Saying {
    heading: &'static str,
    text: &'static str,
}

struct Words {
    ask: Saying,
    stopped: Saying,
    back: Saying,
    unknown: Saying,
    later: Saying,
    leave: &'static str,
    resume: &'static str,
}

const ENGLISH: Words = Words {
    ask: Saying {
        heading: "Unsubscribe",
        text: "Stop getting this kind of mail from {sender}?",
    },
    stopped: Saying {
        heading: "Unsubscribed",
        text: "You will get no more of this kind of mail from {sender}.",
    },
    back: Saying {
        heading: "Subscribed again",
        text: "You will get this kind of mail from {sender} again.",
    },
    unknown: Saying {
        heading: "This link is not known here",
        text: "It may be incomplete, or too old. Please open it from the message once more.",
    },
    later: Saying {
        heading: "Not right now",
        text: "This cannot be done at the moment. Please try again shortly.",
    },
    leave: "Unsubscribe",
    resume: "Subscribe again",
};

const PORTUGUESE: Words = Words {
    ask: Saying {
        heading: "Cancelar inscrição",
        text: "Deixar de receber este tipo de mensagem de {sender}?",
    },
    stopped: Saying {
        heading: "Inscrição cancelada",
        text: "Você não receberá mais este tipo de mensagem de {sender}.",
    },
    back: Saying {
        heading: "Inscrição refeita",
        text: "Você voltará a receber este tipo de mensagem de {sender}.",
    },
    unknown: Saying {
        heading: "Este link não é conhecido aqui",
        text: "Ele pode estar incompleto ou ser antigo demais. Abra-o de novo a partir da mensagem.",
    },
    later: Saying {
        heading: "Agora não foi possível",
        text: "Não é possível fazer isto neste momento. Tente de novo em instantes.",
    },
    leave: "Cancelar inscrição",
    resume: "Inscrever-se novamente",
};

/// The button for the way that the reader came for is filled, the way back is not.
const STYLE: &str = ":root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;\
max-width:32rem;margin:15vh auto;padding:0 1.25rem;color:#222;background:#fff;\
overflow-wrap:anywhere}h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}p{margin:0 0 1.5rem}\
button{font:inherit;padding:.6rem 1.2rem;border:1px solid #1a56db;border-radius:.4rem;\
background:#1a56db;color:#fff;cursor:pointer}button.quiet{background:none;color:inherit;\
border-color:currentColor}button:focus-visible{outline:3px solid #f59e0b;outline-offset:2px}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#1b1b1b}}";

/// Writes the page.
pub(super) fn write(shown: &Shown<'_>, language: Language) -> String {
    let words = match language {
        Language::English => &ENGLISH,
        Language::Portuguese => &PORTUGUESE,
    };
    let saying = match shown {
        Shown::Standing(own) | Shown::Back(own) if own.is_stopped => &words.stopped,
        Shown::Standing(_) => &words.ask,
        Shown::Back(_) => &words.back,
        Shown::Unknown => &words.unknown,
        Shown::Later => &words.later,
    };
    let (sender, form) = match shown {
        Shown::Standing(own) | Shown::Back(own) => {
            (own.sender_domain.as_str(), button(shown, words))
        }
        Shown::Unknown | Shown::Later => ("", String::new()),
    };
    let sender = format!("<b>{}</b>", escaped(sender));
    format!(
        "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{heading}</title><style>{STYLE}</style></head>\
         <body><main><h1>{heading}</h1><p>{}</p>{form}</main></body></html>\n",
        language.tag(),
        saying.text.replace("{sender}", &sender),
        heading = saying.heading,
    )
}

/// The form for the other way; none for who may not come back.
fn button(shown: &Shown<'_>, words: &Words) -> String {
    let form = |class: &str, (name, value): (&str, &str), text: &str| {
        format!(
            "<form method=\"post\"><button{class} name=\"{name}\" value=\"{value}\">{text}\
             </button></form>"
        )
    };
    const LEAVE: (&str, &str) = ("List-Unsubscribe", "One-Click");
    const QUIET: &str = " class=\"quiet\"";
    match shown {
        Shown::Standing(own) | Shown::Back(own) if own.is_stopped => match own.can_resume {
            true => form(QUIET, ("Subscribe", "Again"), words.resume),
            false => String::new(),
        },
        Shown::Standing(_) => form("", LEAVE, words.leave),
        Shown::Back(_) => form(QUIET, LEAVE, words.leave),
        Shown::Unknown | Shown::Later => String::new(),
    }
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

    #[test]
    fn each_standing_has_its_heading_and_the_way_back_is_the_quiet_one() {
        let subscription = |is_stopped, can_resume| Subscription {
            sender_domain: "shop.example".to_owned(),
            is_stopped,
            can_resume,
        };
        let (on, off, done) = (
            subscription(false, false),
            subscription(true, true),
            subscription(true, false),
        );
        for (shown, heading, button) in [
            (
                Shown::Standing(&on),
                "Unsubscribe",
                "<button name=\"List-Unsubscribe\"",
            ),
            (
                Shown::Standing(&off),
                "Unsubscribed",
                "<button class=\"quiet\" name=\"Subscribe\"",
            ),
            (Shown::Standing(&done), "Unsubscribed", ""),
            (
                Shown::Back(&on),
                "Subscribed again",
                "<button class=\"quiet\" name=\"List-",
            ),
            // Who may not come back is told so.
            (Shown::Back(&done), "Unsubscribed", ""),
            (Shown::Unknown, "This link is not known here", ""),
            (Shown::Later, "Not right now", ""),
        ] {
            let page = write(&shown, Language::English);
            let is_headed = page.contains(&format!("<title>{heading}</title>"))
                && page.contains(&format!("<h1>{heading}</h1>"));
            assert!(is_headed && !page.contains("{sender}"), "{page}");
            assert_eq!(page.contains("<button"), !button.is_empty(), "{heading}");
            assert!(page.contains(button), "{page}");
        }
    }
}
