//! Where configuration comes from: files with their guards, and environment variables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path as FilePath, PathBuf};

use super::tree::{Member, Node, Place, Value};

/// Largest configuration file. Far above any real one; a bigger file is a mistake in the command.
pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;

/// What variables of configuration begin with.
const PREFIX: &str = "MALOTE_";

/// Something that sets values.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A file and its text.
    File { path: PathBuf, text: String },
    /// An environment variable.
    Variable(String),
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileFault {
    #[error("cannot be opened")]
    Unopenable(#[source] io::Error),
    #[error("is not a regular file")]
    NotRegular,
    #[error("is larger than 4 MiB: this is not a configuration file")]
    TooLarge,
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    #[error("is not UTF-8: the octet at {0} does not belong")]
    NotUtf8(usize),
}

/// Reads a file that may be anything: a pipe, a directory, a disk image. Never hangs and never
/// takes more than [`FILE_BYTES_MAX`].
///
/// # Errors
/// A [`FileFault`].
pub(crate) fn read_file(path: &FilePath) -> Result<String, FileFault> {
    // Without O_NONBLOCK, opening a pipe waits for a writer that may never come.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(FileFault::Unopenable)?;
    let about = file.metadata().map_err(FileFault::Unopenable)?;
    if !about.is_file() {
        return Err(FileFault::NotRegular);
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(FileFault::TooLarge);
    }
    let mut octets = Vec::new();
    let count = file
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut octets)
        .map_err(FileFault::Unreadable)?;
    if u64::try_from(count).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(FileFault::TooLarge);
    }
    String::from_utf8(octets).map_err(|fault| FileFault::NotUtf8(fault.utf8_error().valid_up_to()))
}

/// One variable of configuration: its name, the keys that it names, its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
    pub(crate) text: String,
}

/// The variables of configuration: `MALOTE_A__B` sets `a.b`. A variable without `__` is none, so
/// that `MALOTE_LOG` and a service manager's own variables stay out. Sorted by name.
pub(crate) fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<Variable> {
    let mut found: Vec<Variable> = environment
        .into_iter()
        .filter_map(|(name, text)| {
            let name = name.into_string().ok()?;
            let rest = name.strip_prefix(PREFIX)?;
            if !rest.contains("__") {
                return None;
            }
            let keys = rest.split("__").map(str::to_ascii_lowercase).collect();
            let text = text.to_string_lossy().into_owned();
            Some(Variable { name, keys, text })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Sets what a variable says, as source number `source`. A number as key reaches into a list that
/// the files have given: `MALOTE_SMTP__LISTENERS__0__LISTEN`.
///
/// # Errors
/// Which of its keys leads nowhere.
pub(crate) fn set_variable(
    root: &mut Node,
    variable: &Variable,
    source: usize,
) -> Result<(), String> {
    let place = Place { source, span: 0..0 };
    let Some((last, way)) = variable.keys.split_last() else {
        return Ok(());
    };
    if variable.keys.iter().any(String::is_empty) {
        return Err("has an empty part: write MALOTE_TABLE__KEY".to_owned());
    }
    let mut node = root;
    for key in way {
        node = step_into(node, key, &place)?;
    }
    let value = Node {
        value: Value::Variable(variable.text.clone()),
        place: place.clone(),
    };
    match &mut node.value {
        Value::Table(members) => {
            let key = place;
            members.insert(last.clone(), Member { key, node: value });
            Ok(())
        }
        Value::Array(_) => {
            *step_into(node, last, &place)? = value;
            Ok(())
        }
        Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Variable(_) => Err(format!("{last} cannot be set: its parent is no table")),
    }
}

fn step_into<'a>(node: &'a mut Node, key: &str, place: &Place) -> Result<&'a mut Node, String> {
    match &mut node.value {
        Value::Table(members) => {
            let member = members.entry(key.to_owned()).or_insert_with(|| Member {
                key: place.clone(),
                node: Node {
                    value: Value::Table(BTreeMap::new()),
                    place: place.clone(),
                },
            });
            Ok(&mut member.node)
        }
        Value::Array(elements) => {
            let count = elements.len();
            let element = key
                .parse()
                .ok()
                .and_then(|index: usize| elements.get_mut(index));
            element.map(|(_, node)| node).ok_or_else(|| {
                format!("{key} is no index of a list with {count} elements, counted from 0")
            })
        }
        Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Variable(_) => Err(format!("{key} cannot be set: its parent is no table")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, text: &str) -> Option<Variable> {
        variables([(name.into(), text.into())]).pop()
    }

    #[test]
    fn only_a_variable_with_a_double_underscore_is_configuration() {
        assert_eq!(variable("MALOTE_LOG", "debug"), None);
        assert_eq!(variable("OTHER_HTTP__LISTEN", "x"), None);
        let found = variable("MALOTE_HTTP__LISTEN", "x").unwrap();
        assert_eq!(found.keys, ["http", "listen"]);
    }

    #[test]
    fn a_variable_replaces_a_value_and_reaches_into_lists() {
        let mut root =
            Node::parse("[http]\nlisten = 'a'\n[[smtp.listeners]]\nlisten = 'b'", 0).unwrap();
        for name in ["MALOTE_HTTP__LISTEN", "MALOTE_SMTP__LISTENERS__0__LISTEN"] {
            set_variable(&mut root, &variable(name, "c").unwrap(), 1).unwrap();
        }
        for path in ["http.listen", "smtp.listeners[0].listen"] {
            let node = root.find(&super::super::tree::Path::parse(path)).unwrap();
            assert!(matches!(&node.value, Value::Variable(text) if text == "c"));
        }
        for name in [
            "MALOTE_HTTP__LISTEN__X",
            "MALOTE_SMTP__LISTENERS__7__LISTEN",
            "MALOTE_HTTP__",
        ] {
            assert!(set_variable(&mut root, &variable(name, "c").unwrap(), 1).is_err());
        }
    }

    #[test]
    fn what_is_not_a_regular_small_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_file(dir.path()),
            Err(FileFault::NotRegular | FileFault::Unopenable(_))
        ));
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()));
        assert!(matches!(read_file(&pipe), Err(FileFault::NotRegular)));

        let large = dir.path().join("large");
        let file = std::fs::File::create(&large).unwrap();
        file.set_len(1 << 30).unwrap();
        assert!(matches!(read_file(&large), Err(FileFault::TooLarge)));

        let ring = dir.path().join("ring");
        std::os::unix::fs::symlink(&ring, &ring).unwrap();
        assert!(matches!(read_file(&ring), Err(FileFault::Unopenable(_))));

        let bytes = dir.path().join("bytes");
        std::fs::write(&bytes, b"ok\xff").unwrap();
        assert!(matches!(read_file(&bytes), Err(FileFault::NotUtf8(2))));
        assert!(matches!(
            read_file(&dir.path().join("missing")),
            Err(FileFault::Unopenable(_))
        ));
    }
}
