//! What tells the configuration of one node from another's, where all should have the same, and
//! a table from the one that it replaces.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use sha2::{Digest, Sha256};

use super::tree::{Member, Node, Path, Step, Value};

/// Tables that each node has its own of: doors, disks, logs.
const OF_A_NODE: [&str; 6] = ["admin", "http", "log", "shared", "smtp", "store"];
/// Octets of the digest.
const BYTES: usize = 8;

/// Tables and keys that are read at the start alone.
const AT_START: [&[&str]; 8] = [
    &["admin", "listen"],
    &["delivery", "transactional_reserve"],
    &["delivery", "workers"],
    &["http"],
    &["log"],
    &["shared"],
    &["smtp"],
    &["store"],
];
/// Those of their keys that a reload takes over all the same.
const NOT_AT_START: [&str; 2] = ["hostname", "verp_"];

/// What one reading of a configuration is known by.
#[derive(Debug, Clone, Default)]
pub struct Digests {
    /// Of what every node should have alike: 16 hex digits.
    pub of_nodes: String,
    /// Of what each provider's adapter is built from.
    pub providers: BTreeMap<String, Fingerprint>,
    /// Of what only a start puts in force, by its name: `smtp`, `admin.listen`.
    pub at_start: BTreeMap<String, Fingerprint>,
}

impl Digests {
    pub(crate) fn of(root: &Node) -> Self {
        Self {
            of_nodes: digest(root),
            providers: fingerprints(root),
            at_start: AT_START
                .into_iter()
                .map(|path| (path.join("."), at_start(root, path)))
                .collect(),
        }
    }
}

/// A digest of rules, streams, providers, credentials and all else that should be alike on every
/// node: 16 hex digits, the same for the same values wherever and in whatever order they were set.
/// Secrets count as they are given: a file or variable by its name.
fn digest(root: &Node) -> String {
    let mut hash = Sha256::new();
    if let Value::Table(members) = &root.value {
        for (key, member) in members {
            if !OF_A_NODE.contains(&key.as_str()) {
                let path = Path(vec![Step::Key(key.clone())]);
                add(&mut hash, &path, &member.node);
            }
        }
    }
    let octets = hash.finalize();
    let octets = octets.iter().take(BYTES);
    octets.map(|octet| format!("{octet:02x}")).collect()
}

/// What an adapter is built from, as one value.
pub type Fingerprint = [u8; 32];

/// The fingerprint of every provider by name: of its table, of `[dkim]`, and of what is in the
/// files and variables that they name.
fn fingerprints(root: &Node) -> BTreeMap<String, Fingerprint> {
    let Value::Table(tables) = &root.value else {
        return BTreeMap::new();
    };
    let providers = match tables.get("providers").map(|member| &member.node.value) {
        Some(Value::Table(providers)) => providers,
        Some(_) | None => return BTreeMap::new(),
    };
    let fingerprint = |(name, own): (&String, &Member)| {
        let mut hash = Sha256::new();
        for (table, member) in [("own", Some(own)), ("dkim", tables.get("dkim"))] {
            if let Some(member) = member {
                add(&mut hash, &Path::of(&[table]), &member.node);
                member.node.each_member(&mut |path, key, member| {
                    add_named(&mut hash, (path, key), &member.node);
                });
            }
        }
        (name.clone(), hash.finalize().into())
    };
    providers.iter().map(fingerprint).collect()
}

/// The fingerprint of what stands at a path; certificates and passwords count by their names.
fn at_start(root: &Node, path: &[&str]) -> Fingerprint {
    let mut node = Some(root);
    for key in path {
        node = match node.map(|node| &node.value) {
            Some(Value::Table(members)) => members.get(*key).map(|member| &member.node),
            Some(_) | None => None,
        };
    }
    let mut hash = Sha256::new();
    if let Some(node) = node {
        add_at_start(&mut hash, &Path::of(path), node);
    }
    hash.finalize().into()
}

