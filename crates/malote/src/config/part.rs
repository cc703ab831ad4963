//! One table of a configuration, for a command that needs no more: what is wrong elsewhere, and a
//! secret that only the gateway can read, does not keep an operator from asking it.

use std::ffi::OsString;
use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_store::PostgresSettings;

use super::doors::{self, Admin};
use super::raw::RawConfig;
use super::read::Reading;
use super::report::Report;
use super::store::{self, StoreSettings};

/// How a running gateway is asked, as far as the configuration says.
#[derive(Debug, Clone)]
pub struct AdminPart {
    /// Address, and the token if it can be read from here.
    pub admin: Admin,
    /// Why the token cannot be read.
    pub token_fault: Option<String>,
}

/// Where mail and what nodes share are kept.
#[derive(Clone)]
pub struct StorePart {
    /// `[store.sqlite]` or `[store.postgres]`.
    pub store: StoreSettings,
    /// `[shared.postgres]`; `None` if what nodes share is kept in the store.
    pub shared: Option<PostgresSettings>,
}

/// Reads `[admin]` and nothing else, by the rules of [`super::read()`].
///
/// # Errors
/// What is wrong with the address or with a file as a whole.
pub fn read_admin(
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<AdminPart, Report> {
    let mut reading = Reading::tables(files, environment, &["admin"]);
    let Some(raw) = reading.extract::<RawConfig>() else {
        return Err(reading.report());
    };
    if reading.is_partial() || reading.is_broken("admin.listen") {
        return Err(reading.report());
    }
    let mut faults = Vec::new();
    let admin = doors::admin(&raw.admin, &mut faults);
    let of_token = faults.iter().find(|fault| fault.path == "admin.token");
    let token_fault = of_token.map(ConfigFault::to_string);
    Ok(AdminPart { admin, token_fault })
}

/// Reads `[store]` and `[shared]` and nothing else, by the rules of [`super::read()`].
///
/// # Errors
/// What is wrong with them or with a file as a whole.
pub fn read_store(
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<StorePart, Report> {
    let mut reading = Reading::tables(files, environment, &["store", "shared"]);
    let Some(raw) = reading.extract::<RawConfig>() else {
        return Err(reading.report());
    };
    let mut faults = Vec::new();
    if raw.store.is_empty() {
        faults.push(store::none());
    }
    let (store, shared) = store::build(&raw.store, &raw.shared, &mut faults);
    reading.add_faults(faults);
    match store {
        Some(store) if !reading.has_errors() => Ok(StorePart { store, shared }),
        Some(_) | None => Err(reading.report()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `text` to a file and reads what `read` reads of it.
    fn of<T>(
        text: &str,
        variables: &[(&str, &str)],
        read: impl Fn(&[PathBuf], Vec<(OsString, OsString)>) -> Result<T, Report>,
    ) -> Result<T, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("malote.toml");
        std::fs::write(&file, text).unwrap();
        let variables = variables
            .iter()
            .map(|(name, text)| (name.into(), text.into()));
        read(&[file], variables.collect()).map_err(|report| report.to_string())
    }

    #[test]
    fn the_gateway_is_found_whatever_else_is_wrong() {
        let admin = "[admin]\nlisten = '127.0.0.1:81'\ntoken_env = 'MALOTE_TEST_NOT_SET'\n";
        for rest in [
            "",
            "[providers.x.sendgird]\nkey = 7\n[nonsense]\n",
            "[http]\nlisten = \n",
            "[http\n[[rules]]\nname = 'unended\n",
            "[http]\n[http]\n",
        ] {
            for text in [format!("{admin}{rest}"), format!("{rest}{admin}")] {
                let part = of(&text, &[("MALOTE_HTTP__LISTEN__X", "y")], read_admin);
                let part = part.unwrap_or_else(|said| panic!("{text}: {said}"));
                assert_eq!(part.admin.listen.to_string(), "127.0.0.1:81", "{text}");
                let fault = part.token_fault.unwrap();
                assert!(fault.contains("MALOTE_TEST_NOT_SET"), "{fault}");
            }
        }
        let variable = [("MALOTE_ADMIN__LISTEN", "127.0.0.1:82")];
        let part = of(admin, &variable, read_admin).unwrap();
        assert_eq!(part.admin.listen.to_string(), "127.0.0.1:82");
    }

    #[test]
    fn a_file_that_sets_nothing_of_a_table_may_be_no_toml() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["malote.toml", "more.toml"].map(|name| dir.path().join(name));
        std::fs::write(&files[0], "[admin]\nlisten = '127.0.0.1:81'\n").unwrap();
        for text in [
            "[http\n",
            "[[rules]]\nname = 'unended\n",
            "administrator = \n",
        ] {
            std::fs::write(&files[1], text).unwrap();
            for files in [files.clone(), [files[1].clone(), files[0].clone()]] {
                let part = read_admin(&files, []);
                let part = part.unwrap_or_else(|said| panic!("{text}: {said}"));
                assert_eq!(part.admin.listen.to_string(), "127.0.0.1:81", "{text}");
            }
        }
        for text in [
            "[admin\n",
            "admin.listen = \n",
            "http = \nadmin = {}\n",
            "\"admin\".listen =\n",
        ] {
            std::fs::write(&files[1], text).unwrap();
            let found = read_admin(&files, []).err().unwrap().to_string();
            assert!(found.contains("more.toml:"), "{text}: {found}");
        }
    }

    #[test]
    fn an_address_that_nobody_can_know_is_not_guessed() {
        for (text, said) in [
            ("[admin]\nlisten = 'here'\n[nonsense]\n", "admin.listen"),
            ("[admin]\nlisen = '127.0.0.1:81'\n", "admin.lisen"),
            ("admin.listen = '127.0.0.1:81'\n[http\n", "malote.toml:2"),
            ("[admin]\nlisten = '127.0.0.1\n", "malote.toml:2"),
        ] {
            let found = of(text, &[], read_admin).err().unwrap();
            assert!(found.contains(said), "{text}: {found}");
            assert!(!found.contains("nonsense"), "{found}");
        }
    }

    #[test]
    fn the_store_is_found_whatever_else_is_wrong() {
        let text = "[store.sqlite]\npath = 'var/m.db'\n[credentials.shop]\napi_key_env = 'NONE'\n";
        let part = of(text, &[], read_store).unwrap();
        assert_eq!(part.store.place(), "var/m.db");
        assert!(part.shared.is_none());
        let found = of("[http]\n", &[], read_store).err().unwrap();
        assert!(found.contains("store: there is none"), "{found}");
    }
}
