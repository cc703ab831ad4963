//! Postfix's smtp-sink as the relay.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use malote_tests::{LOADTEST_KEY, SmtpClient, World, eventually, free_port, text_message, tool};
use tempfile::TempDir;

use crate::{SENT_MAX, campaigns_by};

/// A running smtp-sink that writes what it takes into a folder.
struct Sink {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Sink {
    async fn start() -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let mut command = Command::new(tool("smtp-sink")?);
        command.args(["-d", "mail.%M."]).current_dir(folder.path());
        if is_root()? {
            // It refuses to work as root; another user writes into the folder then.
            command.args(["-u", "nobody"]);
            let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(folder.path(), all)?;
        }
        command.args([&format!("127.0.0.1:{port}"), "128"]);
        let child = command.stdin(Stdio::null()).spawn()?;
        let sink = Self {
            child,
            folder,
            port,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("smtp-sink listens", SENT_MAX, async || {
            Ok(SmtpClient::connect(address).await.ok())
        })
        .await?;
        Ok(sink)
    }

    /// What it took, each with the envelope in front.
    fn taken(&self) -> Result<Vec<String>> {
        let mut taken = Vec::new();
        for entry in std::fs::read_dir(self.folder.path())? {
            taken.push(std::fs::read_to_string(entry?.path())?);
        }
        Ok(taken)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("id")?;
    Ok(output.stdout == b"0\n")
}

#[tokio::test]
async fn campaigns_reach_postfixs_smtp_sink() -> Result<()> {
    let sink = Sink::start().await?;
    let world = World::start_with(|config| {
        campaigns_by(config, "{ provider = \"relay\", pool = \"bulk\" }")?;
        config.set_relay_port(sink.port)
    })
    .await?;
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    for number in 0..20 {
        let recipient = format!("r{number}@one.example");
        let text = text_message("news@shop.example", &recipient, &format!("n{number}"));
        let reply = client.send("b@shop.example", &[&recipient], &text).await?;
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    for number in 0..20 {
        let recipient = format!("r{number}@one.example");
        world
            .gateway
            .reached(&recipient, LOADTEST_KEY, &["sent"], SENT_MAX)
            .await?;
    }
    let taken = eventually("all are written", SENT_MAX, async || {
        let taken = sink.taken()?;
        Ok((taken.len() == 20).then_some(taken))
    })
    .await?;
    assert!(
        taken.iter().all(|mail| mail.contains("Hello.")),
        "{taken:?}"
    );
    Ok(())
}
