//! Starts the contract word for word, feeds it Symfony mails with the header set of each of Mautic's
//! ways to send, and prints row → stream → target. Ends with status 1 when a row went wrong.

use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{
    Config, Gateway, HeaderSet, MAUTIC_KEY, MAUTIC_ROWS, Service, eventually, repository, run, tool,
};
use serde_json::Value;

/// How long all mails may take to be handed over.
const SUBMIT_MAX: Duration = Duration::from_secs(60);
/// How long one mail may take to reach its service.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);

/// The services of the contract, on its own ports.
struct Services {
    ses: Service,
    mailgun: Service,
    relay: Service,
}

/// Where one mail went.
struct Arrival {
    stream: String,
    target: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match accept().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("acceptance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn accept() -> Result<bool> {
    let services = Services::start().await?;
    let gateway = Gateway::start(Config::contract_verbatim()?).await?;
    submit(&gateway).await?;
    println!("{:<34} {:<14} target", "mail", "stream");
    let mut is_right = true;
    for row in MAUTIC_ROWS {
        let arrival = services.arrival(&gateway, row).await?;
        let is_expected =
            arrival.stream == row.stream && row.targets.contains(&arrival.target.as_str());
        let note = match is_expected {
            true => String::new(),
            false => format!("   WRONG: {} by {}", row.stream, row.targets.join(" or ")),
        };
        println!(
            "{:<34} {:<14} {}{note}",
            row.sent_by, arrival.stream, arrival.target
        );
        is_right &= is_expected;
    }
    let mut gateway = gateway;
    gateway.stop().await?;
    Ok(is_right)
}

/// Hands all rows over through Symfony Mailer: STARTTLS, AUTH, one connection.
async fn submit(gateway: &Gateway) -> Result<()> {
    let mails: Vec<Value> = MAUTIC_ROWS
        .iter()
        .enumerate()
        .map(|(number, row)| row.mail(number))
        .collect();
    let file = gateway.folder().join("mails.json");
    std::fs::write(&file, serde_json::to_string(&mails)?)?;
    let dsn = format!(
        "smtp://mautic:mautic-secret@{}?verify_peer=0",
        gateway.doors().submission
    );
    let script = repository().join("tests/clients/symfony.php");
    let mut command = Command::new(tool("php")?);
    command.arg(script).arg(dsn).arg(file);
    run(&mut command, SUBMIT_MAX).await?.success()?;
    Ok(())
}

impl Services {
    async fn start() -> Result<Self> {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self {
            ses: Service::start_on(Kind::Ses, at(18_501), |_| {}).await?,
            mailgun: Service::start_on(Kind::Mailgun, at(18_502), |_| {}).await?,
            relay: Service::start_on(Kind::Smtp, at(2526), |_| {}).await?,
        })
    }

    /// Waits for a row's mail at any of the services; what the gateway says of it must agree.
    async fn arrival(&self, gateway: &Gateway, row: &HeaderSet) -> Result<Arrival> {
        let recipient = row.recipient();
        let provider = eventually(&format!("mail to {recipient}"), ARRIVAL_MAX, async || {
            let taken = [
                ("ses", &self.ses),
                ("mailgun", &self.mailgun),
                ("relay", &self.relay),
            ];
            let at = taken
                .into_iter()
                .filter(|(_, service)| service.count_to(&recipient) > 0);
            Ok(at.map(|(name, _)| name).next())
        })
        .await?;
        let timeline = gateway
            .reached(&recipient, MAUTIC_KEY, &["sent"], ARRIVAL_MAX)
            .await?;
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let delivery = &timeline["deliveries"][0];
        let told = word(&delivery["provider"]);
        ensure!(
            told == provider,
            "{recipient} arrived at {provider}, and the gateway tells of {told}"
        );
        Ok(Arrival {
            stream: word(&timeline["stream"]),
            target: format!("{told}/{}", word(&delivery["pool"])),
        })
    }
}
