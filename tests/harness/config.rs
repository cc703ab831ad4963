//! The contract's configuration, with free ports, and changes to it.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::tools::{free_port, repository};

/// The file that holds the contract word for word.
const CONTRACT: &str = "crates/malote/src/config/testdata/contract.toml";

/// The API key of the credential `shop`.
pub const SHOP_KEY: &str = "mk_test_shop";
/// The API key of the credential `mautic`.
pub const MAUTIC_KEY: &str = "mk_test_mautic";
/// The API key of the credential `loadtest`.
pub const LOADTEST_KEY: &str = "mk_test_loadtest";

/// Where the gateway's providers are.
#[derive(Debug, Clone, Copy)]
pub struct Backends {
    /// Amazon SES.
    pub ses: SocketAddr,
    /// Mailgun.
    pub mailgun: SocketAddr,
    /// The SMTP relay.
    pub relay: SocketAddr,
}

/// Where the gateway listens.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    /// The HTTP API.
    pub http: SocketAddr,
    /// Metrics, health, operators.
    pub admin: SocketAddr,
    /// SMTP with STARTTLS.
    pub submission: SocketAddr,
    /// SMTP in clear, without a login.
    pub plain: SocketAddr,
}

/// A configuration file's text, and the environment that it names.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file.
    pub text: String,
    /// Variables by name.
    pub environment: Vec<(String, String)>,
    /// Where it listens.
    pub doors: Doors,
    /// Where it sends.
    pub backends: Backends,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Config {
    /// The contract with its own ports.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn contract_verbatim() -> Result<Self> {
        let path = repository().join(CONTRACT);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} is not there", path.display()))?;
        let environment = [
            ("MAUTIC_PASSWORD", "mautic-secret"),
            ("SES_SECRET", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            ("MAILGUN_KEY", "key-sandbox"),
            ("MAILGUN_SIGNING_KEY", "signing-key-sandbox"),
            // Mautic only speaks SMTP; with a key the tests read its messages' timelines.
            ("MALOTE_CREDENTIALS__MAUTIC__API_KEY", MAUTIC_KEY),
            ("MALOTE_CREDENTIALS__LOADTEST__API_KEY", LOADTEST_KEY),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self {
            text,
            environment: environment.into(),
            doors: Doors {
                http: loopback(18_080),
                admin: loopback(18_081),
                submission: loopback(12_587),
                plain: loopback(12_525),
            },
            backends: Backends {
                ses: loopback(18_501),
                mailgun: loopback(18_502),
                relay: loopback(2526),
            },
        })
    }

    /// The contract on free ports, with these providers.
    ///
    /// # Errors
    /// When the file is not there or no port is free.
    pub fn contract(backends: Backends) -> Result<Self> {
        let mut config = Self::contract_verbatim()?;
        let doors = Doors {
            http: loopback(free_port()?),
            admin: loopback(free_port()?),
            submission: loopback(free_port()?),
            plain: loopback(free_port()?),
        };
        let old = config.doors;
        let services = config.backends;
        for (from, to) in [
            (old.http, doors.http),
            (old.admin, doors.admin),
            (old.submission, doors.submission),
            (old.plain, doors.plain),
            (services.ses, backends.ses),
            (services.mailgun, backends.mailgun),
        ] {
            config.replace(&from.to_string(), &to.to_string())?;
        }
        config.replace(
            &format!("port = {}", services.relay.port()),
            &format!("port = {}", backends.relay.port()),
        )?;
        config.backends = backends;
        config.doors = doors;
        Ok(config)
    }

    /// Puts another server in the relay's place.
    ///
    /// # Errors
    /// When the relay's port does not stand in the text.
    pub fn set_relay_port(&mut self, port: u16) -> Result<()> {
        let old = self.backends.relay.port();
        self.backends.relay.set_port(port);
        self.replace(&format!("port = {old}"), &format!("port = {port}"))
    }

    /// Puts another server in the place of SES.
    ///
    /// # Errors
    /// When the endpoint does not stand in the text.
    pub fn set_ses_port(&mut self, port: u16) -> Result<()> {
        let old = self.backends.ses;
        self.backends.ses.set_port(port);
        self.replace(&old.to_string(), &self.backends.ses.to_string())
    }

    /// Changes one place.
    ///
    /// # Errors
    /// When the text stands nowhere, or in more than one place.
    pub fn replace(&mut self, from: &str, to: &str) -> Result<()> {
        let count = self.text.matches(from).count();
        ensure!(count == 1, "{from:?} stands in {count} places");
        self.text = self.text.replace(from, to);
        Ok(())
    }

    /// Adds tables at the end.
    pub fn add(&mut self, tables: &str) {
        self.text.push('\n');
        self.text.push_str(tables);
    }
}
