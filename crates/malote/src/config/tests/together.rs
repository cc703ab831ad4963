//! Several things wrong at once in `malote.toml`: each is told, in one go, and nothing else is.

use super::super::tree::{Node, Value};
use super::examples::{MALOTE_TOML, VARIABLES, in_own_process};
use super::*;

/// One thing that is wrong: what stands in the file, what is put there, a part of that whose line
/// is to be named, and the key.
type Break = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const BREAKS: &[Break] = &[
    // Of form.
    ("[http]\nlisten", "[http]\nlisen", "lisen = \"127", "http.lisen"),
    ("trusted_plaintext = true", "trusted_plaintext = 1", "trusted_plaintext = 1", "smtp.listeners[0].trusted_plaintext"),
    ("[store.sqlite]", "[stoer.sqlite]", "[stoer.sqlite]", "stoer"),
    ("api_key_env = \"SHOP", "api_kee_env = \"SHOP", "api_kee_env", "credentials.shop.api_kee_env"),
    ("smtp_user = \"mautic\"", "smtp_user = 5", "smtp_user = 5", "credentials.mautic.smtp_user"),
    ("bad_recipients = \"report\"", "bad_recipients = \"reports\"", "\"reports\"", "credentials.mautic.bad_recipients"),
    ("class = \"campaign\"", "class = \"campain\"", "\"campain\"", "streams.campaign.class"),
    ("strategy = \"weighted\"", "strategy = \"weigted\"", "\"weigted\"", "routes.campaign.strategy"),
    ("strategy = \"sticky\"", "stratgy = \"sticky\"", "stratgy", "routes.microsoft.stratgy"),
    ("weight = 9", "weight = \"nine\"", "\"nine\"", "routes.campaign.targets[0].weight"),
    ("name = \"Mautic mail without a campaign's marks is transactional\"", "name = 7", "name = 7", "rules[0].name"),
    ("when = { stream = \"campaign\"", "when = { stream = 3", "stream = 3", "rules[1].when.stream"),
    ("[providers.mailgun.pools.news]", "[providers.mailgun.poools.news]", "poools", "providers.mailgun.poools"),
    ("per_second = 14", "per_secnd = 14", "per_secnd", "providers.ses.limits.per_secnd"),
    ("host = \"127.0.0.1\"", "host = 1", "host = 1", "providers.relay.smtp.host"),
    ("[log]", "[log]\nlevel = 3", "level = 3", "log.level"),
    // Out of range.
    ("concurrency = 32 ", "concurrency = 0 ", "concurrency = 0 ", "providers.ses.limits.concurrency"),
    ("growth = 1.5", "growth = 0.5", "growth = 0.5", "providers.mailgun.pools.news.warmup.growth"),
    ("[delivery]", "[delivery]\nworkers = 0", "workers = 0", "delivery.workers"),
    ("from_domains = [\"shop.example\"]", "from_domains = [\"shop example\"]", "\"shop example\"", "credentials.shop.from_domains[0]"),
    ("signing_key_env = \"MAILGUN_SIGNING_KEY\"", "signing_key_env = \"MAILGUN_SIGNING_KEZ\"", "MAILGUN_SIGNING_KEZ", "providers.mailgun.webhook.signing_key_env"),
    // Of reference.
    ("{ provider = \"ses\", pool = \"tx\" }", "{ provider = \"sse\", pool = \"tx\" }", "\"sse\"", "routes.transactional.targets[0].provider"),
    ("pool = \"news\"", "pool = \"nws\"", "\"nws\"", "routes.campaign.targets[0].pool"),
    ("then = { stream = \"transactional\" }", "then = { stream = \"transactionel\" }", "transactionel", "rules[0].then.stream"),
    ("then = { route = \"microsoft\" }", "then = { route = \"mikrosoft\" }", "mikrosoft", "rules[1].then.route"),
    ("when = { credential = \"mautic\"", "when = { credential = \"mautik\"", "mautik", "rules[0].when.credential"),
    ("mailbox_provider = [\"microsoft\"]", "mailbox_provider = [\"microsft\"]", "microsft", "rules[1].when.mailbox_provider[0]"),
    ("route = \"transactional\" ", "route = \"transaktional\" ", "transaktional", "streams.transactional.route"),
    ("streams = [\"transactional\"]", "streams = [\"transactiona\"]", "\"transactiona\"", "credentials.shop.streams[0]"),
    ("default_stream = \"transactional\"", "default_stream = \"transact\"", "\"transact\"", "credentials.mautic.default_stream"),
    ("fallback = \"campaign\"", "fallback = \"campaing\"", "campaing", "routes.microsoft.fallback"),
    ("[retention]", "[[smtp.listeners]]\nlisten = \"127.0.0.1:2526\"\ntls = \"none\"\nanonymous = { credential = \"shp\", allow_from = [\"127.0.0.1/32\"] }\n[retention]", "anonymous = { credential = \"shp\"", "smtp.listeners[1].anonymous.credential"),
    ("{ provider = \"relay\", pool = \"bulk\", weight = 1 }", "{ provider = \"relay\", weight = 1 }", "{ provider = \"relay\", weight = 1 }", "routes.campaign.targets[1]"),
    ("[routes.campaign]", "[routes.campaign]\nfallback = \"microsoft\"", "fallback = \"microsoft\"", "routes.campaign.fallback"),
];

