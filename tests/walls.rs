//! The walls: which crate may know which, and what no source file may hold. A wall that falls fails
//! the build.

#![expect(clippy::expect_used, reason = "a wall that cannot be read has fallen")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A file longer than this is more than one thing.
const FILE_LINES_MAX: usize = 500;

/// How secrets, and MACs made with them, stand in a line.
const SECRET_VALUES: [&str; 3] = [".expose()", ".finalize()", "hmac::sign("];

/// What one crate may and must not depend on.
struct Wall {
    package: &'static str,
    /// Crates of this workspace it may name, in any kind of dependency.
    ours: &'static [&'static str],
    /// Other crates it must not name, except to test itself.
    never: &'static [&'static str],
}

/// The picture in docs/ARCHITECTURE.md, as a table.
const WALLS: &[Wall] = &[
    Wall {
        package: "malote-core",
        ours: &[],
        never: &["axum", "hyper", "lettre", "reqwest", "rusqlite", "tokio"],
    },
    Wall {
        package: "malote-router",
        ours: &["malote-core"],
        never: &["axum", "hyper", "lettre", "reqwest", "rusqlite", "tokio"],
    },
    Wall {
        package: "malote-store",
        ours: &["malote-core"],
        never: &["axum", "hyper", "lettre", "reqwest"],
    },
    Wall {
        package: "malote-providers",
        ours: &["malote-core"],
        never: &["axum", "hyper", "lettre", "rusqlite"],
    },
    Wall {
        package: "malote-ingress",
        ours: &["malote-core"],
        never: &["reqwest", "rusqlite"],
    },
    Wall {
        package: "malote-feedback",
        ours: &["malote-core"],
        never: &["axum", "hyper", "rusqlite"],
    },
    Wall {
        package: "malote-delivery",
        ours: &["malote-core", "malote-router", "malote-store"],
        never: &["axum", "hyper", "reqwest", "rusqlite"],
    },
    Wall {
        package: "malote-sandbox",
        ours: &[],
        never: &["lettre", "reqwest", "rusqlite", "aws-sigv4"],
    },
    Wall {
        package: "malote",
        ours: &[
            "malote-core",
            "malote-router",
            "malote-store",
            "malote-providers",
            "malote-ingress",
            "malote-feedback",
            "malote-delivery",
            "malote-sandbox",
        ],
        never: &[],
    },
    Wall {
        package: "malote-tests",
        ours: &["malote-core", "malote-sandbox"],
        never: &[],
    },
];

/// Words that stand for work left undone; written apart so that this file does not hold them.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ig", "nore"),
];

/// Readings of the machine's clock.
const CLOCKS: &[&str] = &[
    concat!("SystemTime", "::now"),
    concat!("Timestamp", "::now"),
    concat!("Zoned", "::now"),
];

/// What makes a client of the web believe any certificate.
const CREDULITY: &str = concat!("danger_", "accept_invalid");

/// The only file of the providers that calls the web: it bounds answers, and leaves out what they
/// repeat of our credentials.
const WEB_FILE: &str = "crates/providers/src/http.rs";

/// The only file that reads the machine's clock.
const CLOCK_FILE: &str = "crates/core/src/clock.rs";

fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// What is wrong with the dependencies of one package, as `cargo metadata` lists them.
fn edge_faults(package: &str, dependencies: &[(String, bool)]) -> Vec<String> {
    let Some(wall) = WALLS.iter().find(|wall| wall.package == package) else {
        return vec![format!("{package} has no row in the table of walls")];
    };
    let is_ours = |name: &str| WALLS.iter().any(|wall| wall.package == name);
    dependencies
        .iter()
        .filter(|(name, is_dev)| {
            let name = name.as_str();
            match is_ours(name) {
                true => !wall.ours.contains(&name),
                false => !is_dev && wall.never.contains(&name),
            }
        })
        .map(|(name, _)| format!("forbidden dependency: {package} -> {name}"))
        .collect()
}

