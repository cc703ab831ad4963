//! Mautic's way of sending: Symfony Mailer where it is installed, else the same mail from here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde_json::{Value, json};
use tokio::time::timeout;

/// What Debian's packages php-symfony-mailer and php-symfony-mime install.
const SYMFONY: [&str; 2] = [
    "/usr/share/php/Symfony/Component/Mailer/autoload.php",
    "/usr/share/php/Symfony/Component/Mime/autoload.php",
];
const SCRIPT: &str = include_str!("symfony.php");
/// How long one batch of mails may take.
const BATCH_MAX: Duration = Duration::from_secs(20);
/// Mautic's login at the gateway.
const LOGIN: (&str, &str) = ("mautic", "mautic-password");
/// The campaign's e-mail in Mautic.
pub(super) const EMAIL_ID: u64 = 42;

/// Hands Mautic's mail to the gateway.
pub(super) struct Mailer {
    way: Way,
    door: SocketAddr,
    folder: PathBuf,
}

enum Way {
    Symfony,
    Lettre,
}

/// One mail of Mautic's.
pub(super) struct Mail {
    to: String,
    subject: String,
    return_path: String,
    headers: Vec<(&'static str, String)>,
}

impl Mail {
    /// A segment broadcast's mail to one contact; `number` makes its tracking hash.
    pub(super) fn campaign(to: &str, subject: &str, number: usize) -> Self {
        let hash = format!("6650f1a2b3c4d{number:09}");
        let unsubscribe = format!("<https://mautic.example/email/unsubscribe/{hash}>");
        Self {
            to: to.to_owned(),
            subject: subject.to_owned(),
            return_path: format!("bounce+bounce_{hash}@news.example"),
            headers: vec![
                ("X-EMAIL-ID", EMAIL_ID.to_string()),
                ("Precedence", "Bulk".to_owned()),
                ("List-Unsubscribe", unsubscribe),
                (
                    "List-Unsubscribe-Post",
                    "List-Unsubscribe=One-Click".to_owned(),
                ),
            ],
        }
    }

    /// A mail of Mautic's own, without a campaign's marks: its password reset.
    pub(super) fn system(to: &str, subject: &str) -> Self {
        Self {
            to: to.to_owned(),
            subject: subject.to_owned(),
            return_path: "bounce+bounce@news.example".to_owned(),
            headers: Vec::new(),
        }
    }

    fn to_json(&self) -> Value {
        let headers = self.headers.iter();
        let headers: serde_json::Map<String, Value> = headers
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect();
        json!({
            "to": self.to,
            "subject": self.subject,
            "return_path": self.return_path,
            "headers": headers,
            "text": "Hello.\n",
        })
    }

    fn to_message(&self) -> anyhow::Result<(Envelope, Vec<u8>)> {
        let mut message = Message::builder()
            .from("News <news@news.example>".parse()?)
            .reply_to("news@news.example".parse()?)
            .to(self.to.parse()?)
            .subject(&self.subject)
            .body("Hello.\r\n".to_owned())?;
        let fields = [("Return-Path", format!("<{}>", self.return_path))];
        for (name, value) in self.headers.iter().chain(&fields) {
            let name = HeaderName::new_from_ascii_str(name);
            let field = HeaderValue::new(name, value.clone());
            message.headers_mut().insert_raw(field);
        }
        let envelope = Envelope::new(Some(self.return_path.parse()?), vec![self.to.parse()?])?;
        Ok((envelope, message.formatted()))
    }
}

impl Mailer {
    /// One that hands mail in at `door`; its files are in `folder`.
    pub(super) fn new(door: SocketAddr, folder: &Path) -> anyhow::Result<Self> {
        let mut php = Command::new("php");
        php.arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let has_symfony = SYMFONY.iter().all(|file| Path::new(file).is_file())
            && php.status().is_ok_and(|status| status.success());
        let way = if has_symfony {
            std::fs::write(folder.join("symfony.php"), SCRIPT)?;
            Way::Symfony
        } else {
            Way::Lettre
        };
        Ok(Self {
            way,
            door,
            folder: folder.to_owned(),
        })
    }

    /// Who sends, in words.
    pub(super) const fn describe(&self) -> &'static str {
        match self.way {
            Way::Symfony => "Mautic's mail is sent by Symfony Mailer, as Mautic sends it",
            Way::Lettre => {
                "Mautic's mail is sent by this program with Mautic's fields: PHP with Symfony \
                 Mailer is not installed here"
            }
        }
    }

    /// Hands these mails in.
    pub(super) async fn send(&self, mails: &[Mail]) -> anyhow::Result<()> {
        let sent = async {
            match self.way {
                Way::Symfony => self.by_symfony(mails).await,
                Way::Lettre => self.by_lettre(mails).await,
            }
        };
        let sent = timeout(BATCH_MAX, sent).await;
        sent.context("Mautic's mail was not taken in time")?
    }

    async fn by_symfony(&self, mails: &[Mail]) -> anyhow::Result<()> {
        let file = self.folder.join("mails.json");
        let listed: Vec<Value> = mails.iter().map(Mail::to_json).collect();
        tokio::fs::write(&file, Value::from(listed).to_string()).await?;
        let (user, password) = LOGIN;
        let mut php = Command::new("php");
        php.arg(self.folder.join("symfony.php"))
            .arg(format!("smtp://{user}:{password}@{}", self.door))
            .arg(file)
            .stdin(Stdio::null());
        let said = tokio::task::spawn_blocking(move || php.output()).await??;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "Symfony Mailer: {text}{complaint}");
        let lines: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        ensure!(
            lines.len() == mails.len(),
            "Symfony Mailer: {text}{complaint}"
        );
        match lines.iter().find(|line| !line["error"].is_null()) {
            Some(line) => bail!("Symfony Mailer: {}", line["error"]),
            None => Ok(()),
        }
    }

    async fn by_lettre(&self, mails: &[Mail]) -> anyhow::Result<()> {
        let (user, password) = LOGIN;
        let host = self.door.ip().to_string();
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(self.door.port())
            .credentials(Credentials::new(user.to_owned(), password.to_owned()))
            .build();
        for mail in mails {
            let (envelope, raw) = mail.to_message()?;
            smtp.send_raw(&envelope, &raw).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_symfony_the_same_fields_are_sent() {
        let mail = Mail::campaign("ana@ses.example", "News", 7);
        let (envelope, raw) = mail.to_message().unwrap();
        let hash = "6650f1a2b3c4d000000007";
        let from = envelope.from().map(ToString::to_string);
        assert_eq!(from, Some(format!("bounce+bounce_{hash}@news.example")));
        let text = String::from_utf8(raw).unwrap();
        for field in [
            "From: News <news@news.example>",
            "Reply-To: news@news.example",
            "Subject: News",
            "X-EMAIL-ID: 42",
            "Precedence: Bulk",
            &format!("Return-Path: <bounce+bounce_{hash}@news.example>"),
            &format!("<https://mautic.example/email/unsubscribe/{hash}>"),
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        ] {
            assert!(text.contains(field), "{field}:\n{text}");
        }
        let system = Mail::system("ana@ses.example", "Reset").to_json();
        assert_eq!(system["headers"], json!({}));
    }
}
