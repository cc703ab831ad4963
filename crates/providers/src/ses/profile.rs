//! The shared credentials file of the AWS tools: sections of `key = value` lines.

use malote_core::secret::Secret;

use super::sign::Keys;

/// The keys of a profile; `None` if it is missing or has no static keys (those that name another
/// source, such as `credential_process`, are not followed).
pub(crate) fn keys(text: &str, profile: &str) -> Option<Keys> {
    let mut is_ours = false;
    let mut access_key_id = None;
    let mut secret_access_key = None;
    let mut session_token = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.split_once(']')) {
            is_ours = section.0.trim() == profile;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_ours) else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            _ if value.is_empty() => {}
            "aws_access_key_id" => access_key_id = Some(value.to_owned()),
            "aws_secret_access_key" => secret_access_key = Some(Secret::new(value)),
            "aws_session_token" => session_token = Some(Secret::new(value)),
            _ => {}
        }
    }
    Some(Keys {
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        session_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[default]\naws_access_key_id=AKIADEFAULT\n\
        aws_secret_access_key = secret=with/equals\n\n[ mail ]\r\naws_access_key_id = AKIAMAIL\r\n\
        aws_secret_access_key = s\r\naws_session_token = t\r\n[empty]\naws_access_key_id =\n";

    #[test]
    fn each_profile_has_its_own_keys() {
        let found = keys(FILE, "default").unwrap();
        assert_eq!(found.access_key_id, "AKIADEFAULT");
        assert_eq!(found.secret_access_key.expose(), "secret=with/equals");
        assert!(found.session_token.is_none());
        let found = keys(FILE, "mail").unwrap();
        assert_eq!(found.access_key_id, "AKIAMAIL");
        assert_eq!(found.session_token.unwrap().expose(), "t");
    }

    #[test]
    fn a_missing_or_empty_profile_has_none() {
        for profile in ["empty", "nobody", ""] {
            assert!(keys(FILE, profile).is_none(), "{profile}");
        }
        assert!(keys("garbage\0[[[\n=\n", "default").is_none());
    }
}
