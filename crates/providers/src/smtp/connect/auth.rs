//! AUTH: by password or by access token.

use malote_core::provider::{Reply, SendError, Verdict};
use malote_core::secret::Secret;

use super::{Endpoint, unusable};
use crate::echo;
use crate::smtp::classify::Stage;
use crate::smtp::command;
use crate::smtp::connection::{Link, Trouble};
use crate::smtp::login::Proof;
use crate::smtp::oauth::Tokens;
use crate::smtp::reply::ServerReply;

/// What a server says to a token that it does not take (RFC 4954 6).
const CREDENTIALS_INVALID: u16 = 535;

impl Endpoint {
    pub(super) async fn log_in(&self, link: &mut Link) -> Result<(), SendError> {
        let Some(login) = &self.login else {
            return Ok(());
        };
        match &login.proof {
            Proof::Password(password) => self.by_password(link, &login.user, password).await,
            Proof::Token(tokens) => self.by_token(link, &login.user, tokens).await,
        }
    }

    async fn by_password(
        &self,
        link: &mut Link,
        user: &str,
        password: &Secret,
    ) -> Result<(), SendError> {
        let wait = self.timing.auth;
        if link.extensions.auth_plain {
            let line = command::auth_plain(user, password);
            let reply = link.ask(&line, wait).await;
            return self.prove(&line, password, reply);
        }
        if !link.extensions.auth_login {
            return Err(unusable(
                "the server offers neither AUTH PLAIN nor AUTH LOGIN",
            ));
        }
        self.expect(Stage::Auth, 334, link.ask("AUTH LOGIN\r\n", wait).await)?;
        let user = command::auth_login_answer(user);
        self.expect(Stage::Auth, 334, link.ask(&user, wait).await)?;
        let line = command::auth_login_answer(password.expose());
        let reply = link.ask(&line, wait).await;
        self.prove(&line, password, reply)
    }

    /// The answer to a line that proves by a secret who we are. Some servers repeat what they did
    /// not understand: neither of that line's proof nor of the secret anything is kept.
    fn prove(
        &self,
        line: &str,
        secret: &Secret,
        reply: Result<ServerReply, Trouble>,
    ) -> Result<(), SendError> {
        let proven = self.expect(Stage::Auth, 235, reply);
        proven.map(drop).map_err(|error| {
            let proof = line.trim_end().rsplit(' ').next().unwrap_or_default();
            let text = echo::masked_text(error.reply.text(), [&Secret::new(proof), secret]);
            let reply = Reply::new(error.reply.code, error.reply.enhanced.clone(), &text);
            SendError { reply, ..error }
        })
    }

    /// A token that is refused may have been withdrawn before its end: once more with a new one.
    async fn by_token(
        &self,
        link: &mut Link,
        user: &str,
        tokens: &Tokens,
    ) -> Result<(), SendError> {
        let token = tokens.get().await?;
        match self.show_token(link, user, &token.text).await {
            Err(error) if error.reply.code == Some(CREDENTIALS_INVALID) => {
                tokens.refused(&token);
                // What is not about the token (a limit that is told as 535) a new one mends not.
                if error.verdict != Verdict::ProviderUnusable {
                    return Err(error);
                }
                let token = tokens.get().await?;
                self.show_token(link, user, &token.text).await
            }
            other => other,
        }
    }

    async fn show_token(
        &self,
        link: &mut Link,
        user: &str,
        token: &Secret,
    ) -> Result<(), SendError> {
        let wait = self.timing.auth;
        let extensions = &link.extensions;
        let (line, giving_up) = match (extensions.auth_xoauth2, extensions.auth_oauthbearer) {
            (true, _) => (command::auth_xoauth2(user, token), "\r\n"),
            (false, true) => {
                let line = command::auth_oauthbearer(user, &self.host, self.port, token);
                // RFC 7628 3.2.3: %x01 in base64.
                (line, "AQ==\r\n")
            }
            (false, false) => {
                return Err(unusable(
                    "the server offers neither AUTH XOAUTH2 nor AUTH OAUTHBEARER",
                ));
            }
        };
        let reply = link.ask(&line, wait).await;
        // 334 holds what is wrong, for machines; the answer to it is the refusal.
        let reply = match reply {
            Ok(challenge) if challenge.code == 334 => link.ask(giving_up, wait).await,
            other => other,
        };
        self.prove(&line, token, reply)
    }
}
