//! Databases that a gateway does not start on: badly proven, or bound to forget.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use malote_tests::{Config, Gateway, Postgres, World};
use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::migrate::malote;
use crate::send_order;

const IN_CLEAR: &str = "tls = \"none\"\naddress_key_env";

/// Writes a certificate for this name, and its key.
fn certify(folder: &Path, name: &str) -> Result<()> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()])?;
    std::fs::write(folder.join("cert.pem"), cert.pem())?;
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem())?;
    Ok(())
}

fn trust(config: &mut Config, folder: &Path) -> Result<()> {
    let verified = format!(
        "ca_file = \"{}\"\naddress_key_env",
        folder.join("cert.pem").display()
    );
    config.replace(IN_CLEAR, &verified)
}

/// What a check says that has to refuse.
async fn refusal(gateway: &Gateway) -> Result<String> {
    let check = ["check", "--config", "malote.toml", "--online"];
    let said = malote(gateway, &check).await?;
    ensure!(
        said.status != Some(0),
        "nothing was refused: {}",
        said.stdout
    );
    Ok(format!("{}{}", said.stdout, said.stderr))
}

#[tokio::test]
async fn a_database_s_certificate_is_verified_for_its_name_and_its_authority() -> Result<()> {
    let (right, wrong) = (tempfile::tempdir()?, tempfile::tempdir()?);
    certify(right.path(), "127.0.0.1")?;
    certify(wrong.path(), "127.0.0.1")?;
    let tls = format!("tls={}", right.path().display());
    let postgres = Postgres::start_with(&[&tls])?;
    let address = postgres.address();
    let mut world = World::start_with(|config| {
        postgres.keep(config, address, 4)?;
        trust(config, right.path())
    })
    .await?;
    send_order(&world, "ana@one.example").await?;
    let are_encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'malote'";
    ensure!(postgres.ask(are_encrypted).await? == "t");

    let path = |folder: &Path| folder.join("cert.pem").display().to_string();
    let gateway = &mut world.gateway;
    gateway.set_config(|config| config.replace(&path(right.path()), &path(wrong.path())))?;
    let said = refusal(gateway).await?;
    ensure!(said.contains("invalid peer certificate"), "{said}");
    gateway.set_config(|config| config.replace(&path(wrong.path()), &path(right.path())))?;
    let (here, other) = (address.to_string(), format!("localhost:{}", address.port()));
    gateway.set_config(|config| config.replace(&here, &other))?;
    let said = refusal(gateway).await?;
    ensure!(said.contains("not valid for name"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_database_that_would_forget_is_refused_at_the_start() -> Result<()> {
    let postgres = Postgres::start()?;
    let mut world =
        World::start_with(|config| postgres.keep(config, postgres.address(), 4)).await?;
    for forgetful in ["DATABASE", "ROLE"] {
        let alter = format!("ALTER {forgetful} postgres SET synchronous_commit = off");
        postgres.ask(&alter).await?;
        let said = refusal(&world.gateway).await?;
        ensure!(said.contains("synchronous_commit is off"), "{said}");
        world.gateway.kill()?;
        let ended = world.gateway.boot().await.err();
        let ended = format!("{:#}", ended.context("it started")?);
        ensure!(ended.contains("synchronous_commit is off"), "{ended}");
        let alter = format!("ALTER {forgetful} postgres RESET synchronous_commit");
        postgres.ask(&alter).await?;
        ensure!(world.gateway.has_ended()?, "it goes on all the same");
        world.gateway.boot().await?;
    }
    Ok(())
}
