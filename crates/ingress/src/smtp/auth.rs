//! The SASL exchanges of AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN.
//!
//! CRAM-MD5 is not offered: it needs the password in clear on the server, and clients prefer it
//! wherever they see it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::secret::Secret;

use super::reply::{BAD_BASE64, BAD_LOGIN, LOGIN_CANCELLED, Reply, UNKNOWN_MECHANISM};

/// A user and password that somebody presented.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// The user name; text that was not UTF-8 has replacement characters and matches nobody.
    pub(crate) user: String,
    /// The password.
    pub(crate) password: Secret,
}

/// An exchange that waits for the client's next line.
#[derive(Debug, Clone)]
pub(crate) enum Exchange {
    /// PLAIN without an initial response.
    Plain,
    /// LOGIN, the user name is next.
    LoginUser,
    /// LOGIN, the password is next.
    LoginPassword {
        /// The user name.
        user: String,
    },
}

/// What follows from a line of an exchange.
#[derive(Debug, Clone)]
pub(crate) enum SaslStep {
    /// `334` with this text, then the client's next line.
    Challenge(&'static str, Exchange),
    /// The exchange is complete: is this somebody?
    Check(Login),
    /// The exchange is over.
    Refuse(Reply),
}

/// `Username:` and `Password:`, which LOGIN's clients compare or ignore.
const USERNAME: &str = "VXNlcm5hbWU6";
const PASSWORD: &str = "UGFzc3dvcmQ6";

/// Begins an exchange with the arguments of AUTH: a mechanism and perhaps an initial response.
pub(crate) fn begin(arguments: &[u8]) -> SaslStep {
    let end = memchr::memchr(b' ', arguments).unwrap_or(arguments.len());
    let (mechanism, rest) = arguments.split_at(end);
    let initial = rest.trim_ascii();
    if mechanism.eq_ignore_ascii_case(b"PLAIN") {
        match initial {
            b"" => SaslStep::Challenge("", Exchange::Plain),
            response => proceed(Exchange::Plain, response),
        }
    } else if mechanism.eq_ignore_ascii_case(b"LOGIN") {
        match initial {
            b"" => SaslStep::Challenge(USERNAME, Exchange::LoginUser),
            user => proceed(Exchange::LoginUser, user),
        }
    } else {
        SaslStep::Refuse(UNKNOWN_MECHANISM)
    }
}

/// Goes on with the client's next line.
pub(crate) fn proceed(exchange: Exchange, line: &[u8]) -> SaslStep {
    if line == b"*" {
        return SaslStep::Refuse(LOGIN_CANCELLED);
    }
    // RFC 4954 4: a lone `=` is a response of no octets.
    let encoded = if line == b"=" { b"" } else { line };
    let Ok(decoded) = STANDARD.decode(encoded) else {
        return SaslStep::Refuse(BAD_BASE64);
    };
    match exchange {
        Exchange::Plain => plain(&decoded),
        Exchange::LoginUser => {
            let user = String::from_utf8_lossy(&decoded).into_owned();
            SaslStep::Challenge(PASSWORD, Exchange::LoginPassword { user })
        }
        Exchange::LoginPassword { user } => SaslStep::Check(Login {
            user,
            password: secret(&decoded),
        }),
    }
}

/// `[authzid] NUL authcid NUL passwd` (RFC 4616 2). Acting for another user is not offered;
/// Symfony's mailer names the same user twice, which is fine.
fn plain(message: &[u8]) -> SaslStep {
    if message.is_empty() {
        return SaslStep::Refuse(BAD_LOGIN);
    }
    let mut parts = message.split(|octet| *octet == 0);
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return SaslStep::Refuse(BAD_BASE64);
    };
    if authcid.is_empty() || !(authzid.is_empty() || authzid == authcid) {
        return SaslStep::Refuse(BAD_LOGIN);
    }
    SaslStep::Check(Login {
        user: String::from_utf8_lossy(authcid).into_owned(),
        password: secret(password),
    })
}

fn secret(octets: &[u8]) -> Secret {
    Secret::new(String::from_utf8_lossy(octets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain_of(message: &str) -> Vec<u8> {
        format!("PLAIN {}", STANDARD.encode(message)).into_bytes()
    }

    fn shown(step: SaslStep) -> String {
        match step {
            SaslStep::Challenge(text, exchange) => format!("334 {text} {exchange:?}"),
            SaslStep::Check(login) => format!("{} {}", login.user, login.password.expose()),
            SaslStep::Refuse(reply) => format!("{} {}", reply.code, reply.enhanced),
        }
    }

    #[test]
    fn both_forms_of_plain_and_login_end_in_a_check() {
        assert_eq!(shown(begin(&plain_of("\0shop\0pw"))), "shop pw");
        assert_eq!(shown(begin(&plain_of("shop\0shop\0pw"))), "shop pw");
        assert_eq!(shown(begin(b"plain")), "334  Plain");
        assert_eq!(shown(proceed(Exchange::Plain, b"AHNob3AAcHc=")), "shop pw");
        let step = begin(b"LOGIN");
        assert_eq!(shown(step), "334 VXNlcm5hbWU6 LoginUser");
        let SaslStep::Challenge(PASSWORD, exchange) = begin(b"login c2hvcA==") else {
            panic!("no challenge for the password");
        };
        assert_eq!(shown(proceed(exchange, b"cHc=")), "shop pw");
    }

    #[test]
    fn other_exchanges_have_their_reply() {
        for (arguments, reply) in [
            (plain_of("other\0shop\0pw"), "535 5.7.8"),
            (plain_of("\0\0pw"), "535 5.7.8"),
            (plain_of("\0shop\0pw\0"), "501 5.5.2"),
            (plain_of("shop"), "501 5.5.2"),
            (b"PLAIN =".to_vec(), "535 5.7.8"),
            (b"PLAIN !!!".to_vec(), "501 5.5.2"),
            (b"PLAIN AHNob3AAcHc".to_vec(), "501 5.5.2"),
            (b"PLAIN *".to_vec(), "501 5.7.0"),
            (b"LOGIN *".to_vec(), "501 5.7.0"),
            (b"XFOO".to_vec(), "504 5.5.4"),
            (b"CRAM-MD5".to_vec(), "504 5.5.4"),
        ] {
            assert_eq!(shown(begin(&arguments)), reply);
        }
    }

    #[test]
    fn a_user_with_a_line_end_is_somebody_unknown_and_no_syntax_error() {
        assert_eq!(shown(begin(&plain_of("\0shop\r\nX\0pw"))), "shop\r\nX pw");
    }

    proptest! {
        #[test]
        fn exchanges_never_panic(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            drop(begin(&line));
            drop(proceed(Exchange::Plain, &line));
            drop(proceed(Exchange::LoginUser, &line));
        }
    }
}
