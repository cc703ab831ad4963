//! The torture corpus through every adapter and every service's SMTP, and the pages of
//! `docs/providers`, which are made from what arrived: the page is the expectation.

mod asked;
mod clients;
mod compare;
mod descriptions;
mod fields;
mod messages;
mod page;
mod presets;
mod program;
mod readme;
mod run;
mod services;
mod shape;

use anyhow::{Context, Result};
use malote_sandbox::Kind;

use self::services::SERVICES;

/// Sends the corpus through a service, and compares what it saw with the service's page.
async fn corpus(kind: Kind) -> Result<()> {
    let service = SERVICES.iter().find(|service| service.kind == kind);
    let service = service.with_context(|| format!("{} is not listed", kind.as_str()))?;
    let run = run::run(service).await?;
    program::check_lines(service, &run.gateway).await?;
    let page = page::of_service(service, &run).await?;
    page::compare(kind.as_str(), &page)
}

macro_rules! corpus {
    ($($name:ident: $kind:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() -> Result<()> {
                corpus(Kind::$kind).await
            }
        )*

        #[test]
        fn no_service_is_left_out() {
            let all = [$(Kind::$kind),*];
            assert!(Kind::all().all(|kind| all.contains(&kind)), "{all:?}");
        }
    };
}

corpus! {
    ses_carries_the_corpus: Ses,
    mailgun_carries_the_corpus: Mailgun,
    sendgrid_carries_the_corpus: Sendgrid,
    postmark_carries_the_corpus: Postmark,
    sparkpost_carries_the_corpus: Sparkpost,
    elasticemail_carries_the_corpus: Elasticemail,
    smtp2go_carries_the_corpus: Smtp2go,
    postal_carries_the_corpus: Postal,
    brevo_carries_the_corpus: Brevo,
    mailjet_carries_the_corpus: Mailjet,
    mailtrap_carries_the_corpus: Mailtrap,
    resend_carries_the_corpus: Resend,
    any_server_carries_the_corpus: Smtp,
}
