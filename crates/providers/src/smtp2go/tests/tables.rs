//! The configuration's table.

use malote_core::fault::Severity;

use super::built;
use crate::ProviderConfig;

#[test]
fn a_key_alone_goes_by_api_and_a_user_by_smtp() {
    for (toml, is_api, warnings) in [
        ("", true, 0),
        ("transport = 'api'\nregion = 'eu'", true, 0),
        ("user = 'shop'", false, 0),
        ("transport = 'smtp'\nuser = 'shop'\nregion = 'au'", false, 0),
        ("endpoint = 'http://127.0.0.1:1'", true, 0),
        (
            "user = 'shop'\nendpoint = 'smtp://127.0.0.1:2525'",
            false,
            0,
        ),
        ("transport = 'smtp'", false, 1),
    ] {
        let (adapter, faults) = built(&format!("[smtp2go]\napi_key = 'api-1'\n{toml}"));
        let adapter = adapter.unwrap_or_else(|| panic!("{toml} {faults:?}"));
        assert_eq!(adapter.provider.kind(), "smtp2go");
        let bytes = adapter.provider.capabilities().message_bytes_max;
        assert_eq!(bytes < 50_000_000, is_api, "{toml}");
        let told = faults.iter().filter(|f| f.path.ends_with(".user"));
        assert_eq!(told.count(), warnings, "{toml} {faults:?}");
    }
}

#[test]
fn faults_of_the_table_name_their_key() {
    for (toml, path) in [
        ("[smtp2go]", "smtp2go.api_key"),
        ("[smtp2go]\nuser = 'shop'", "smtp2go.api_key"),
        ("[smtp2go]\napi_key = 'a b'", "smtp2go.api_key"),
        (
            "[smtp2go]\napi_key = 'k'\nendpoint = 'http://api.smtp2go.com'",
            "smtp2go.endpoint",
        ),
        (
            "[smtp2go]\napi_key = 'k'\nuser = 'u'\nendpoint = 'https://x.example'",
            "smtp2go.endpoint",
        ),
        (
            "[smtp2go]\napi_key = 'k'\nuser = 'u'\ntransport = 'api'",
            "smtp2go.user",
        ),
        ("[smtp2go]\napi_key = 'k'\n[webhook]", "webhook.secret"),
        (
            "[smtp2go]\napi_key = 'k'\nuser = 'u'\n[webhook]",
            "webhook.secret",
        ),
        (
            "[smtp2go]\napi_key = 'k'\n[pools.a]\nip_pool = 'x'",
            "pools.a.ip_pool",
        ),
    ] {
        let (_, faults) = built(toml);
        let path = format!("providers.go.{path}");
        let is_told = |fault: &malote_core::fault::ConfigFault| {
            fault.path == path && fault.severity == Severity::Error
        };
        assert!(faults.iter().any(is_told), "{toml} {faults:?}");
    }
    let unknown = toml::from_str::<ProviderConfig>("[smtp2go]\napi_kex = 'k'");
    assert!(unknown.unwrap_err().to_string().contains("api_kex"));
}
