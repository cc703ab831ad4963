//! EHLO, STARTTLS and AUTH: what stands before a transaction.

use std::sync::Arc;

use malote_core::credential::Credential;

use super::super::auth::{self, Exchange, SaslStep};
use super::super::reply::{self, Reply};
use super::{CloseReason, Greeting, LOGIN_FAILURES_MAX, Session, State, Step};

impl Session {
    /// EHLO and HELO. Any name will do: Mautic's mailer says `[127.0.0.1]`. The envelope goes, the
    /// login stays (RFC 5321 4.1.4).
    pub(super) fn greet(&mut self, name: &[u8], is_extended: bool) -> Option<Step> {
        self.transaction = None;
        self.greeting = Some(Greeting {
            is_extended,
            name: name.to_vec(),
        });
        if !self.has_idle_command_left() {
            return None;
        }
        let hostname = Arc::clone(&self.rules.hostname);
        if !is_extended {
            self.write(&Reply::with_text(250, "", hostname.to_string()));
            return None;
        }
        let size = format!("SIZE {}", self.rules.message_bytes_max);
        let mut lines = vec![
            &*hostname,
            "PIPELINING",
            &size,
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ];
        // Who takes mail back sends no notifications.
        if self.rules.returns.is_none() {
            lines.push("DSN");
        }
        if self.rules.offers_starttls && !self.peer.is_tls {
            lines.push("STARTTLS");
        }
        if self.may_log_in() {
            lines.push("AUTH PLAIN LOGIN");
        }
        for line in lines {
            self.output.extend_from_slice(b"250-");
            self.output.extend_from_slice(line.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
        self.write(&Reply::new(250, "", "CHUNKING"));
        None
    }

    /// Whether AUTH is offered: never in clear, unless the listener says so (RFC 4954 4), and never
    /// where mail comes back.
    fn may_log_in(&self) -> bool {
        self.rules.returns.is_none() && (self.peer.is_tls || self.rules.is_trusted_plaintext)
    }

    pub(super) fn start_tls(&mut self) -> Option<Step> {
        if self.peer.is_tls {
            return self.fail(&reply::BAD_SEQUENCE);
        }
        if !self.rules.offers_starttls {
            return self.fail(&reply::NOT_IMPLEMENTED);
        }
        if !self.input.is_empty() {
            // What stands behind STARTTLS in clear would be taken for what the client said under
            // TLS (RFC 3207 4.2).
            self.close(CloseReason::StartTlsInjection);
            return None;
        }
        self.write(&reply::READY_FOR_TLS);
        self.state = State::Waiting;
        Some(Step::StartTls)
    }

    /// The handshake is made: everything said in clear is forgotten (RFC 3207 4.2).
    pub(crate) fn tls_started(&mut self) {
        self.peer.is_tls = true;
        self.input.clear();
        self.scanned = 0;
        self.greeting = None;
        self.login = None;
        self.transaction = None;
        self.state = State::Command;
    }

    pub(super) fn auth(&mut self, arguments: &[u8]) -> Option<Step> {
        if self.rules.returns.is_some() {
            return self.fail(&reply::NOT_IMPLEMENTED);
        }
        if self.greeting.is_none() {
            return self.fail(&reply::GREETING_MISSING);
        }
        if self.login.is_some() || self.transaction.is_some() {
            return self.fail(&reply::BAD_SEQUENCE);
        }
        if !self.may_log_in() {
            return self.fail(&reply::ENCRYPTION_REQUIRED);
        }
        self.follow(auth::begin(arguments))
    }

    pub(super) fn take_sasl_line(&mut self, exchange: Exchange, line: &[u8]) -> Option<Step> {
        self.follow(auth::proceed(exchange, line))
    }

    fn follow(&mut self, step: SaslStep) -> Option<Step> {
        match step {
            SaslStep::Challenge(text, exchange) => {
                // RFC 4954 4: the space stands there even if the challenge is empty.
                self.output.extend_from_slice(b"334 ");
                self.output.extend_from_slice(text.as_bytes());
                self.output.extend_from_slice(b"\r\n");
                self.state = State::Sasl(exchange);
                None
            }
            SaslStep::Check(login) => {
                self.state = State::Waiting;
                Some(Step::Authenticate(login))
            }
            SaslStep::Refuse(refusal) if refusal == reply::BAD_LOGIN => {
                self.authenticated(None);
                None
            }
            SaslStep::Refuse(refusal) => self.fail(&refusal),
        }
    }

    /// The answer to [`Step::Authenticate`]: whose login it was, if anybody's.
    pub(crate) fn authenticated(&mut self, credential: Option<Arc<Credential>>) {
        self.state = State::Command;
        if credential.is_some() {
            self.login = credential;
            self.login_failures = 0;
            self.write(&reply::LOGGED_IN);
            return;
        }
        self.login_failures += 1;
        self.write(&reply::BAD_LOGIN);
        if self.login_failures >= LOGIN_FAILURES_MAX {
            self.close(CloseReason::LoginFailures);
        }
    }
}
