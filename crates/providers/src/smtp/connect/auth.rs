//! AUTH: by password or by access token.

use malote_core::provider::{Reply, SendError, Verdict};
use malote_core::secret::Secret;

use super::{Endpoint, unusable};
use crate::smtp::classify::Stage;
use crate::smtp::command;
use crate::smtp::connection::{Link, Trouble};
use crate::smtp::login::Proof;
use crate::smtp::oauth::Tokens;
use crate::smtp::reply::ServerReply;

/// What a server says to a token that it does not take (RFC 4954 6).
const CREDENTIALS_INVALID: u16 = 535;
/// Octets of a word that may be a part of a proof; shorter ones stand in it by chance.
const PROOF_PART_MIN: usize = 6;

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
            return self.prove(&line, reply);
        }
        if !link.extensions.auth_login {
            return Err(unusable(
                "the server offers neither AUTH PLAIN nor AUTH LOGIN",
            ));
        }
        self.expect(Stage::Auth, 334, link.ask("AUTH LOGIN\r\n", wait).await)?;
        let user = command::auth_login_answer(user);
        self.expect(Stage::Auth, 334, link.ask(&user, wait).await)?;
        let password = command::auth_login_answer(password.expose());
        let reply = link.ask(&password, wait).await;
        self.prove(&password, reply)
    }

    /// The answer to a line that proves who we are. Some servers repeat what they did not
    /// understand: of that line nothing is kept.
    fn prove(&self, line: &str, reply: Result<ServerReply, Trouble>) -> Result<(), SendError> {
        let proven = self.expect(Stage::Auth, 235, reply);
        proven.map(drop).map_err(|error| SendError {
            reply: without_proof(line, error.reply),
            ..error
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
        self.prove(&line, reply)
    }
}

/// A reply without the words that are a part of the proof which ends this line; servers cut what
/// they repeat, and put it in quotes.
fn without_proof(line: &str, reply: Reply) -> Reply {
    let proof = line.trim_end().rsplit(' ').next().unwrap_or_default();
    let is_proof = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        bare.len() >= PROOF_PART_MIN && proof.contains(bare)
    };
    let words = reply.text().split(' ');
    let words: Vec<&str> = words
        .map(|word| if is_proof(word) { "***" } else { word })
        .collect();
    Reply::new(reply.code, reply.enhanced.clone(), &words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_comes_back_is_left_out() {
        let line = "AUTH PLAIN AHUAUzNjcjN0TWFya2Vy\r\n";
        for (said, kept) in [
            ("bad credentials", "bad credentials"),
            (
                "unknown: AUTH PLAIN AHUAUzNjcjN0TWFya2Vy",
                "unknown: AUTH PLAIN ***",
            ),
            ("what is <AHUAUzNjcjN0TW...>?", "what is ***"),
            ("\"AHUAUzNj\" no", "*** no"),
        ] {
            let reply = Reply::new(Some(500), None, said);
            assert_eq!(without_proof(line, reply).text(), kept);
        }
    }
}
