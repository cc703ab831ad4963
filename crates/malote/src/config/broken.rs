//! What of a configuration could not be read, and the faults that only follow from that.

use malote_core::fault::ConfigFault;

use super::tree::{Node, Path, Value};

/// The values that are wrong. Their own fault is told already.
#[derive(Debug, Default)]
pub(crate) struct Broken(Vec<BrokenValue>);

#[derive(Debug)]
struct BrokenValue {
    path: Path,
    /// Whether nothing stands in its place, so that the table or list around it lacks something.
    is_gone: bool,
}

impl Broken {
    /// Notes a value that was taken out.
    pub(crate) fn add_gone(&mut self, path: Path) {
        let is_gone = true;
        self.0.push(BrokenValue { path, is_gone });
    }

    /// Notes a value in whose place another stands.
    pub(crate) fn add_replaced(&mut self, path: Path) {
        let is_gone = false;
        self.0.push(BrokenValue { path, is_gone });
    }

    /// Whether this very value is broken.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        self.0.iter().any(|broken| broken.path == *path)
    }

    /// Whether this value, or one around it, is broken.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        self.0.iter().any(|broken| broken.path.holds(path))
    }

    /// Whether `fault`, found at `path` of `tree`, would perhaps not be there if nothing were
    /// broken.
    pub(crate) fn explains(&self, fault: &ConfigFault, path: &Path, tree: &Node) -> bool {
        if self.holds(path) {
            return true;
        }
        // A name is right as soon as what it names is there, broken or not; nothing else counts.
        if let Some(named) = named_at(path, tree) {
            return named.iter().any(|named| self.holds(named));
        }
        self.0.iter().any(|broken| {
            let is_lacked = broken.is_gone && broken.path.parent().as_ref() == Some(path);
            is_lacked || is_mentioned(&broken.path, path, &fault.message)
        })
    }
}

/// Whether what is said at `path` mentions the key of `broken`. Checks name every key that their
/// finding hangs on, so that an operator sees what to change.
fn is_mentioned(broken: &Path, path: &Path, message: &str) -> bool {
    let shared = broken.0.iter().zip(&path.0).take_while(|(a, b)| a == b);
    let shared = shared.count();
    let rest = Path(broken.0[shared..].to_vec());
    let keys: Vec<&str> = rest.keys_and_gaps();
    let mut keys = keys.into_iter().filter(|key| !key.is_empty()).peekable();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let words: Vec<&str> = message.split(|c| !is_name(c)).map(family).collect();
    let mut is_table = shared == 0;
    keys.peek().is_some()
        && keys.all(|key| {
            // Of a provider in [providers] is spoken as of a provider.
            let singular = key.strip_suffix('s').filter(|_| is_table).unwrap_or(key);
            is_table = false;
            words.contains(&family(singular))
        })
}

/// `key`, `key_env` and `key_file` are three ways to give one thing.
fn family(key: &str) -> &str {
    let stem = key.strip_suffix("_env").or(key.strip_suffix("_file"));
    stem.unwrap_or(key)
}

/// Whether a warning at `warned` may only follow from an error at `error`: those about rules say
/// that a rule is useless, which hangs on the rule and on the streams of all credentials.
pub(crate) fn is_doubtful(warned: &Path, error: &Path) -> bool {
    let (warned_keys, error_keys) = (warned.keys_and_gaps(), error.keys_and_gaps());
    match (warned_keys.as_slice(), error_keys.as_slice()) {
        (
            ["rules", "", ..],
            ["credentials"] | ["credentials", _] | ["credentials", _, "streams", ..],
        ) => true,
        (["rules", "", ..], ["rules"]) => true,
        (["rules", "", ..], ["rules", "", ..]) => warned.front(2) == error.front(2),
        _ => false,
    }
}

