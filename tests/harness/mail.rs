//! Messages to send: plain ones, and the header sets of Mautic's ways to send.

use serde_json::{Value, json};

/// One of Mautic's ways to send, and what it must lead to.
#[derive(Debug, Clone, Copy)]
pub struct HeaderSet {
    /// What the user of Mautic did.
    pub sent_by: &'static str,
    /// A word for it, used in addresses.
    pub key: &'static str,
    /// Whether `X-EMAIL-ID` is set.
    pub email_id: bool,
    /// Whether `Precedence: Bulk` is set.
    pub precedence_bulk: bool,
    /// Whether `List-Unsubscribe` and `List-Unsubscribe-Post` are set.
    pub list_unsubscribe: bool,
    /// Whether MAIL FROM carries the tracking hash.
    pub hash: bool,
    /// The stream it belongs to.
    pub stream: &'static str,
    /// Where it must leave, as provider/pool; one of these.
    pub targets: &'static [&'static str],
}

const CAMPAIGN: &[&str] = &["mailgun/news", "relay/bulk"];
const TRANSACTIONAL: &[&str] = &["ses/tx"];

/// A row with the marks of a campaign.
const fn campaign(sent_by: &'static str, key: &'static str) -> HeaderSet {
    HeaderSet {
        sent_by,
        key,
        email_id: true,
        precedence_bulk: false,
        list_unsubscribe: true,
        hash: true,
        stream: "campaign",
        targets: CAMPAIGN,
    }
}

/// A row without any mark.
const fn unmarked(sent_by: &'static str, key: &'static str) -> HeaderSet {
    HeaderSet {
        sent_by,
        key,
        email_id: false,
        precedence_bulk: false,
        list_unsubscribe: false,
        hash: false,
        stream: "transactional",
        targets: TRANSACTIONAL,
    }
}

/// Mautic 5's header sets, by the way the mail was sent (read in its source, 5.1).
pub const MAUTIC_ROWS: &[HeaderSet] = &[
    HeaderSet {
        precedence_bulk: true,
        ..campaign("segment broadcast", "broadcast")
    },
    campaign("campaign action, marketing", "action-marketing"),
    HeaderSet {
        list_unsubscribe: false,
        stream: "transactional",
        targets: TRANSACTIONAL,
        ..campaign("campaign action, transactional", "action-transactional")
    },
    HeaderSet {
        hash: true,
        ..unmarked("API, send to contact", "api")
    },
    HeaderSet {
        email_id: false,
        ..campaign("form action or point trigger", "form")
    },
    HeaderSet {
        email_id: false,
        ..campaign("deferred by frequency rule", "deferred")
    },
    HeaderSet {
        email_id: false,
        ..campaign("send to user or owner", "owner")
    },
    HeaderSet {
        email_id: false,
        ..campaign("contact page", "contact")
    },
    unmarked("password reset", "reset"),
    unmarked("test mail, report, invitation", "system"),
];

/// A small plain message with CRLF line ends.
#[must_use]
pub fn text_message(from: &str, to: &str, subject: &str) -> String {
    format!(
        "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@client.example>\r\n\
         Date: Fri, 02 Jan 2026 03:04:05 +0000\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nHello.\r\n"
    )
}

impl HeaderSet {
    /// The mail of this row, as `tests/clients/symfony.php` reads it.
    #[must_use]
    pub fn mail(&self, number: usize) -> Value {
        let hash = format!("6650f1a2b3c4d{number:09}");
        let mut headers = serde_json::Map::new();
        if self.email_id {
            headers.insert("X-EMAIL-ID".to_owned(), "42".into());
        }
        if self.precedence_bulk {
            headers.insert("Precedence".to_owned(), "Bulk".into());
        }
        if self.list_unsubscribe {
            let url = format!("<https://mautic.example/email/unsubscribe/{hash}>");
            headers.insert("List-Unsubscribe".to_owned(), url.into());
            let one_click = "List-Unsubscribe=One-Click";
            headers.insert("List-Unsubscribe-Post".to_owned(), one_click.into());
        }
        let tag = match self.hash {
            true => format!("bounce+bounce_{hash}@shop.example"),
            false => "bounce+bounce@shop.example".to_owned(),
        };
        json!({
            "from": "Loja Ção <news@shop.example>",
            "return_path": tag,
            "to": self.recipient(),
            "subject": format!("Olá 🎉 {}", self.key),
            "headers": headers,
            "text": "Olá, tudo bem?\n.\n..ponto\n",
            "html": "<p>Olá, <b>tudo bem</b>?</p>",
        })
    }

    /// Whom the mail of this row goes to.
    #[must_use]
    pub fn recipient(&self) -> String {
        format!("{}@contact.example", self.key)
    }
}
