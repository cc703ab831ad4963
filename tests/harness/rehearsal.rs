//! Any one service beside a relay: what a configuration needs for its simulator.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use malote_sandbox::Kind;

use crate::config::{Backends, Config, Doors, SHOP_KEY};
use crate::service::Service;
use crate::tools::free_port;

/// The tables of a provider of this kind at a simulator with the default account. Where the kind
/// has two transports, this is its API.
#[must_use]
pub fn provider_tables(kind: Kind, name: &str, address: SocketAddr) -> String {
    let keys = match kind {
        Kind::Ses => {
            "region = \"us-east-1\"\naccess_key_id = \"AKIAIOSFODNN7EXAMPLE\"\n\
             secret_access_key = \"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\""
        }
        Kind::Mailgun => "domain = \"news.example.com\"\napi_key = \"key-sandbox\"",
        Kind::Sendgrid | Kind::Elasticemail | Kind::Smtp2go => {
            "api_key = \"key-sandbox\"\ntransport = \"api\""
        }
        Kind::Postmark => "server_token = \"key-sandbox\"\ntransport = \"api\"",
        Kind::Sparkpost | Kind::Brevo | Kind::Resend => "api_key = \"key-sandbox\"",
        Kind::Postal => "server_key = \"key-sandbox\"",
        Kind::Mailjet => "api_key = \"key-sandbox\"\nsecret_key = \"second-half\"",
        Kind::Mailtrap => "api_token = \"key-sandbox\"",
        Kind::Smtp => {
            let (host, port) = (address.ip(), address.port());
            return format!(
                "[providers.{name}.smtp]\nhost = \"{host}\"\nport = {port}\ntls = \"none\"\n"
            );
        }
    };
    let kind = kind.as_str();
    format!("[providers.{name}.{kind}]\n{keys}\nendpoint = \"http://{address}\"\n")
}

/// The tables of a provider at this service's SMTP: the kind's own `transport = "smtp"` where it has
/// one, else its preset. The simulator there knows the login that is answered.
#[must_use]
pub fn smtp_tables(kind: Kind, name: &str, address: SocketAddr) -> (String, (String, String)) {
    let (user, keys) = match kind {
        Kind::Sendgrid => ("apikey", "api_key = \"key-sandbox\"\n"),
        Kind::Postmark => ("key-sandbox", "server_token = \"key-sandbox\"\n"),
        Kind::Elasticemail | Kind::Smtp2go => {
            ("shop", "api_key = \"key-sandbox\"\nuser = \"shop\"\n")
        }
        Kind::Ses
        | Kind::Mailgun
        | Kind::Sparkpost
        | Kind::Postal
        | Kind::Brevo
        | Kind::Resend
        | Kind::Mailjet
        | Kind::Mailtrap
        | Kind::Smtp => ("shop", ""),
    };
    let login = (user.to_owned(), "key-sandbox".to_owned());
    let preset = kind.as_str();
    if !keys.is_empty() {
        let table = format!(
            "[providers.{name}.{preset}]\n{keys}transport = \"smtp\"\nendpoint = \"smtp://{address}\"\n"
        );
        return (table, login);
    }
    let preset = match kind == Kind::Smtp {
        true => String::new(),
        false => format!("preset = \"{preset}\"\n"),
    };
    let (host, port) = (address.ip(), address.port());
    let table = format!(
        "[providers.{name}.smtp]\n{preset}host = \"{host}\"\nport = {port}\ntls = \"none\"\n\
         user = \"{user}\"\npassword = \"key-sandbox\"\n"
    );
    (table, login)
}

/// The simulators' shared secret for webhooks, where a service signs nothing or by it.
pub const WEBHOOK_SECRET: &str = "webhook-secret-sandbox";

/// The path behind a provider's name to which this kind's simulator posts its webhooks.
#[must_use]
pub fn webhook_path(kind: Kind) -> String {
    if kind == Kind::Elasticemail {
        return format!("/{WEBHOOK_SECRET}");
    }
    String::new()
}

/// The table by which the webhooks of this simulator are believed; the certificate of SES is put
/// into `folder`.
///
/// # Errors
/// When the certificate cannot be written.
pub fn webhook_table(name: &str, service: &Service, folder: &Path) -> Result<String> {
    let sandbox = &service.sandbox;
    let proof = match (sandbox.kind(), sandbox.public_key_pem()) {
        (Kind::Ses, _) => {
            let file = folder.join("sns.pem");
            std::fs::write(&file, sandbox.certificate_pem().unwrap_or_default())?;
            format!(
                "topic_arns = [\"arn:aws:sns:us-east-1:123456789012:malote\"]\n\
                 certificate_file = {file:?}"
            )
        }
        (Kind::Mailgun, _) => "signing_key = \"signing-key-sandbox\"".to_owned(),
        (_, Some(pem)) => format!("public_key = '''{pem}'''"),
        (Kind::Mailtrap, None) => format!("signing_key = \"{WEBHOOK_SECRET}\""),
        (Kind::Resend, None) => {
            // Its base64, without a library for one text.
            "secret = \"whsec_d2ViaG9vay1zZWNyZXQtc2FuZGJveA==\"".to_owned()
        }
        (_, None) => format!("secret = \"{WEBHOOK_SECRET}\""),
    };
    Ok(format!("[providers.{name}.webhook]\n{proof}\n"))
}

impl Config {
    /// A gateway with an HTTP door and a plain SMTP door for the credential `shop`, who may use
    /// one transactional stream on the route `main`; `tables` holds routes, rules and providers.
    ///
    /// # Errors
    /// When no port is free.
    pub fn rehearsal(tables: &str) -> Result<Self> {
        let free = || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], free_port()?)));
        let doors = Doors {
            http: free()?,
            admin: free()?,
            submission: free()?,
            plain: free()?,
        };
        let text = format!(
            r#"
[http]
listen = "{http}"
[admin]
listen = "{admin}"
[[smtp.listeners]]
listen = "{plain}"
tls = "none"
trusted_plaintext = true
anonymous = {{ credential = "shop", allow_from = ["127.0.0.1/32"] }}
[store.sqlite]
path = "malote.db"
[credentials.shop]
api_key = "{SHOP_KEY}"
streams = ["transactional"]
from_domains = ["shop.example"]
on_foreign_from = "reject"
[streams.transactional]
class = "transactional"
route = "main"
retry = {{ first = "10s", factor = 2.0, max = "15m", give_up_after = "24h" }}
on_unknown = "prefer_no_loss"
write_wait_max = "5s"
write_rate_min = "4MiB"
reply_wait_max = "5s"
failover = {{ transient_after = "0s", on_throttle = "next" }}
{tables}"#,
            http = doors.http,
            admin = doors.admin,
            plain = doors.plain,
        );
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Ok(Self {
            text,
            environment: Vec::new(),
            doors,
            backends: Backends {
                ses: nowhere,
                mailgun: nowhere,
                relay: nowhere,
            },
        })
    }
}