/// The second needs the value that the first breaks, or the way that the first closes.
const HIDING: &[(&str, &str)] = &[
    ("streams.campaign.class", "routes.campaign.targets[1]"),
    ("streams.transactional.route", "routes.campaign.targets[1]"),
    ("routes.microsoft.fallback", "routes.campaign.fallback"),
];

fn are_independent(chosen: &[&Break]) -> bool {
    let breaks = |key: &str| chosen.iter().any(|(.., own)| *own == key);
    !HIDING.iter().any(|(one, two)| breaks(one) && breaks(two))
}

/// What deviates if these things are broken at once.
fn deviation(chosen: &[&Break]) -> Option<String> {
    let mut text = MALOTE_TOML.to_owned();
    for (from, to, ..) in chosen {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let line = |part: &str| text[..text.find(part).unwrap()].matches('\n').count() + 1;
    let wanted = chosen
        .iter()
        .map(|(.., at, key)| format!("{} {key}", line(at)));
    let mut wanted: Vec<String> = wanted.collect();
    wanted.sort();
    let outcome = read_texts(&[&text], &[]);
    let said = said(&outcome);
    let mut keys: Vec<&str> = said
        .iter()
        .filter_map(|fault| fault.split(": ").next())
        .collect();
    keys.sort_unstable();
    let is_whole = !outcome.report.is_partial && outcome.config.is_none();
    (keys != wanted || !is_whole).then(|| format!("wanted {wanted:#?}\nsaid {said:#?}"))
}

/// Choices without end that are the same each time.
fn choices(seed: &mut u64) -> Vec<&'static Break> {
    let mut next = || {
        // Knuth's MMIX generator; the high bits are the random ones.
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *seed >> 33
    };
    let in_ten = 1 + next() % 9;
    let chosen = BREAKS.iter().filter(|_| next() % 10 < in_ten);
    chosen.collect()
}

#[test]
fn all_that_is_broken_at_once_is_told_in_one_go_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let name = "together::all_that_is_broken_at_once_is_told_in_one_go_and_nothing_else";
    if !in_own_process(name, dir.path(), &VARIABLES) {
        return;
    }
    let mut sets: Vec<Vec<&Break>> = BREAKS.iter().map(|one| vec![one]).collect();
    let mut seed = 0;
    sets.extend((0..12).map(|_| choices(&mut seed)));
    sets.push(BREAKS.iter().collect());
    let mut deviations = Vec::new();
    let mut checked = 0;
    for mut set in sets {
        // Of two that hide each other, the later one stays away.
        while !are_independent(&set) {
            set.pop();
        }
        if !set.is_empty() {
            checked += 1;
            deviations.extend(deviation(&set));
        }
    }
    assert!(checked > 40, "{checked}");
    let shown: Vec<_> = deviations.iter().take(5).cloned().collect();
    assert!(
        deviations.is_empty(),
        "{} of {checked} deviate:\n{}",
        deviations.len(),
        shown.join("\n")
    );
}

/// A configuration with every kind of reference, and adapters that are quick to build.
const REFERENCES: &str = include_str!("../testdata/references.toml");

/// The variables that it names.
const SECRETS: [(&str, &str); 2] = [("TOKEN", "0123456789abcdef"), ("KEY", "fedcba9876543210")];

/// Texts laid one over the other that have one thing wrong; what is said of that begins so.
struct Wrong {
    texts: Vec<String>,
    beginning: String,
}

