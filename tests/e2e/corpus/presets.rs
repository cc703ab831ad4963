//! Presets of kind `smtp` that have no page of their own: servers that people run, and the relays of
//! two offices. They stand on the page of kind `smtp`.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use malote_tests::Gateway;

use super::page::{add_answers, carried, octets};
use super::program::{self, PAGE};

/// One of them.
struct Preset {
    name: &'static str,
    title: &'static str,
    /// What stands below `[providers.NAME.smtp]`.
    table: &'static str,
}

const PRESETS: [Preset; 5] = [
    Preset {
        name: "postfix",
        title: "Postfix",
        table: "host = \"mail.shop.example\"\nuser = \"malote\"\npassword_env = \"SMTP_PASSWORD\"\n",
    },
    Preset {
        name: "exim",
        title: "Exim",
        table: "host = \"mail.shop.example\"\nuser = \"malote\"\npassword_env = \"SMTP_PASSWORD\"\n",
    },
    Preset {
        name: "mailcow",
        title: "Mailcow",
        table: "host = \"mail.shop.example\"\n\
                user = \"mail@shop.example\"   # a mailbox, or an app password of one\n\
                password_env = \"SMTP_PASSWORD\"\n",
    },
    Preset {
        name: "microsoft365",
        title: "Microsoft 365",
        table: "user = \"mail@shop.example\"\n\
                [providers.service.smtp.oauth2]\n\
                token_url = \"https://login.microsoftonline.com/TENANT/oauth2/v2.0/token\"\n\
                client_id = \"00000000-0000-0000-0000-000000000000\"\n\
                client_secret_env = \"M365_SECRET\"\n\
                grant = \"client_credentials\"\n\
                scope = \"https://outlook.office365.com/.default\"\n",
    },
    Preset {
        name: "google",
        title: "Google Workspace",
        table: "user = \"mail@shop.example\"\n\
                [providers.service.smtp.oauth2]\n\
                token_url = \"https://oauth2.googleapis.com/token\"\n\
                client_id = \"0000000000.apps.googleusercontent.com\"\n\
                client_secret_env = \"GOOGLE_SECRET\"\n\
                refresh_token_env = \"GOOGLE_REFRESH_TOKEN\"\n",
    },
];

/// Adds a section for each, whose lines are checked by the program.
pub(super) async fn add(page: &mut String, gateway: &Gateway) -> Result<()> {
    for Preset { name, title, table } in PRESETS {
        writeln!(page, "### {title}: `preset = \"{name}\"`\n")?;
        let tables = format!("[providers.service.smtp]\npreset = \"{name}\"\n{table}");
        let outcome = program::check(gateway, &tables).await?;
        outcome.success().with_context(|| tables.clone())?;
        let shown = tables.replace("providers.service.", &format!("providers.{name}."));
        writeln!(page, "```toml\n{shown}```\n")?;
        let told = program::kind(gateway, "smtp", PAGE).await?;
        let carries = carried(&[&told], "service")?;
        let mail_from = match carries["envelope_sender"] == true {
            true => "as given",
            false => "the server's own",
        };
        writeln!(
            page,
            "At most {} recipients of one call, and messages of {}, unless the server says less; \
             MAIL FROM {mail_from}.\n",
            carries["recipients_max"],
            octets(&carries["message_bytes_max"])
        )?;
        let told = program::kind(gateway, name, PAGE).await?;
        let answers = told["answers"].as_array().context("no answers")?;
        add_answers(page, answers, "smtp")?;
    }
    Ok(())
}
