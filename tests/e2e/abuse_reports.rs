//! Webhooks that do not come from the service, or come in shapes that no service would send: for
//! each service the same table, against the real program.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use malote_core::clock::{Clock as _, SystemClock};
use malote_sandbox::Kind;
use malote_tests::{Config, Gateway, SHOP_KEY, provider_tables};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey as _};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{SENT_MAX, order};

const SECRET: &str = "webhook-secret-of-the-services";
/// Over the bound of a webhook's body.
const LARGE_BYTES: usize = 10 << 20;
/// What a service posts at once when it has much to say.
const BATCH: usize = 128;
/// Over the bound of one webhook's events.
const EVENTS_TOO_MANY: usize = 100_000;
/// Events about mail that nobody sent.
const STRAYS: usize = 200;
/// Lines that the log may grow by for all of them.
const LINES_MAX: usize = 10;

/// How a service proves its posts.
#[derive(Clone, Copy)]
enum Proof {
    Basic,
    Bearer,
    Hmac,
    Svix,
    Rsa,
}

/// One service and what it posts.
struct Service {
    kind: Kind,
    proof: Proof,
    /// A hard bounce: a number that no other event has, and the recipient.
    event: fn(usize, Value) -> Value,
    /// Several events as one body, where the service does that.
    batch: Option<fn(Vec<Value>) -> Value>,
}

const SERVICES: [Service; 5] = [
    Service {
        kind: Kind::Postal,
        proof: Proof::Rsa,
        event: |number, to| {
            json!({
                "event": "MessageDeliveryFailed", "timestamp": now_s(), "uuid": format!("u{number}"),
                "payload": { "status": "HardFail", "output": "550 5.1.1 user unknown",
                    "message": { "id": number, "to": to, "tag": format!("tag{number}") } },
            })
        },
        batch: None,
    },
    Service {
        kind: Kind::Resend,
        proof: Proof::Svix,
        event: |number, to| {
            json!({
                "type": "email.bounced", "created_at": SystemClock::start().now().to_string(),
                "data": { "email_id": format!("stray{number}"), "to": [to],
                    "bounce": { "type": "Permanent", "subType": "General" } },
            })
        },
        batch: None,
    },
    Service {
        kind: Kind::Mailtrap,
        proof: Proof::Hmac,
        event: |number, to| {
            json!({
                "event": "bounce", "timestamp": now_s(), "event_id": format!("e{number}"),
                "message_id": format!("stray{number}"), "email": to, "bounce_category": "bad-mailbox",
            })
        },
        batch: Some(|events| json!({ "events": events })),
    },
    Service {
        kind: Kind::Brevo,
        proof: Proof::Bearer,
        event: |number, to| {
            json!({
                "event": "hard_bounce", "ts_epoch": now_s() * 1000, "email": to,
                "message-id": format!("<stray{number}@relay.example>"), "reason": "user unknown",
            })
        },
        batch: Some(Value::Array),
    },
    Service {
        kind: Kind::Mailjet,
        proof: Proof::Basic,
        event: |number, to| {
            json!({
                "event": "bounce", "time": now_s(), "MessageID": number, "email": to,
                "hard_bounce": true, "error_related_to": "recipient", "error": "user unknown",
            })
        },
        batch: Some(Value::Array),
    },
];

fn now_s() -> i64 {
    SystemClock::start().now().as_second()
}

struct Rig {
    gateway: Gateway,
    client: reqwest::Client,
    key: KeyPair,
}

