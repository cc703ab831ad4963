//! Public keys in the configuration: SubjectPublicKeyInfo in Base64, bare or as PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::fault::ConfigFault;

use crate::WebhookConfig;
use crate::settings;

/// Longest key's text; RSA with 8,192 bits has 1,500.
const TEXT_BYTES_MAX: usize = 4096;

/// The key of the table at `table` as `read` understands its octets (DER, RFC 5280 4.1.2.7); `what`
/// says which key is wanted. `None` if a fault is an error.
pub(crate) fn public_key<K>(
    table: &str,
    config: &WebhookConfig,
    faults: &mut Vec<ConfigFault>,
    (what, read): (&str, impl FnOnce(&[u8]) -> Option<K>),
) -> Option<K> {
    let source = config.public_key();
    if !settings::is_given(table, &source, faults) {
        return None;
    }
    let text = settings::open(table, &source, faults)?;
    let key = spki(text.expose()).and_then(|octets| read(&octets));
    if key.is_none() {
        let message = format!("is not {what}: SubjectPublicKeyInfo in Base64, or PEM");
        faults.push(ConfigFault::error(format!("{table}.public_key"), message));
    }
    key
}

/// The octets of a key. Line ends and PEM's lines (RFC 7468 13) around it do not matter, nor does a
/// DKIM record (RFC 6376 3.6.1) of which it is the `p=`, as zone files write it in quotes.
fn spki(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut tags = text.split(';').map(str::trim);
    let text = tags.find_map(|tag| tag.strip_prefix("p=")).unwrap_or(text);
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with("-----"));
    let is_of_key = |c: &char| !c.is_ascii_whitespace() && *c != '"';
    let base64: String = lines.flat_map(str::chars).filter(is_of_key).collect();
    STANDARD.decode(base64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_bare_and_as_pem() {
        let rows = [
            ("AQID", Some(vec![1, 2, 3])),
            ("AQ\r\nID\n", Some(vec![1, 2, 3])),
            (
                "-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\n",
                Some(vec![1, 2, 3]),
            ),
            ("v=DKIM1; t=s; h=sha256; p=AQID;", Some(vec![1, 2, 3])),
            ("\"v=DKIM1; p=AQ\" \"ID\"", Some(vec![1, 2, 3])),
            ("A?ID", None),
        ];
        for (text, octets) in rows {
            assert_eq!(spki(text), octets, "{text}");
        }
        assert_eq!(spki(&"A".repeat(TEXT_BYTES_MAX + 4)), None);
    }

    #[test]
    fn a_key_that_is_missing_or_wrong_is_told_and_a_good_one_is_no_secret() {
        let key = |text: Option<&str>| {
            let config = WebhookConfig {
                public_key: text.map(str::to_owned),
                ..WebhookConfig::default()
            };
            let mut faults = Vec::new();
            let read = |octets: &[u8]| (octets == [1, 2, 3]).then_some(());
            let key = public_key("t", &config, &mut faults, ("a key", read));
            (
                key,
                faults
                    .into_iter()
                    .map(|f| f.to_string())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(key(Some("AQID")), (Some(()), Vec::new()));
        let (none, faults) = key(Some("AQIE"));
        assert!(none.is_none() && faults[0].starts_with("t.public_key: is not a key"));
        let (none, faults) = key(None);
        assert!(none.is_none() && faults[0].starts_with("t.public_key: is missing"));
    }
}