fn add_at_start(hash: &mut Sha256, path: &Path, node: &Node) {
    match &node.value {
        Value::Table(members) => {
            let is_kept = |key: &str| !NOT_AT_START.iter().any(|start| key.starts_with(start));
            for (key, member) in members.iter().filter(|(key, _)| is_kept(key)) {
                add_at_start(hash, &path.key(key), &member.node);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements {
                let mut longer = path.clone();
                longer.0.push(Step::Index(*index));
                add_at_start(hash, &longer, element);
            }
        }
        Value::Text(_)
        | Value::Variable(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_) => add(hash, path, node),
    }
}

/// Adds what is in the file or variable that a key names, or that there is none.
fn add_named(hash: &mut Sha256, (path, key): (&Path, &str), node: &Node) {
    let (Value::Text(name) | Value::Variable(name)) = &node.value else {
        return;
    };
    let content = if key.ends_with("_env") {
        std::env::var_os(name).map(OsString::into_vec)
    } else if key.ends_with("_file") {
        std::fs::read(name).ok()
    } else {
        return;
    };
    line(hash, path, &format!("{:?}", content.map(Sha256::digest)));
}

fn add(hash: &mut Sha256, path: &Path, node: &Node) {
    match &node.value {
        Value::Table(members) => {
            for (key, member) in members {
                add(hash, &path.key(key), &member.node);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements {
                let mut longer = path.clone();
                longer.0.push(Step::Index(*index));
                add(hash, &longer, element);
            }
        }
        Value::Text(text) => line(hash, path, &format!("{text:?}")),
        // What a variable of the environment means depends on its place: a number is a number.
        Value::Variable(text) => line(hash, path, &variable(text)),
        Value::Integer(number) => line(hash, path, &number.to_string()),
        Value::Float(number) => line(hash, path, &format!("{number:?}")),
        Value::Bool(flag) => line(hash, path, &flag.to_string()),
    }
}

fn variable(text: &str) -> String {
    let is_plain = text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok();
    if is_plain {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

fn line(hash: &mut Sha256, path: &Path, value: &str) {
    hash.update(format!("{path} = {value}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        digest(&Node::parse(text, 0).unwrap())
    }

    #[test]
    fn order_and_what_a_node_has_for_itself_do_not_count_and_all_else_does() {
        let one = of("[streams.a]\nclass = 'campaign'\nroute = 'r'\n[http]\nlisten = '1:1'");
        assert_eq!(one.len(), 16);
        let same = of("[smtp]\nx = 1\n[streams.a]\nroute = 'r'\nclass = 'campaign'");
        assert_eq!(one, same);
        for other in [
            "[streams.a]\nclass = 'campaign'\nroute = 's'",
            "[streams.b]\nclass = 'campaign'\nroute = 'r'",
            "[streams.a]\nclass = 'campaign'\nroute = 'r'\n[rules]\nlist = [1, 2]",
        ] {
            assert_ne!(one, of(other), "{other}");
        }
        assert_ne!(of("a.list = [1, 2]"), of("a.list = [2, 1]"));
    }

    #[test]
    fn what_only_a_start_puts_in_force_is_told_by_its_name() {
        let of = |text: &str| Digests::of(&Node::parse(text, 0).unwrap()).at_start;
        let before = of("[admin]\nlisten = '[::1]:1'\n[smtp]\nhostname = 'a'");
        let changed = |text: &str| {
            let after = of(text);
            let differs =
                |(name, now): (&String, &Fingerprint)| (before[name] != *now).then(|| name.clone());
            after.iter().filter_map(differs).collect::<Vec<_>>()
        };
        for (text, names) in [
            (
                "[admin]\nlisten = '[::1]:1'\ntoken = 't'\n[smtp]\nhostname = 'b'",
                vec![],
            ),
            ("[admin]\nlisten = '[::1]:2'", vec!["admin.listen"]),
            (
                "[admin]\nlisten = '[::1]:1'\n[smtp]\nlisteners = [{ listen = '[::1]:25', verp_secret = 'v' }]\n\
                 [delivery]\nworkers = 2\n[http]\nlisten = '[::1]:3'",
                vec!["delivery.workers", "http", "smtp"],
            ),
        ] {
            assert_eq!(changed(text), names, "{text}");
        }
    }

    #[test]
    fn a_provider_s_own_table_its_secrets_and_the_keys_of_dkim_count() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        let table = format!("[providers.a.ses]\nsecret_access_key_file = {secret:?}\n");
        let a = |text: &str| fingerprints(&Node::parse(text, 0).unwrap())["a"];
        std::fs::write(&secret, "one").unwrap();
        let one = a(&table);
        assert_eq!(one, a(&format!("[providers.b.ses]\nregion = 'x'\n{table}")));
        assert_ne!(one, a(&format!("{table}region = 'x'")));
        assert_ne!(
            one,
            a(&format!("{table}[dkim.'x.example']\nselector = 'm1'"))
        );
        std::fs::write(&secret, "two").unwrap();
        assert_ne!(one, a(&table));
        std::fs::remove_file(&secret).unwrap();
        assert_ne!(one, a(&table));
    }
}
