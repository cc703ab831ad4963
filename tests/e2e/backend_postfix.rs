//! A real Postfix as the relay, in a folder of its own, delivering onward to a simulated server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{
    LOADTEST_KEY, Service, SmtpClient, World, eventually, free_port, run, text_message, tool,
};
use tempfile::TempDir;

use crate::{SENT_MAX, campaigns_by, ensure_once};

const COMMAND_MAX: Duration = Duration::from_secs(60);

/// A Postfix of our own; it is stopped when dropped.
pub(crate) struct Postfix {
    folder: TempDir,
    port: u16,
}

impl Postfix {
    async fn start(next_hop: u16) -> Result<Self> {
        Self::start_with(next_hop, "").await
    }

    /// Starts one with more lines of main.cf.
    pub(crate) async fn start_with(next_hop: u16, more: &str) -> Result<Self> {
        let postfix = Self {
            folder: TempDir::with_prefix("malote-postfix-")?,
            port: free_port()?,
        };
        let root = postfix.folder.path();
        // The mail system's own users go in and out.
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o755))?;
        for name in ["config", "queue", "data"] {
            std::fs::create_dir(root.join(name))?;
        }
        let main_cf = main_cf(root, next_hop) + more;
        std::fs::write(root.join("config/main.cf"), main_cf)?;
        std::fs::write(root.join("config/master.cf"), master_cf(postfix.port))?;
        let mut chown = Command::new("chown");
        chown.arg("postfix").arg(root.join("data"));
        let owned = run(&mut chown, COMMAND_MAX).await?.success();
        owned.context("Postfix runs as root only")?;
        postfix.control("start").await?;
        Ok(postfix)
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Its folder, with its log.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn control(&self, verb: &str) -> Result<()> {
        let mut command = self.command(verb)?;
        run(&mut command, COMMAND_MAX).await?.success()?;
        Ok(())
    }

    fn command(&self, verb: &str) -> Result<Command> {
        let mut command = Command::new(tool("postfix")?);
        command.arg("-c").arg(self.folder.path().join("config"));
        command.arg(verb);
        Ok(command)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // It may never have started.
        if let Ok(mut command) = self.command("stop") {
            command.output().ok();
        }
    }
}

fn main_cf(root: &Path, next_hop: u16) -> String {
    let root = root.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file = {root}/log
maillog_file_prefixes = {root}
myhostname = relay.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
relayhost = [127.0.0.1]:{next_hop}
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_dns_support_level = disabled
smtp_host_lookup = native
append_dot_mydomain = no
"
    )
}

fn master_cf(port: u16) -> String {
    format!(
        "127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

#[tokio::test]
async fn mail_goes_through_a_real_postfix() -> Result<()> {
    let beyond = Service::start(Kind::Smtp).await?;
    let postfix = Postfix::start(beyond.address.port()).await?;
    let world = World::start_with(|config| {
        campaigns_by(config, "{ provider = \"relay\", pool = \"bulk\" }")?;
        config.set_relay_port(postfix.port)
    })
    .await?;
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", "ana@one.example", "postfix") + ".\r\n..\r\n";
    let reply = client
        .send("b@shop.example", &["ana@one.example"], &text)
        .await?;
    assert_eq!(reply.code, 250, "{reply:?}");
    let timeline = world
        .gateway
        .reached("ana@one.example", LOADTEST_KEY, &["sent"], SENT_MAX)
        .await?;
    eventually("it comes out beyond Postfix", SENT_MAX, async || {
        Ok((beyond.count_to("ana@one.example") > 0).then_some(()))
    })
    .await?;
    let messages = beyond.sandbox.messages_to("ana@one.example");
    let taken = ensure_once(&messages)?;
    assert_eq!(taken.mail_from.as_deref(), Some("b@shop.example"));
    let received = taken.headers();
    let received = received
        .iter()
        .filter(|(name, _)| name == "Received")
        .count();
    assert_eq!(received, 2, "one of ours, one of Postfix's");
    let id = &timeline["deliveries"][0]["provider_message_id"];
    let hop = taken.header("Received").unwrap_or_default();
    let id = id.as_str().unwrap_or_default();
    ensure!(
        !id.is_empty() && hop.contains(id),
        "{id:?} is not in {hop:?}"
    );
    Ok(())
}
