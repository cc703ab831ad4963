//! The command line: what an operator types, and what it answers.
//!
//! Commands that read ask a running gateway, or read the store when none runs. Commands that change
//! something ask a running gateway.

mod check;
mod client;
mod demo;
mod dkim;
mod doctor;
mod erase;
mod exit;
mod explain;
mod filter;
mod guard;
mod health;
mod log;
mod migrate;
mod nodes;
mod out;
mod outlets;
mod place;
mod progress;
mod providers;
mod queue;
mod restored;
mod sandbox;
mod send;
mod service_list;
mod source;
mod store;
mod suppressions;
mod timeline;
mod waiting;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{Failure, Outcome};
pub(crate) use out::is_coloured;

const EXIT_CODES: &str = "\
Exit codes:
  0  it was done
  1  it failed
  2  the command line or the configuration is not good
  3  nothing was found

Commands that need no --config talk to the gateway at http://127.0.0.1:8081. Give --admin URL for
another (the token in MALOTE_ADMIN_TOKEN), or --config FILE to take both from its configuration.
With --config, commands that only read also work while no gateway runs.";

/// Routes mail from your apps to the services that deliver it.
#[derive(Debug, Parser)]
#[command(name = "malote", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C.
    Serve(ServeArgs),
    /// Say everything that is wrong with a configuration.
    Check(check::CheckArgs),
    /// Tell what stands between this configuration and the inbox, and what to publish.
    Doctor(doctor::DoctorArgs),
    /// Tell why a message goes where it goes: one that is kept, or one that could be sent.
    Explain(explain::ExplainArgs),
    /// Send a test message through a gateway.
    Send(send::SendArgs),
    /// See and move what waits; pause and resume streams and providers.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Look up deliveries: "where is my mail?"
    Log(log::LogArgs),
    /// Say whether a gateway runs and takes mail; for health checks.
    Health(health::HealthArgs),
    /// Show how the providers do.
    Providers(providers::ProvidersArgs),
    /// Who is told of events, how that goes, and telling it again.
    Outlets(outlets::OutletsArgs),
    /// Campaigns with their bounces and complaints; letting paused ones go on.
    Guard(guard::GuardArgs),
    /// Which gateways work together on one database, and how they are; draining one.
    Nodes(nodes::NodesArgs),
    /// Addresses that must not be mailed.
    #[command(subcommand)]
    Suppressions(suppressions::SuppressionsCommand),
    /// Forget a recipient: the address becomes a hash wherever it is kept, bodies go.
    Erase(erase::EraseArgs),
    /// What is to be published of the keys that sign mail.
    #[command(subcommand)]
    Dkim(dkim::DkimCommand),
    /// Back up, restore and check the store.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Simulate a service's send API for rehearsals.
    Sandbox(sandbox::SandboxArgs),
    /// Watch a gateway lose a provider and lose no mail; needs nothing, ends by itself.
    Demo(demo::DemoArgs),
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Configuration files, merged in this order.
    #[arg(long, short, value_name = "FILE", num_args = 1.., required = true)]
    config: Vec<PathBuf>,
}

/// Reads the command line, does what it says, and says how it went by the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command)),
        Err(error) => exit::code(Err(Failure::from(error))),
    }
}

async fn run(command: Command) -> ExitCode {
    let outcome: Outcome = match command {
        Command::Serve(args) => match crate::serve::run(args.config).await {
            Ok(code) => return code,
            Err(error) => Err(error.into()),
        },
        Command::Check(args) => check::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Send(args) => send::run(args).await,
        Command::Queue(command) => queue::run(command).await,
        Command::Log(args) => log::run(args).await,
        Command::Health(args) => health::run(args).await,
        Command::Providers(args) => providers::run(args).await,
        Command::Outlets(args) => outlets::run(args).await,
        Command::Guard(args) => guard::run(args).await,
        Command::Nodes(args) => nodes::run(args).await,
        Command::Suppressions(command) => suppressions::run(command).await,
        Command::Erase(args) => erase::run(args).await,
        Command::Dkim(command) => dkim::run(command),
        Command::Store(command) => store::run(command).await,
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Demo(args) => demo::run(args).await,
    };
    exit::code(outcome)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn several_files_follow_one_config_or_several() {
        for line in [
            ["malote", "serve", "--config", "a.toml", "b.toml"].as_slice(),
            &[
                "malote", "serve", "--config", "a.toml", "--config", "b.toml",
            ],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            let Command::Serve(args) = cli.command else {
                panic!("not serve");
            };
            assert_eq!(args.config.len(), 2);
        }
        assert!(Cli::try_parse_from(["malote", "serve"]).is_err());
    }

    /// A command with a name in place of each label's value, and an id where one stands.
    fn filled_in(command: &str) -> Vec<String> {
        let mut text = command.replace(" ID", " 01934d2b-0000-7000-8000-000000000001");
        while let (Some(start), Some(end)) = (text.find("{{"), text.find("}}")) {
            text.replace_range(start..end + 2, "name");
        }
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_command_that_an_alert_names_is_one() {
        let alerts = include_str!("../../../../dashboards/alerts.yml");
        let quoted = alerts.split('`').skip(1).step_by(2);
        let commands: Vec<&str> = quoted.filter(|text| text.starts_with("malote ")).collect();
        assert!(commands.len() > 20, "{commands:?}");
        for command in commands {
            let read = Cli::try_parse_from(filled_in(command));
            assert!(read.is_ok(), "{command}: {read:?}");
        }
    }
}
