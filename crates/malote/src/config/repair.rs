//! What stands in the place of a wrong value, so that everything around it is still checked.

use std::collections::BTreeMap;

use strsim::damerau_levenshtein;

use super::tree::{Member, Node, Path, Place, Value};

/// Most typing errors in a key that is read as the one that was meant.
const TYPING_ERRORS_MAX: usize = 2;

/// A good name that nobody gives: the longest of nothing but zeros.
fn nobody() -> Value {
    Value::Text("0".repeat(64))
}

/// A value that fits at `path`, where one is needed and `tree` has none that fits; `None` where
/// the table around it is worth nothing without it.
pub(crate) fn stand_in(tree: &Node, path: &Path) -> Option<Value> {
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    match path.keys_and_gaps().as_slice() {
        ["credentials" | "streams" | "routes" | "providers", _] => {
            // A table with a fault of its own here has a name that is none.
            let is_table = matches!(tree.find(path)?.value, Value::Table(_));
            (!is_table).then(|| Value::Table(BTreeMap::new()))
        }
        // Which class it is then is nowhere relied on.
        ["streams", _, "class"] => text("transactional"),
        ["streams", _, "route"]
        | ["routes", _, "targets", "", "provider" | "pool"]
        | ["smtp", "listeners", "", "anonymous", "credential"] => Some(nobody()),
        // Of these two nothing is said about weights and `by` that other strategies would not say.
        ["routes", _, "strategy"] => match tree.find(&path.parent()?.key("by")) {
            Some(_) => text("sticky"),
            None => text("weighted"),
        },
        ["routes", _, "targets", "", "weight"] => Some(Value::Float(1.0)),
        ["rules", "", "name"] => text(&path.to_string()),
        ["rules", "", "then"] => Some(Value::Table(BTreeMap::new())),
        ["rules", "", "when"] => {
            let place = tree.place.clone();
            let node = Node {
                value: nothing(),
                place: place.clone(),
            };
            let never = Member { key: place, node };
            let never = [("credential".to_owned(), never)];
            Some(Value::Table(never.into()))
        }
        ["rules", "", "when", "credential" | "stream"]
        | ["smtp", "listeners", "", "anonymous", "allow_from"] => Some(nothing()),
        ["smtp", "listeners", "", "listen"] => text("127.0.0.1:0"),
        ["smtp", "listeners", "", "tls"] => text("starttls"),
        _ => None,
    }
}

/// A list that nothing is in.
const fn nothing() -> Value {
    Value::Array(Vec::new())
}

/// The condition that has to match nothing where something at `path` is wrong: a rule that lost a
/// condition would apply to more mail than it was written for.
pub(crate) fn never(path: &Path) -> Option<Path> {
    match path.keys_and_gaps().as_slice() {
        ["rules", "", "when", _, ..] => Some(Path(path.front(3).to_vec()).key("credential")),
        _ => None,
    }
}

/// Puts a mistyped member where it was meant to be; `false` if that is no typing error, or if what
/// was meant is there already.
pub(crate) fn rename(tree: &mut Node, from: &str, to: &Path, member: Member) -> bool {
    let meant = to.last_key().unwrap_or_default();
    if damerau_levenshtein(from, meant) > TYPING_ERRORS_MAX {
        return false;
    }
    let is_table = |node: &Node| matches!(node.value, Value::Table(_));
    match tree.find(to) {
        None => tree.set(to, member),
        Some(own) if is_table(own) && is_table(&member.node) => {
            let mut merged = member.node;
            merged.merge(own.clone());
            let key = member.key;
            tree.set(to, Member { key, node: merged })
        }
        Some(_) => false,
    }
}

/// Gives a table whose name is none the nearest that is one; `false` if it is no such table, or if
/// there is a table of that name.
pub(crate) fn rename_table(tree: &mut Node, path: &Path) -> bool {
    let (["credentials" | "streams" | "routes" | "providers", name]
    | ["providers", _, "pools", name]) = *path.keys_and_gaps().as_slice()
    else {
        return false;
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let good: String = name.to_ascii_lowercase().chars().map(plain).collect();
    let good = good.trim_matches('-');
    let Some(good) = path.parent().map(|table| table.key(good)) else {
        return false;
    };
    let is_table = |node: &Node| matches!(node.value, Value::Table(_));
    if good == *path || tree.find(&good).is_some() || !tree.find(path).is_some_and(is_table) {
        return false;
    }
    tree.take(path)
        .is_some_and(|member| tree.set(&good, member))
}

impl Node {
    /// Puts `value` at `path`, set at `place`; `false` if there is nothing around to put it in.
    pub(crate) fn put(&mut self, path: &Path, value: Value, place: &Place) -> bool {
        let place = place.clone();
        let node = Node {
            value,
            place: place.clone(),
        };
        self.set(path, Member { key: place, node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(text: &str, from: &str, to: &str) -> Option<Node> {
        let mut tree = Node::parse(text, 0).unwrap();
        let from = Path::parse(from);
        let member = tree.take(&from).unwrap();
        let name = from.last_key().unwrap().to_owned();
        rename(&mut tree, &name, &Path::parse(to), member).then_some(tree)
    }

    #[test]
    fn a_mistyped_key_is_read_as_the_one_that_was_meant() {
        let tree = renamed("[http]\nlisen = 'a'", "http.lisen", "http.listen").unwrap();
        assert!(tree.find(&Path::parse("http.listen")).is_some());
        let both = "[provders.a.limits]\nx = 1\ny = 2\n[providers.a.limits]\ny = 3\n";
        let tree = renamed(both, "provders", "providers").unwrap();
        let number = |key: &str| match tree.find(&Path::parse(key)).map(|node| &node.value) {
            Some(Value::Integer(number)) => *number,
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(number("providers.a.limits.x"), 1);
        assert_eq!(number("providers.a.limits.y"), 3);
    }

    #[test]
    fn a_key_of_its_own_and_a_key_given_twice_are_no_typing_errors() {
        assert!(renamed("[log]\ncolour = 1", "log.colour", "log.level").is_none());
        let both = "[http]\nlisen = 'a'\nlisten = 'b'";
        assert!(renamed(both, "http.lisen", "http.listen").is_none());
    }
}