/// The places that the name at `path` may lead to, if there is a name.
fn named_at(path: &Path, tree: &Node) -> Option<Vec<Path>> {
    let shape = path.keys_and_gaps();
    let tables: &[&[&str]] = match shape.as_slice() {
        ["credentials", _, "streams", ""]
        | ["rules", "", "then", "stream"]
        | ["rules", "", "when", "stream"]
        | ["rules", "", "when", "stream", ""] => &[&["streams"]],
        ["streams", _, "route"] | ["routes", _, "fallback"] | ["rules", "", "then", "route"] => {
            &[&["routes"]]
        }
        ["routes", _, "targets", "", "provider"] => &[&["providers"]],
        ["routes", _, "targets", "", "pool"] => {
            let provider = path.parent()?.key("provider");
            let provider = tree.text(&provider)?;
            let pools = Path::of(&["providers", provider, "pools"]);
            return Some(vec![pools.key(tree.text(path)?)]);
        }
        ["rules", "", "when", "credential"]
        | ["rules", "", "when", "credential", ""]
        | ["smtp", "listeners", "", "anonymous", "credential"] => &[&["credentials"]],
        ["rules", "", "when", "mailbox_provider"]
        | ["rules", "", "when", "mailbox_provider", ""] => &[
            &["mailbox_providers", "domains"],
            &["mailbox_providers", "mx"],
        ],
        _ => return None,
    };
    let name = tree.text(path)?;
    Some(tables.iter().map(|keys| Path::of(keys).key(name)).collect())
}

impl Node {
    /// The text at `path`.
    fn text(&self, path: &Path) -> Option<&str> {
        match &self.find(path)?.value {
            Value::Text(text) | Value::Variable(text) => Some(text),
            Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Array(_)
            | Value::Table(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explains(broken: &str, at: &str, message: &str) -> bool {
        let tree = "routes.r.targets = [{ provider = 'ses', pool = 'tx' }]\n\
                    rules = [{ then = { stream = 'tx', route = 'r' } }]\n\
                    credentials.c = { streams = ['tx'], default_stream = 'tx' }";
        let tree = Node::parse(tree, 0).unwrap();
        let mut all = Broken::default();
        all.add_gone(Path::parse(broken));
        let fault = ConfigFault::error(at, message);
        all.explains(&fault, &Path::parse(at), &tree)
    }

    #[test]
    fn what_hangs_on_a_broken_value_follows_from_it() {
        for (broken, at, message) in [
            ("http.listen", "http.listen", "port 0 is no port"),
            ("store.sqlite", "store", "there is none"),
            ("rules[0].then.route", "rules[0].then", "give exactly one"),
            ("streams", "credentials.c.streams[0]", "there is no stream"),
            ("streams.tx", "rules[0].then.stream", "there is no stream"),
            ("routes.r", "rules[0].then.route", "there is no route"),
            ("providers.ses", "routes.r.targets[0].provider", "none"),
            ("providers.ses", "routes.r.targets[0].pool", "none"),
            ("providers.ses.pools", "routes.r.targets[0].pool", "none"),
            ("providers.ses.pools.tx", "routes.r.targets[0].pool", "none"),
            (
                "credentials.c.streams[1]",
                "credentials.c.default_stream",
                "\"tx\" is not one of this credential's streams",
            ),
            (
                "admin.token",
                "admin.listen",
                "is not on loopback: give token_env or token_file",
            ),
            (
                "http",
                "smtp.listeners",
                "give [http] or [[smtp.listeners]]",
            ),
            (
                "providers.ses.cost_per_thousand",
                "routes.r.targets[0]",
                "provider ses has no cost_per_thousand, so it is tried last",
            ),
        ] {
            assert!(explains(broken, at, message), "{broken} {at}");
        }
    }

    #[test]
    fn what_is_wrong_by_itself_is_told_beside_a_broken_value() {
        for (broken, at, message) in [
            ("http.listen", "http.body_max", "1B is outside 1KiB to 1MiB"),
            ("streams.tx", "rules[0].then.route", "there is no route"),
            ("streams.t", "rules[0].then.stream", "there is no stream"),
            (
                "providers.sess",
                "routes.r.targets[0].provider",
                "there is no provider \"ses\": did you mean \"sess\"?",
            ),
            ("providers.ses.pools.t", "routes.r.targets[0].pool", "none"),
            ("providers.ses.limits", "routes.r.targets[0].pool", "none"),
            (
                "http.listen",
                "admin.listen",
                "is not on loopback: give token_env or token_file, or listen on 127.0.0.1",
            ),
            (
                "providers.ses.limits.per_day",
                "providers.ses.limits.per_second",
                "must be from 0.01 to 100000",
            ),
        ] {
            assert!(!explains(broken, at, message), "{broken} {at}");
        }
    }
}
