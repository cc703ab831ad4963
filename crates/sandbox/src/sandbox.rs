//! One simulator: its state, and the sockets that serve it.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::behaviour::{BadBehaviour, Behaviour, Mood};
use crate::config::{Kind, SandboxConfig};
use crate::event::Signer;
use crate::fault::{Fault, Faults};
use crate::mailbox::{Mailbox, Stats, Taken};
use crate::suppressed::{Suppressed, SuppressedList, Why};
use crate::{
    brevo, control, elasticemail, http, mailgun, mailjet, mailtrap, postal, postmark, reporter,
    resend, sendgrid, ses, smtp, smtp2go, sparkpost,
};

/// A simulator of one service. Clones share their state.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    kind: Kind,
    config: SandboxConfig,
    mailbox: Mailbox,
    faults: Faults,
    mood: Mood,
    suppressed: SuppressedList,
    /// Made when first needed: an RSA key takes a moment.
    signer: OnceLock<Option<Signer>>,
}

impl Sandbox {
    /// A simulator that has taken nothing yet.
    #[must_use]
    pub fn new(kind: Kind, config: SandboxConfig) -> Self {
        let mailbox = Mailbox::new(config.messages_max, config.body_bytes_max);
        let inner = Inner {
            kind,
            config,
            mailbox,
            faults: Faults::default(),
            mood: Mood::default(),
            suppressed: SuppressedList::default(),
            signer: OnceLock::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Which service it simulates.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// All that is kept, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<Taken> {
        self.inner.mailbox.list(0, None, usize::MAX)
    }

    /// What is kept for this recipient (any case), oldest first.
    #[must_use]
    pub fn messages_to(&self, rcpt: &str) -> Vec<Taken> {
        self.inner.mailbox.list(0, Some(rcpt), usize::MAX)
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            faults: self.inner.faults.played(),
            ..self.inner.mailbox.stats()
        }
    }

    /// Puts an address on the service's own suppression list; false when that is full.
    pub fn suppress(&self, entry: Suppressed) -> bool {
        let now = (self.inner.config.clock)();
        self.inner.suppressed.put(entry, now)
    }

    /// All that the service itself suppresses.
    #[must_use]
    pub fn suppressions(&self) -> Vec<Suppressed> {
        self.inner.suppressed.page(|_| true, 0, usize::MAX - 1).0
    }

    /// Forgets the messages; the counts stay.
    pub fn forget(&self) {
        self.inner.mailbox.clear();
    }

    /// Arms a fault for the sends to come; false when too many are armed or its count is 0.
    pub fn arm(&self, fault: Fault) -> bool {
        self.inner.faults.arm(fault)
    }

    /// Disarms all faults.
    pub fn disarm(&self) {
        self.inner.faults.clear();
    }

    /// Changes how it answers from now on; what is `None` stays as it is.
    ///
    /// # Errors
    /// When a value is out of its range; nothing has changed then.
    pub fn behave(&self, behaviour: &Behaviour) -> Result<(), BadBehaviour> {
        behaviour.check()?;
        if let Some(latency_ms) = behaviour.latency_ms {
            self.inner.mood.set_latency_ms(latency_ms);
        }
        if let Some(faults) = &behaviour.faults {
            self.inner.faults.clear();
            for fault in faults {
                self.inner.faults.arm(fault.clone());
            }
        }
        if let Some(webhooks) = &behaviour.webhooks {
            self.inner.mood.set_webhooks(Some(webhooks.clone()));
        }
        Ok(())
    }

    /// Answers rightly and at once again, and reports nothing.
    pub fn behave_well(&self) {
        self.inner.faults.clear();
        self.inner.mood.set_latency_ms(0);
        self.inner.mood.set_webhooks(None);
    }

