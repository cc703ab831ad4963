//! A service whose certificate nobody vouches for gets nothing, neither mail nor credentials; the
//! next target has the mail.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{Config, Gateway, SHOP_KEY, Service, TlsFront, provider_tables};

use crate::{SENT_MAX, order};

/// A service behind TLS with a certificate that signs itself, and its provider.
async fn seat(kind: Kind) -> Result<(Service, TlsFront, String)> {
    let service = Service::start(kind).await?;
    let front = TlsFront::start(service.address).await?;
    let name = kind.as_str();
    let port = front.address.port();
    let tables = if kind == Kind::Smtp {
        format!(
            "[providers.{name}.smtp]\nhost = \"localhost\"\nport = {port}\n\
             private_addresses = true\nuser = \"shop\"\npassword = \"key-sandbox\"\n"
        )
    } else {
        let tables = provider_tables(kind, name, front.address);
        tables.replace("http://127.0.0.1", "https://localhost")
    };
    Ok((service, front, tables))
}

#[tokio::test]
async fn a_service_with_a_bad_certificate_gets_nothing() -> Result<()> {
    let mut tables = "[providers.relay.capture]\n[routes.main]\nstrategy = \"failover\"\n\
                      targets = [{ provider = \"relay\" }]\n"
        .to_owned();
    let kinds = [Kind::Smtp, Kind::Ses, Kind::Mailgun, Kind::Sendgrid];
    let mut seats = Vec::new();
    for kind in kinds {
        let (service, front, table) = seat(kind).await?;
        let name = kind.as_str();
        write!(
            tables,
            "{table}[routes.{name}]\nstrategy = \"failover\"\n\
             targets = [{{ provider = \"{name}\" }}, {{ provider = \"relay\" }}]\n\
             [[rules]]\nname = \"{name}\"\nwhen = {{ recipient_domain = [\"{name}.example\"] }}\n\
             then = {{ route = \"{name}\" }}\n"
        )?;
        seats.push((kind, service, front));
    }
    let gateway = Gateway::start(Config::rehearsal(&tables)?).await?;
    for (kind, service, _front) in &seats {
        let recipient = format!("ana@{}.example", kind.as_str());
        gateway.submit(&order(&recipient)).await?;
        let timeline = gateway
            .reached(&recipient, SHOP_KEY, &["sent"], SENT_MAX)
            .await?;
        let attempts = timeline["deliveries"][0]["attempts"].as_array();
        let last = attempts.and_then(|all| all.last());
        let last = last.context("no attempt is on record")?;
        ensure!(last["provider"] == "relay", "{timeline}");
        // The check at the start has met it, or this mail.
        let told = timeline.to_string();
        ensure!(told.contains("certificate"), "{kind:?}: {told}");
        let is_out = told.contains("provider_unusable") || told.contains("the provider is out");
        ensure!(is_out, "{kind:?}: {told}");
        let stats = service.sandbox.stats();
        ensure!((stats.sends, stats.checks) == (0, 0), "{kind:?}: {stats:?}");
    }
    Ok(())
}