/// What is wrong with one source file.
fn source_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    if !text.starts_with("//! ") {
        faults.push(format!(
            "{path}: does not open with a sentence of purpose (//!)"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        let at = || format!("{path}:{}", number + 1);
        for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
            faults.push(format!("{}: {word}", at()));
        }
        let clock = CLOCKS.iter().find(|clock| line.contains(**clock));
        if let Some(clock) = clock.filter(|_| path != CLOCK_FILE) {
            faults.push(format!("{}: {clock}; time is an argument", at()));
        }
    }
    faults
}

/// Secrets that a source file compares octet by octet, so that the time tells how many were right:
/// `Secret::matches` and the verifications of MACs and signatures take the same time for any.
fn comparison_faults(path: &str, text: &str) -> Vec<String> {
    let is_secret = |line: &str| SECRET_VALUES.iter().any(|value| line.contains(value));
    let compares = |line: &str| [" == ", " != "].iter().any(|sign| line.contains(sign));
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| is_secret(line) && compares(line))
        .map(|(number, _)| format!("{path}:{}: a secret is compared", number + 1))
        .collect()
}

/// What is wrong with a member's manifest: versions stand in the workspace table only, and the
/// workspace's lints hold for all.
fn manifest_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut section = "";
    let mut has_lints = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
            if section.contains("dependencies.") {
                faults.push(format!("{path}: [{section}] is a table of its own"));
            }
            continue;
        }
        let says_workspace = line.contains("workspace = true");
        has_lints |= section == "lints" && says_workspace;
        let is_dependency =
            section.ends_with("dependencies") && !line.is_empty() && !line.starts_with('#');
        if is_dependency && (!says_workspace || line.contains("version")) {
            faults.push(format!(
                "{path}: `{line}` does not take the workspace's version"
            ));
        }
    }
    if !has_lints {
        faults.push(format!("{path}: does not take the workspace's lints"));
    }
    faults
}

/// The `.rs` files and manifests below these folders, as paths from the root.
fn files_of(folders: &[&str], ending: &str) -> Vec<(String, String)> {
    let root = root();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "node_modules" {
                waiting.push(path);
            } else if name.ends_with(ending) {
                let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
                let shown = path.strip_prefix(&root).expect("below the root");
                files.push((shown.display().to_string(), text));
            }
        }
    }
    files.sort();
    files
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The workspace's packages with the names of what they depend on and whether only for tests.
fn packages() -> BTreeMap<String, Vec<(String, bool)>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"])
                .iter()
                .map(|dependency| (text(&dependency["name"]), dependency["kind"] == "dev"))
                .collect();
            (text(&package["name"]), dependencies)
        })
        .collect()
}

#[test]
fn no_crate_knows_what_it_must_not() {
    let packages = packages();
    let missing = WALLS
        .iter()
        .filter(|wall| !packages.contains_key(wall.package))
        .map(|wall| format!("{} is in the table and not in the workspace", wall.package));
    let mut faults: Vec<String> = missing.collect();
    for (package, dependencies) in &packages {
        faults.extend(edge_faults(package, dependencies));
    }
    assert_none(&faults);
}

#[test]
fn no_source_file_is_long_unexplained_unfinished_or_reads_the_clock() {
    let files = files_of(&["crates", "tests", "bench"], ".rs");
    assert!(files.len() > 20, "the sources were not found");
    let faults = files
        .iter()
        .flat_map(|(path, text)| source_faults(path, text));
    assert_none(&faults.collect::<Vec<_>>());
}

#[test]
fn no_secret_is_compared_so_that_the_time_tells_it() {
    let ours: Vec<_> = files_of(&["crates"], ".rs")
        .into_iter()
        .filter(|(path, _)| !path.contains("/tests") && !path.starts_with("crates/sandbox/"))
        .collect();
    let faults = ours
        .iter()
        .flat_map(|(path, text)| comparison_faults(path, text));
    assert_none(&faults.collect::<Vec<_>>());
    // The one comparison that there is hashes both sides first.
    let secret = ours
        .iter()
        .find(|(path, _)| path == "crates/core/src/secret.rs");
    assert!(secret.is_some_and(|(_, text)| text.contains("ours.ct_eq(&theirs)")));
}

