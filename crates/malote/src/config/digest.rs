//! What tells the configuration of one node from another's, where all should have the same.

use sha2::{Digest, Sha256};

use super::tree::{Node, Path, Step, Value};

/// Tables that each node has its own of: doors, disks, logs.
const OF_A_NODE: [&str; 6] = ["admin", "http", "log", "shared", "smtp", "store"];
/// Octets of the digest.
const BYTES: usize = 8;

/// A digest of rules, streams, providers, credentials and all else that should be alike on every
/// node: 16 hex digits, the same for the same values wherever and in whatever order they were set.
/// Secrets count as they are given: a file or variable by its name.
pub(crate) fn digest(root: &Node) -> String {
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
}
