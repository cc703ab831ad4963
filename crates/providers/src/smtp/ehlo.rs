//! What a server offers in its answer to EHLO.

use super::reply::ServerReply;

/// The extensions that the adapter uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Extensions {
    /// `SIZE` (RFC 1870): largest message in octets, 0 if the server does not say.
    pub(crate) size: Option<u64>,
    /// `8BITMIME` (RFC 6152).
    pub(crate) eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub(crate) smtputf8: bool,
    /// `PIPELINING` (RFC 2920).
    pub(crate) pipelining: bool,
    /// `DSN` (RFC 3461).
    pub(crate) dsn: bool,
    /// `STARTTLS` (RFC 3207).
    pub(crate) starttls: bool,
    /// `AUTH PLAIN` (RFC 4954).
    pub(crate) auth_plain: bool,
    /// `AUTH LOGIN`.
    pub(crate) auth_login: bool,
    /// `AUTH XOAUTH2`.
    pub(crate) auth_xoauth2: bool,
    /// `AUTH OAUTHBEARER` (RFC 7628).
    pub(crate) auth_oauthbearer: bool,
}

impl Extensions {
    /// Reads the lines behind the greeting. Unknown keywords are passed over.
    pub(crate) fn parse(reply: &ServerReply) -> Self {
        let mut found = Self::default();
        for line in reply.lines().skip(1) {
            // Old Exchange and others write `AUTH=LOGIN`.
            let mut words = line.split([' ', '=', '\t']).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "SIZE" => found.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                "8BITMIME" => found.eight_bit = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "PIPELINING" => found.pipelining = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.starttls = true,
                "AUTH" => {
                    for mechanism in words {
                        found.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        found.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                        found.auth_xoauth2 |= mechanism.eq_ignore_ascii_case("XOAUTH2");
                        found.auth_oauthbearer |= mechanism.eq_ignore_ascii_case("OAUTHBEARER");
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The largest message, if the server says one.
    pub(crate) fn size_max(&self) -> Option<u64> {
        self.size.filter(|bytes| *bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply;
    use super::*;

    fn read(text: &str) -> Extensions {
        let (reply, _) = reply::parse(text.as_bytes()).unwrap().unwrap();
        Extensions::parse(&reply)
    }

    #[test]
    fn extensions_are_read_in_any_case_and_unknown_ones_passed_over() {
        let all = read(
            "250-mx SIZE 5\r\n250-size 1000\r\n250-8bitmime\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n\
             250-DSN\r\n250-STARTTLS\r\n250-X-NEW 1 2\r\n250 AUTH CRAM-MD5 plain LOGIN XOAUTH2 OAuthBearer\r\n",
        );
        let expected = Extensions {
            size: Some(1000),
            eight_bit: true,
            smtputf8: true,
            pipelining: true,
            dsn: true,
            starttls: true,
            auth_plain: true,
            auth_login: true,
            auth_xoauth2: true,
            auth_oauthbearer: true,
        };
        assert_eq!(all, expected);
        assert_eq!(read("250 PIPELINING is my name\r\n"), Extensions::default());
        assert!(read("250-mx\r\n250 AUTH=LOGIN\r\n").auth_login);
    }

    #[test]
    fn a_size_of_nothing_zero_or_nonsense_is_no_bound() {
        for size in ["SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999"] {
            assert_eq!(
                read(&format!("250-mx\r\n250 {size}\r\n")).size_max(),
                None,
                "{size}"
            );
        }
    }
}