impl Rig {
    async fn start() -> Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let mut tables = "[providers.relay.capture]\n[routes.main]\nstrategy = \"failover\"\n\
                          targets = [{ provider = \"relay\" }]\n"
            .to_owned();
        let nowhere = ([127, 0, 0, 1], 9).into();
        for service in &SERVICES {
            let name = service.kind.as_str();
            let webhook = match service.proof {
                Proof::Basic | Proof::Bearer => format!("secret = \"{SECRET}\""),
                Proof::Hmac => format!("signing_key = \"{SECRET}\""),
                Proof::Svix => format!("secret = \"whsec_{}\"", STANDARD.encode(SECRET)),
                Proof::Rsa => format!("public_key = '''{}'''", key.public_key_pem()),
            };
            tables += &provider_tables(service.kind, name, nowhere);
            tables += &format!("[providers.{name}.webhook]\n{webhook}\n");
        }
        Ok(Self {
            gateway: Gateway::start(Config::rehearsal(&tables)?).await?,
            client: reqwest::Client::builder().no_proxy().build()?,
            key,
        })
    }

    /// The header fields with which the service proves this body.
    fn proof(&self, proof: Proof, body: &[u8], id: &str) -> Result<Vec<(&'static str, String)>> {
        let hmac = |message: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).context("a key")?;
            mac.update(message);
            Ok::<_, anyhow::Error>(mac.finalize().into_bytes())
        };
        Ok(match proof {
            Proof::Basic => {
                let login = STANDARD.encode(format!("malote:{SECRET}"));
                vec![("authorization", format!("Basic {login}"))]
            }
            Proof::Bearer => vec![("authorization", format!("Bearer {SECRET}"))],
            Proof::Hmac => {
                let digest = hmac(body)?;
                let digits = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                vec![("mailtrap-signature", digits)]
            }
            Proof::Svix => {
                let at = now_s().to_string();
                let digest = hmac(&[id.as_bytes(), b".", at.as_bytes(), b".", body].concat())?;
                let signature = format!("v1,{}", STANDARD.encode(digest));
                vec![
                    ("svix-id", id.to_owned()),
                    ("svix-timestamp", at),
                    ("svix-signature", signature),
                ]
            }
            Proof::Rsa => {
                let signature = STANDARD.encode(self.key.sign(body)?);
                vec![("x-postal-signature-256", signature)]
            }
        })
    }

    /// Posts with these fields to `path` behind the service's door.
    async fn post_with(
        &self,
        service: &Service,
        path: &str,
        fields: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<Response> {
        let (door, name) = (self.gateway.doors().http, service.kind.as_str());
        let url = format!("http://{door}/v1/webhooks/{name}{path}");
        let mut request = self.client.post(url).body(body);
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        Ok(request.send().await?)
    }

    /// Posts with a good proof; answers the status.
    async fn post(&self, service: &Service, id: &str, body: Vec<u8>) -> Result<StatusCode> {
        let fields = self.proof(service.proof, &body, id)?;
        let answer = self.post_with(service, "", &fields, body).await?;
        Ok(answer.status())
    }

    async fn unproven(&self, service: &Service) -> Result<()> {
        let body = (service.event)(1, json!("a@one.example"));
        let body = body.to_string().into_bytes();
        let good = self.proof(service.proof, &body, "id")?;
        let with = |change: &dyn Fn(&str) -> String| -> Vec<(&str, String)> {
            let changed = good.iter().map(|(name, value)| (*name, change(value)));
            changed.collect()
        };
        let reversed = |value: &str| value.chars().rev().collect();
        for (what, path, fields) in [
            ("nothing", "", Vec::new()),
            ("empty", "", with(&|_| String::new())),
            (
                "cut",
                "",
                with(&|value| value[..value.len() - 1].to_owned()),
            ),
            ("reversed", "", with(&reversed)),
            (
                "in the query",
                &*format!("?secret={SECRET}&token={SECRET}"),
                Vec::new(),
            ),
            (
                "wrong at the end of the path",
                "/another-secret-of-16",
                Vec::new(),
            ),
            (
                "a bearer of nothing",
                "",
                vec![("authorization", "Bearer ".to_owned())],
            ),
            (
                "no login",
                "",
                vec![("authorization", "Basic !!!!".to_owned())],
            ),
        ] {
            let answer = self.post_with(service, path, &fields, body.clone()).await?;
            ensure!(answer.status() == 401, "{what}: {}", answer.status());
            let asks = answer.headers().contains_key("www-authenticate");
            ensure!(asks, "{what}: 401 without WWW-Authenticate");
        }
        // Signed, then altered or written anew; a secret proves nothing of a body.
        if !matches!(service.proof, Proof::Basic | Proof::Bearer) {
            let text = String::from_utf8(body.clone())?;
            for altered in [
                text.replace("one.example", "two.example"),
                format!("{text} "),
            ] {
                let answer = self.post_with(service, "", &good, altered.into()).await?;
                ensure!(answer.status() == 401, "altered: {}", answer.status());
            }
        }
        Ok(())
    }

    async fn shapes(&self, service: &Service) -> Result<()> {
        for body in ["", "{", "7", "null", "\u{0}", "\"text\""] {
            let status = self.post(service, "shape", body.into()).await?;
            ensure!(status == 400, "{body:?}: {status}");
        }
        let status = self.post(service, "shape", vec![b'['; 1 << 20]).await?;
        ensure!(status == 400, "a million deep: {status}");
        let status = self.post(service, "shape", vec![b' '; LARGE_BYTES]).await?;
        ensure!(status == 413, "10 MiB: {status}");
        for (number, to) in [
            json!("canary-line\r\n{\"level\":\"error\"}"),
            json!("canary-é".repeat(125_000)),
            json!(["canary-list"]),
            json!({ "canary": 7 }),
        ]
        .into_iter()
        .enumerate()
        {
            let body = (service.event)(number, to).to_string();
            let status = self
                .post(service, &format!("to{number}"), body.into())
                .await?;
            ensure!(status == 200, "recipient {number}: {status}");
        }
        let Some(batch) = service.batch else {
            return Ok(());
        };
        let many = batch(vec![json!({}); EVENTS_TOO_MANY]).to_string();
        let status = self.post(service, "many", many.into()).await?;
        ensure!(status == 413, "{EVENTS_TOO_MANY} events: {status}");
        let mut many: Vec<Value> = (0..BATCH)
            .map(|number| (service.event)(number, json!("a@one.example")))
            .collect();
        for (id, bad) in [("all", 0), ("mixed", 1)] {
            many[..bad].fill(json!("bad"));
            let before = self.counted(service, "yes").await?;
            let body = batch(many.clone()).to_string();
            let status = self.post(service, id, body.into()).await?;
            ensure!(status == 200, "{bad} bad of {BATCH}: {status}");
            let read = self.counted(service, "yes").await? - before;
            ensure!(
                read == (BATCH - bad) as u64,
                "{bad} bad of {BATCH}: {read} were read"
            );
        }
        Ok(())
    }

    /// How many entries were readable or not.
    async fn counted(&self, service: &Service, readable: &str) -> Result<u64> {
        let text = self.gateway.admin(Method::GET, "/metrics").send().await?;
        let text = text.text().await?;
        let provider = format!("provider=\"{}\"", service.kind.as_str());
        let readable = format!("readable=\"{readable}\"");
        let line = text.lines().find(|line| {
            line.starts_with("malote_http_webhook_events_total{")
                && line.contains(&provider)
                && line.contains(&readable)
        });
        let count = line.and_then(|line| line.rsplit_once(' '));
        count.map_or(Ok(0), |(_, count)| Ok(count.parse()?))
    }

    async fn strays(&self, service: &Service) -> Result<()> {
        let name = service.kind.as_str();
        let lines = self.gateway.log().lines().count();
        for number in 0..STRAYS {
            let to = format!("stray{number}-{name}@one.example");
            let body = (service.event)(1_000_000 + number, json!(to)).to_string();
            let status = self
                .post(service, &format!("stray{number}"), body.into())
                .await?;
            ensure!(status == 200, "{number}: {status}");
        }
        let grown = self.gateway.log().lines().count() - lines;
        ensure!(grown <= LINES_MAX, "{grown} lines for {STRAYS} strays");
        // A stranger's word suppresses nobody.
        let to = format!("stray1-{name}@one.example");
        self.gateway.submit(&order(&to)).await?;
        let sent = self.gateway.reached(&to, SHOP_KEY, &["sent"], SENT_MAX);
        sent.await.map(drop)
    }
}

#[tokio::test]
async fn no_service_is_believed_without_proof_nor_breaks_the_gateway_with_it() -> Result<()> {
    let rig = Rig::start().await?;
    let mut faults = Vec::new();
    for service in &SERVICES {
        for (sentence, result) in [
            ("unproven", rig.unproven(service).await),
            ("shapes", rig.shapes(service).await),
            ("strays", rig.strays(service).await),
        ] {
            if let Err(error) = result {
                faults.push(format!("{}: {sentence}: {error:#}", service.kind.as_str()));
            }
        }
    }
    let log = rig.gateway.log();
    for word in ["canary", "stray1-", SECRET] {
        ensure!(!log.contains(word), "{word} stands in the log");
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}
