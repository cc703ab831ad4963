//! moto's simulation of SES, written by others from the service's own model, as the provider.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use malote_tests::{SHOP_KEY, World, eventually, free_port, tool};
use serde_json::{Value, json};

use crate::{SENT_MAX, order};

/// How long moto may take to listen; it loads many services.
const START_MAX: Duration = Duration::from_secs(60);

/// A running moto server.
struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn start() -> Result<Self> {
        let port = free_port()?;
        let child = Command::new(tool("moto_server")?)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let moto = Self { child, port };
        eventually("moto listens", START_MAX, async || {
            let answer = reqwest::get(moto.url("/moto-api/data.json")).await;
            Ok(answer.ok().map(|_| ()))
        })
        .await?;
        Ok(moto)
    }

    /// Verifies a sender domain; moto reads the account from the field and checks no signature.
    async fn verify(&self, domain: &str) -> Result<()> {
        let field = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/ses/aws4_request, SignedHeaders=host, Signature=0";
        let request = reqwest::Client::new()
            .post(self.url("/v2/email/identities"))
            .header("authorization", field)
            .json(&json!({ "EmailIdentity": domain }));
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        Ok(())
    }

    async fn dump(&self) -> Result<String> {
        let answer = reqwest::get(self.url("/moto-api/data.json")).await?;
        Ok(answer.text().await?)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn transactional_mail_is_taken_by_motos_ses() -> Result<()> {
    let moto = Moto::start().await?;
    moto.verify("shop.example").await?;
    let world = World::start_with(|config| config.set_ses_port(moto.port)).await?;
    world.gateway.submit(&order("ana@one.example")).await?;
    let timeline: Value = world
        .gateway
        .reached("ana@one.example", SHOP_KEY, &["sent"], SENT_MAX)
        .await?;
    let delivery = &timeline["deliveries"][0];
    assert_eq!(delivery["provider"], "ses", "{timeline:#}");
    let id = delivery["provider_message_id"].as_str().unwrap_or_default();
    let dump = moto.dump().await?;
    assert!(
        !id.is_empty() && dump.contains(id),
        "{id:?} is not in moto's memory"
    );
    Ok(())
}