#[test]
fn providers_call_the_web_in_one_place_and_nobody_believes_any_certificate() {
    let files = files_of(&["crates"], ".rs");
    let is_adapter = |path: &str| path.starts_with("crates/providers/src/");
    let calls = |text: &str| text.contains(".execute(") || text.contains("reqwest::get(");
    let callers: Vec<_> = files
        .iter()
        .filter(|(path, text)| is_adapter(path) && calls(text))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(callers, [WEB_FILE]);
    let faults = files
        .iter()
        .filter(|(_, text)| text.contains(CREDULITY))
        .map(|(path, _)| format!("{path}: {CREDULITY}"));
    assert_none(&faults.collect::<Vec<_>>());
}

#[test]
fn versions_and_lints_stand_in_the_workspace_table_only() {
    let manifests = files_of(&["crates", "tests", "bench"], "Cargo.toml");
    assert!(
        manifests.len() >= WALLS.len(),
        "the manifests were not found"
    );
    let faults = manifests
        .iter()
        .flat_map(|(path, text)| manifest_faults(path, text));
    assert_none(&faults.collect::<Vec<_>>());
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).expect("is readable");
    assert!(workspace.contains("unsafe_code = \"forbid\""));
}

#[test]
fn a_forbidden_edge_is_seen() {
    let edge = |package: &str, name: &str, is_dev| {
        !edge_faults(package, &[(name.to_owned(), is_dev)]).is_empty()
    };
    assert!(edge("malote-router", "tokio", false));
    assert!(edge("malote-providers", "malote-delivery", false));
    assert!(edge("malote-ingress", "malote-providers", true));
    assert!(edge("malote-sandbox", "malote-core", false));
    assert!(edge("malote-newcomer", "serde", false));
    assert!(!edge("malote-router", "malote-core", false));
    assert!(!edge("malote-ingress", "reqwest", true));
    assert!(!edge("malote-delivery", "malote-store", false));
}

#[test]
fn a_bad_source_file_is_seen() {
    let purpose = "//! What it is for.\n";
    let faults = |path: &str, rest: &str| source_faults(path, &format!("{purpose}{rest}")).len();
    let clock = format!("let now = {}();\n", CLOCKS[1]);
    assert_eq!(faults("a.rs", "fn a() {}\n"), 0);
    assert_eq!(faults("a.rs", &"\n".repeat(FILE_LINES_MAX - 1)), 0);
    assert_eq!(faults("a.rs", &"\n".repeat(FILE_LINES_MAX)), 1);
    assert_eq!(faults("a.rs", &format!("// {}: later\n", UNFINISHED[0])), 1);
    assert_eq!(faults("a.rs", &format!("{})\n", UNFINISHED[2])), 1);
    assert_eq!(faults("a.rs", &clock), 1);
    assert_eq!(faults(CLOCK_FILE, &clock), 0);
    assert_eq!(source_faults("a.rs", "fn a() {}\n").len(), 1);
}

#[test]
fn a_compared_secret_is_seen() {
    for (line, count) in [
        ("if token.expose() == given {", 1),
        ("if given != own.expose().as_bytes() {", 1),
        ("if mac.finalize().into_bytes() == given {", 1),
        ("if hmac::sign(&key, body).as_ref() != given {", 1),
        ("if token.matches(given) {", 0),
        ("let key = own.expose();", 0),
    ] {
        assert_eq!(comparison_faults("a.rs", line).len(), count, "{line}");
    }
}

#[test]
fn a_bad_manifest_is_seen() {
    let good = "[lints]\nworkspace = true\n[dependencies]\n# why\nserde.workspace = true\n";
    assert_none(&manifest_faults("Cargo.toml", good));
    for bad in [
        "[lints]\nworkspace = true\n[dependencies]\nserde = \"1\"\n",
        "[lints]\nworkspace = true\n[dev-dependencies]\nserde = { path = \"../serde\" }\n",
        "[lints]\nworkspace = true\n[dependencies.serde]\nversion = \"1\"\n",
        "[dependencies]\nserde.workspace = true\n",
    ] {
        assert_eq!(manifest_faults("Cargo.toml", bad).len(), 1, "{bad}");
    }
}