/// Each value of the file with another type, in its place.
fn values_of_another_type(text: &str, wrongs: &mut Vec<Wrong>) {
    let tree = Node::parse(text, 0).unwrap();
    tree.each_member(&mut |_, _, member| {
        let span = member.node.place.span.clone();
        let is_header = matches!(&member.node.value, Value::Table(_) | Value::Array(_))
            && !text[span.clone()].starts_with(['{', '['])
            || text[span.clone()].starts_with("[[");
        let is_table = matches!(&member.node.value, Value::Table(_));
        if is_header || is_table && !text[span.clone()].starts_with('{') {
            return;
        }
        let others: &[&str] = match &member.node.value {
            Value::Text(_) => &["3", "{}", "[3]"],
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => &["'x'", "{}"],
            Value::Array(_) => &["3", "[3]", "{ zero = 0 }"],
            Value::Table(_) | Value::Variable(_) => &["3", "'x'", "[3]"],
        };
        for other in others {
            let mut changed = text.to_owned();
            changed.replace_range(span.clone(), other);
            wrongs.push(Wrong {
                texts: vec![changed],
                beginning: format!("{} ", line_of(text, span.start)),
            });
        }
    });
}

/// Each table and list of the file replaced by a later file.
fn tables_replaced(text: &str, wrongs: &mut Vec<Wrong>) {
    let tree = Node::parse(text, 0).unwrap();
    tree.each_member(&mut |path, _, member| {
        let others: &[&str] = match &member.node.value {
            Value::Table(_) => &["3", "'x'", "[3]", "[]"],
            Value::Array(_) => &["3", "'x'"],
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Variable(_) => return,
        };
        let path = path.to_string();
        if path.contains('[') {
            return;
        }
        for other in others {
            wrongs.push(Wrong {
                texts: vec![text.to_owned(), format!("{path} = {other}")],
                beginning: format!("1 {path}: must be "),
            });
        }
    });
}

/// Each key of the file mistyped, but for names.
fn keys_mistyped(text: &str, wrongs: &mut Vec<Wrong>) {
    let tree = Node::parse(text, 0).unwrap();
    tree.each_member(&mut |path, key, member| {
        let is_name = matches!(
            path.keys_and_gaps().as_slice(),
            ["credentials" | "streams" | "routes" | "providers", _]
                | ["providers", _, "pools", _]
                | ["mailbox_providers", _, _]
        );
        let span = member.key.span.clone();
        if is_name || text.get(span.clone()) != Some(key) {
            return;
        }
        let mut changed = text.to_owned();
        changed.replace_range(span.clone(), &key[1..]);
        wrongs.push(Wrong {
            texts: vec![changed],
            beginning: format!("{} ", line_of(text, span.start)),
        });
    });
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[test]
fn whatever_single_thing_is_wrong_only_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    super::examples::write_certificate(dir.path());
    let name = "together::whatever_single_thing_is_wrong_only_that_is_told";
    if !in_own_process(name, dir.path(), &SECRETS) {
        return;
    }
    assert_eq!(said(&read_texts(&[REFERENCES], &[])), Vec::<String>::new());
    let mut wrongs = Vec::new();
    values_of_another_type(REFERENCES, &mut wrongs);
    tables_replaced(REFERENCES, &mut wrongs);
    keys_mistyped(REFERENCES, &mut wrongs);
    let (mut deviations, mut count) = (Vec::new(), 0);
    for wrong in wrongs {
        count += 1;
        let texts: Vec<&str> = wrong.texts.iter().map(String::as_str).collect();
        let said = said(&read_texts(&texts, &[]));
        if said.len() != 1 || !said[0].starts_with(&wrong.beginning) {
            deviations.push(format!("{}: {said:#?}", wrong.beginning));
        }
    }
    assert!(count > 500, "{count}");
    assert!(deviations.is_empty(), "{}", deviations.join("\n"));
}

#[test]
fn a_table_in_a_variable_is_given_up_as_a_whole_and_told_once() {
    for table in [
        "{ path = 'x', readers = 'many' }",
        "{ path = 'x', readrs = 1 }",
    ] {
        let outcome = read_texts(&[GOOD], &[("MALOTE_STORE__SQLITE", table)]);
        assert_eq!(said(&outcome).len(), 1, "{}", outcome.report);
    }
}