    /// How it answers now.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        let webhooks = self.inner.mood.webhooks();
        Behaviour {
            latency_ms: u64::try_from(self.inner.mood.latency().as_millis()).ok(),
            faults: Some(self.inner.faults.armed()),
            webhooks: webhooks.map(|webhooks| (*webhooks).clone()),
        }
    }

    /// Plays the steps of a scenario, each at its time after now.
    pub async fn play(&self, steps: Vec<(Duration, Behaviour)>) {
        let start = tokio::time::Instant::now();
        for (after, behaviour) in steps {
            tokio::time::sleep_until(start + after).await;
            if let Err(error) = self.behave(&behaviour) {
                tracing::warn!(%error, "a step of the scenario is not played");
            }
        }
    }

    /// The certificate (PEM) that signs SES notifications; `None` for the other kinds.
    #[must_use]
    pub fn certificate_pem(&self) -> Option<String> {
        let signer = self.signer().filter(|_| self.inner.kind == Kind::Ses);
        signer.map(|signer| signer.certificate_pem.clone())
    }

    /// The public key (PEM) of a service that signs its webhooks with a key pair.
    #[must_use]
    pub fn public_key_pem(&self) -> Option<String> {
        self.signer().map(|signer| signer.public_key_pem.clone())
    }

    /// Serves the service's API on `listener`, and the control endpoints there too (HTTP kinds)
    /// and on `control` (any kind), until `shutdown`.
    ///
    /// # Errors
    /// When the signing certificate cannot be written to its file. Trouble with one connection
    /// ends that connection only.
    pub async fn serve(
        &self,
        listener: TcpListener,
        control: Option<TcpListener>,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        self.write_certificate().await?;
        let control_router = control::router(self.clone());
        let service = async {
            match self.inner.kind {
                Kind::Ses => {
                    let router = ses::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Mailgun => {
                    let router = mailgun::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Elasticemail => {
                    let router = elasticemail::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Mailtrap => {
                    let router = mailtrap::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Smtp2go => {
                    let router = smtp2go::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Postal => {
                    let router = postal::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Postmark => {
                    let router = postmark::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Mailjet => {
                    let router = mailjet::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Sparkpost => {
                    let router = sparkpost::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Brevo => {
                    let router = brevo::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Sendgrid => {
                    let router = sendgrid::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Resend => {
                    let router = resend::router(self.clone()).merge(control_router.clone());
                    http::serve(listener, router, shutdown.clone()).await;
                }
                Kind::Smtp => smtp::serve(listener, self.clone(), shutdown.clone()).await,
            }
        };
        let side = async {
            if let Some(control) = control {
                http::serve(control, control_router.clone(), shutdown.clone()).await;
            }
        };
        let reporting = reporter::run(self.clone(), shutdown.clone());
        tokio::join!(service, side, reporting);
        Ok(())
    }

    pub(crate) fn config(&self) -> &SandboxConfig {
        &self.inner.config
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.inner.mailbox
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    pub(crate) fn suppressed(&self) -> &SuppressedList {
        &self.inner.suppressed
    }

    /// Why the service sends nothing to this address, if its list stops it in one of these parts.
    pub(crate) fn stops(&self, address: &str, parts: &[&str]) -> Option<Why> {
        let is_on = self.inner.config.account.stops_suppressed;
        is_on.then(|| self.inner.suppressed.stops(address, parts))?
    }

    pub(crate) fn mood(&self) -> &Mood {
        &self.inner.mood
    }

    pub(crate) fn signer(&self) -> Option<&Signer> {
        let make = || match self.inner.kind {
            Kind::Ses | Kind::Postal => Signer::rsa().ok(),
            Kind::Sendgrid => Signer::ecdsa().ok(),
            Kind::Mailgun
            | Kind::Elasticemail
            | Kind::Mailtrap
            | Kind::Smtp2go
            | Kind::Postmark
            | Kind::Mailjet
            | Kind::Sparkpost
            | Kind::Brevo
            | Kind::Resend
            | Kind::Smtp => None,
        };
        self.inner.signer.get_or_init(make).as_ref()
    }

    async fn write_certificate(&self) -> io::Result<()> {
        let Some(path) = &self.inner.config.ses.certificate_file else {
            return Ok(());
        };
        match self.certificate_pem() {
            Some(pem) => tokio::fs::write(path, pem).await,
            None => Ok(()),
        }
    }
}

/// Serves a new simulator on `listener`, and its control endpoints on
/// [`SandboxConfig::control_listen`] when that is given, until `shutdown`.
///
/// # Errors
/// When the control address cannot be bound or the certificate not written.
pub async fn serve(
    listener: TcpListener,
    kind: Kind,
    config: SandboxConfig,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let control = match config.control_listen {
        Some(address) => Some(TcpListener::bind(address).await?),
        None => None,
    };
    Sandbox::new(kind, config)
        .serve(listener, control, shutdown)
        .await
}
