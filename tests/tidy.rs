//! Rules of this repository that no compiler checks: who may import whom, what every file begins
//! with, where dangerous things may stand, and that documents name what exists. The checks are
//! functions over text; `every_rule_catches_a_violation` shows that each of them can fail.

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use source::{code_only, paths};

/// Most lines of a source file.
const MAX_LINES: usize = 600;

/// The rooms of the host, by layer, from the bottom. A room imports only rooms of lower layers.
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &["clock", "failpoint"],
    &["store"],
    &["registry", "spec", "workspace", "sandbox", "llm", "artifact", "plugin", "config"],
    &["service"],
    &["cli"],
];

/// Names of files that say nothing about what is in them.
const NO_NAMES: &[&str] = &["mod.rs", "utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "misc.rs"];

/// Documents whose paths must exist.
const DOCUMENTS: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "tests/README.md"];

/// A source file.
struct Source {
    /// From the root, with `/`.
    path: String,
    text: String,
    /// Without comments and literals.
    code: String,
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        Self { path: path.to_owned(), code: code_only(&text), text }
    }

    /// A file that has only tests in it.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The code before the tests at the end of the file.
    fn production(&self) -> &str {
        if self.is_test() { "" } else { self.code.split("#[cfg(test)]\nmod ").next().unwrap_or(&self.code) }
    }
}

/// A rule: what breaks it in a file.
type Rule = fn(&Source) -> Vec<String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/ lies in the repository").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Our own Rust files. Fixtures are other people's repositories and not looked at.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let mut files = vec![root().join("host/build.rs")];
    for folder in ["host/src", "sdk/src", "plugins", "tests"] {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    let path =
        |file: &Path| file.strip_prefix(root()).expect("it lies below the root").to_string_lossy().replace('\\', "/");
    files.iter().map(|file| path(file)).map(|path| Source::new(&path, read(&path))).collect()
});

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be read").path();
        let skipped =
            path.file_name().is_some_and(|name| name == "fixtures" || name == "target" || name == "snapshots");
        if path.is_dir() && !skipped {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Applies a rule to every source and shows all violations at once.
fn check(what_to_do: &str, rule: Rule) {
    let violations = |source: &Source| rule(source).into_iter().map(|v| format!("{}: {v}", source.path)).collect();
    let found: Vec<String> = SOURCES.iter().map(violations).collect::<Vec<Vec<String>>>().concat();
    assert!(found.is_empty(), "{what_to_do}\n  {}", found.join("\n  "));
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// The room of a host file: `host/src/llm/config.rs` and `host/src/llm.rs` are in `llm`.
fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("host/src/")?;
    let room = inside.split('/').next()?;
    let room = room.strip_suffix(".rs").unwrap_or(room);
    (!matches!(room, "lib" | "main")).then_some(room)
}

/// Imports of rooms that are not below the file's own.
fn layers(source: &Source) -> Vec<String> {
    let Some(own) = room(&source.path) else { return Vec::new() };
    let Some(own_layer) = layer(own) else { return vec![format!("the room `{own}` has no layer")] };
    let modules = source.path.matches('/').count() - 1;
    // `super` in a module of tests at the end of the file is the file itself.
    let file_level = source.code.split("\nmod tests {").next().unwrap_or_default().lines().count();
    let mut found = Vec::new();
    for used in paths(&source.code) {
        let names: Vec<&str> = used.path.split("::").collect();
        let supers = names.iter().take_while(|name| **name == "super").count();
        let target = match names[..] {
            ["crate", target, ..] => target,
            _ if supers >= modules && supers > 0 && used.line <= file_level => names.get(supers).unwrap_or(&own),
            _ => continue,
        };
        match layer(target) {
            _ if target == own => {}
            Some(other) if other < own_layer => {}
            Some(_) => found.push(format!("line {}: `{own}` imports `{target}`", used.line)),
            None if target.starts_with(char::is_lowercase) => {
                found.push(format!("line {}: the room `{target}` has no layer", used.line));
            }
            None => {}
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Time, randomness, I/O and their libraries in `domain`; its tests may ask git.
fn pure_domain(source: &Source) -> Vec<String> {
    const CRATES: &[&str] =
        &["tokio", "rusqlite", "wasmtime", "git2", "cap_std", "reqwest", "async_openai", "rand", "rustix", "tempfile"];
    const STD: &[&str] = &["fs", "process", "net", "env", "thread"];
    const NOW: &[&str] =
        &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now", "Uuid::now_v7", "Uuid::new_v4"];
    if room(&source.path) != Some("domain") {
        return Vec::new();
    }
    let impure = |path: &str| {
        let mut names = path.split("::");
        match names.next() {
            Some("std") => names.next().is_some_and(|name| STD.contains(&name)),
            Some(first) => CRATES.contains(&first) || NOW.iter().any(|now| path.ends_with(now)),
            None => false,
        }
    };
    let used = paths(source.production()).into_iter().filter(|used| impure(&used.path));
    used.map(|used| format!("line {}: `{}`", used.line, used.path)).collect()
}

fn says_what_it_is_for(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or_default();
    if first.starts_with("//! ") && first.len() > 8 { Vec::new() } else { vec!["no `//!` on its first line".into()] }
}

fn short_enough(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines > MAX_LINES { vec![format!("{lines} lines")] } else { Vec::new() }
}

fn telling_name(source: &Source) -> Vec<String> {
    let name = source.path.rsplit('/').next().unwrap_or_default();
    if NO_NAMES.contains(&name) { vec![format!("`{name}` says nothing")] } else { Vec::new() }
}

/// Lines of code that match `pattern`, unless the file may have them.
fn matches(code: &str, pattern: &str, allowed: bool) -> Vec<String> {
    if allowed {
        return Vec::new();
    }
    let pattern = Regex::new(pattern).expect("the rule's pattern compiles");
    let lines = (1..).zip(code.lines()).filter(|(_, line)| pattern.is_match(line));
    lines.map(|(number, line)| format!("line {number}: {}", line.trim())).collect()
}

/// Guests that break on purpose what safe code keeps. They run in the sandbox, which has to hold them.
const HOSTILE: &str = "tests/guests/hostile/examples/";

fn no_unsafe(source: &Source) -> Vec<String> {
    let may = source.path == "host/src/plugin/precompiled.rs" || source.path.starts_with(HOSTILE);
    matches(&source.code, r"\bunsafe\b", may)
}

fn one_bindgen(source: &Source) -> Vec<String> {
    matches(&source.code, r"\bbindgen!", source.path == "host/src/plugin/bindings.rs")
}

/// Files that start processes, besides the sandbox: git, a build, the author's own compilers, and the SDK's tests,
/// which are a client of the program.
const PROCESSES: &[&str] =
    &["host/src/workspace/git.rs", "host/build.rs", "host/src/service/author/tools.rs", "sdk/src/harness/host.rs"];

fn processes(source: &Source) -> Vec<String> {
    let may = PROCESSES.contains(&source.path.as_str());
    matches(source.production(), r"\bCommand::new\b", may || room(&source.path) == Some("sandbox"))
}

fn finished(source: &Source) -> Vec<String> {
    matches(&source.code, r"\b(todo|unimplemented)!|#\[ignore", false)
}

/// WIT types taken apart, made or imported one by one outside the one mapping, and parts of anything
/// that the mapping leaves out with `..`.
fn conversions(source: &Source) -> Vec<String> {
    match source.path.as_str() {
        "host/src/plugin/bindings.rs" => return Vec::new(),
        "host/src/plugin/convert.rs" => return matches(source.production(), r"\.\.", false),
        path if room(path).is_none() => return Vec::new(),
        _ => {}
    }
    let code = source.production();
    let import = Regex::new(r"\buse\s+(?:(?:super::)+|crate::plugin::)bindings::([^;]*);").expect("it compiles");
    let mut names = vec!["bindings"];
    let mut found = Vec::new();
    for tree in import.captures_iter(code).filter_map(|captures| captures.get(1)) {
        for part in tree.as_str().split([',', '{', '}']).map(str::trim).filter(|part| !part.ends_with("::")) {
            let path = part.split(" as ").next().unwrap_or(part);
            let name = path.rsplit("::").next().unwrap_or(path);
            // What wasmtime makes for a world; it is no type of the contract.
            if name.starts_with(char::is_uppercase) && !name.ends_with("Pre") {
                found.push(format!("imports `{path}`"));
            }
            names.extend(part.rsplit([' ', ':']).next().filter(|name| !name.is_empty()));
        }
    }
    let names = names.join("|");
    let used = format!(r"(->\s*|\bfor\s+)?\b(?:{names})(?:::\w+)*::[A-Z]\w*(?:\s*\{{|::[A-Z]\w*)");
    let used = Regex::new(&used).expect("it compiles");
    found.extend(used.captures_iter(code).filter(|captures| captures.get(1).is_none()).map(|captures| {
        let text = captures.get(0).map_or("", |whole| whole.as_str());
        format!("`{text}`")
    }));
    found
}

/// The folders that a member of the workspace stands for: `plugins/*/*` is every folder two below.
fn folders(member: &str) -> Vec<String> {
    member.split('/').fold(vec![String::new()], |above, part| {
        let below = |folder: &String| match part {
            "*" => subfolders(folder),
            _ => vec![format!("{folder}{part}/")],
        };
        above.iter().flat_map(below).collect()
    })
}

fn subfolders(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let folders = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.map(|entry| format!("{folder}{}/", entry.file_name().to_string_lossy())).collect();
    names.sort();
    names
}

/// Whether a manifest takes the lints of the workspace.
fn takes_lints(manifest: &str) -> bool {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    lints == Some(true)
}

/// Names in backticks that are paths of this repository. A place-holder (`<spec>`) ends the path.
fn paths_in(document: &str) -> BTreeSet<String> {
    let pattern = Regex::new(r"`((?:host|sdk|plugins|wit|tests|\.ci|\.kiro)/[^`\s]*)`").expect("the pattern compiles");
    let captures = pattern.captures_iter(document).filter_map(|captures| captures.get(1));
    captures
        .map(|path| {
            let path = path.as_str();
            let end = path.find(['<', '*', '{', '…']).unwrap_or(path.len());
            let until = if end < path.len() { path[..end].rfind('/').map_or(0, |at| at + 1) } else { end };
            path[..until].to_owned()
        })
        .collect()
}

/// Tests that a document names in backticks as `test: name`.
fn tests_in(document: &str) -> BTreeSet<String> {
    let pattern = Regex::new(r"`test: ([a-z0-9_]+)`").expect("the pattern compiles");
    pattern.captures_iter(document).filter_map(|c| Some(c.get(1)?.as_str().to_owned())).collect()
}

/// Integration tests in `tests/` that the manifest does not name: they would never run.
fn unregistered(manifest: &str, files: &[String]) -> Vec<String> {
    files.iter().filter(|file| !manifest.contains(&format!("path = \"../{file}\""))).cloned().collect()
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    check("move the code down, or let `service` join the two rooms (ARCHITECTURE.md, rooms):", layers);
}

#[test]
fn every_room_has_a_layer_and_stands_in_the_architecture() {
    let architecture = read("ARCHITECTURE.md");
    for module in read("host/src/lib.rs").lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = module.trim_end_matches(';');
        assert!(layer(module).is_some(), "give the room `{module}` a layer in tests/tidy.rs");
        let named = architecture.contains(&format!("`host/src/{module}"));
        assert!(named, "ARCHITECTURE.md does not say what `host/src/{module}` is for");
    }
}

#[test]
fn the_domain_does_no_io_and_reads_no_clock() {
    check("pass it in as an argument:", pure_domain);
}

#[test]
fn every_file_says_what_it_is_for() {
    check("begin the file with `//!` and one to five lines:", says_what_it_is_for);
}

#[test]
fn files_are_short_enough_to_read() {
    check("split the file where its subject changes:", short_enough);
}

#[test]
fn file_names_say_what_is_in_them() {
    check("name the file after its subject:", telling_name);
}

#[test]
fn unsafe_stands_in_one_file() {
    check("only host/src/plugin/precompiled.rs may have it:", no_unsafe);
}

#[test]
fn bindings_are_made_in_one_file() {
    check("only host/src/plugin/bindings.rs calls it:", one_bindgen);
}

#[test]
fn wit_types_are_mapped_in_one_file_and_whole() {
    check("only host/src/plugin/convert.rs may, and without `..`:", conversions);
}

#[test]
fn only_git_and_the_sandbox_start_processes() {
    check("go through `workspace` or `sandbox`:", processes);
}

#[test]
fn nothing_is_left_unfinished_and_no_test_is_switched_off() {
    check("finish it:", finished);
}

#[test]
fn documents_name_paths_that_exist() {
    for document in DOCUMENTS {
        for path in paths_in(&read(document)) {
            assert!(root().join(&path).exists(), "{document} names `{path}`, which does not exist");
        }
    }
}

#[test]
fn the_architecture_names_tests_that_exist() {
    let named = tests_in(&read("ARCHITECTURE.md"));
    assert!(!named.is_empty(), "the invariants of ARCHITECTURE.md name their tests as `test: name`");
    for name in named {
        let head = format!("fn {name}(");
        let exists = SOURCES.iter().any(|source| source.code.contains(&head));
        assert!(exists, "ARCHITECTURE.md names the test `{name}`, which does not exist");
    }
}

#[test]
fn every_integration_test_is_registered() {
    let files: Vec<String> = fs::read_dir(root().join("tests"))
        .expect("tests/ can be read")
        .filter_map(|entry| Some(format!("tests/{}", entry.ok()?.file_name().to_str()?)))
        .filter(|path| path.ends_with(".rs"))
        .collect();
    let missing = unregistered(&read("host/Cargo.toml"), &files);
    assert!(missing.is_empty(), "add a [[test]] to host/Cargo.toml for {missing:?}");
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let members: toml::Table = read("Cargo.toml").parse().expect("Cargo.toml is TOML");
    let members = members["workspace"]["members"].as_array().expect("the workspace has members").clone();
    let crates: Vec<String> = members.iter().filter_map(toml::Value::as_str).flat_map(folders).collect();
    for known in ["host/", "plugins/routing/least-busy/", "tests/guests/panic/"] {
        assert!(crates.iter().any(|folder| folder == known), "{known} is not among the members {crates:?}");
    }
    for folder in crates {
        let taken = takes_lints(&read(&format!("{folder}Cargo.toml")));
        assert!(taken, "write `[lints] workspace = true` into {folder}Cargo.toml");
    }
    assert!(!takes_lints("[package]\nname = \"x\"") && !takes_lints("[lints]\nworkspace = false"));
}

#[test]
fn ci_runs_the_commands_of_the_readme() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    for command in ["cargo run --release -- run --demo", "cargo test"] {
        let line =
            |text: &str| text.lines().any(|line| line.trim() == command || line.trim() == format!("$ {command}"));
        assert!(line(&readme), "README.md has no line `{command}`");
        assert!(ci.contains(command), ".ci/run does not run `{command}`");
    }
}

/// What it is, the rule, a path and a text.
type Case = (&'static str, Rule, &'static str, &'static str);

#[test]
fn every_rule_catches_a_violation() {
    let cases: &[Case] = &[
        ("up", layers, "host/src/domain/task.rs", "//! x\nuse crate::registry::Registry;"),
        ("sideways", layers, "host/src/registry/log.rs", "use crate::{domain::id, workspace::{git, Slot}};"),
        ("written out", layers, "host/src/llm.rs", "fn f() { crate::artifact::put(); }"),
        ("by super", layers, "host/src/store/blob.rs", "use super::super::registry::Registry;"),
        ("by super in the root", layers, "host/src/spec.rs", "use super::workspace::Slot;"),
        ("no layer", layers, "host/src/attic.rs", "//! x"),
        ("import without layer", layers, "host/src/cli/run.rs", "use crate::attic::Box;"),
        ("file system", pure_domain, "host/src/domain/id.rs", "use std::{collections::BTreeMap, fs};"),
        ("executor", pure_domain, "host/src/domain.rs", "async fn f() { tokio::task::yield_now().await }"),
        ("clock", pure_domain, "host/src/domain/task.rs", "let now = jiff::Timestamp::now();"),
        ("randomness", pure_domain, "host/src/domain/id.rs", "let id = uuid::Uuid::now_v7();"),
        ("no words", says_what_it_is_for, "host/src/a.rs", "use std::fmt;\n//! late"),
        ("name", telling_name, "host/src/llm/utils.rs", ""),
        ("unsafe", no_unsafe, "host/src/plugin/cache.rs", "let x = unsafe { f() };"),
        ("bindgen", one_bindgen, "host/src/plugin/host.rs", "wasmtime::component::bindgen!({});"),
        (
            "WIT record",
            conversions,
            "host/src/plugin/host.rs",
            "use super::bindings::x::types as wit;\nlet d = wit::Document { name };",
        ),
        (
            "WIT case",
            conversions,
            "host/src/service/a.rs",
            "use crate::plugin::bindings::{imports, x as y};\nf(y::types::HostError::Denied(t))",
        ),
        ("WIT written out", conversions, "host/src/plugin/call.rs", "let super::bindings::x::Usage { a, b } = usage;"),
        ("WIT type by name", conversions, "host/src/plugin/call.rs", "use super::bindings::x::{types, Usage as U};"),
        ("left out", conversions, "host/src/plugin/convert.rs", "let Usage { a, .. } = usage;"),
        ("process", processes, "host/src/spec/check.rs", "let c = std::process::Command::new(\"git\");"),
        ("todo", finished, "sdk/src/lib.rs", "fn f() { todo!() }"),
        ("ignored", finished, "tests/e2e.rs", "#[ignore = \"slow\"]\nfn f() {}"),
    ];
    for (what, rule, path, text) in cases {
        assert!(!rule(&Source::new(path, (*text).to_owned())).is_empty(), "{what}: not caught");
    }
    assert!(!short_enough(&Source::new("", "x\n".repeat(MAX_LINES + 1))).is_empty());
    assert_eq!(unregistered("path = \"../tests/a.rs\"", &["tests/b.rs".into()]), ["tests/b.rs"]);
}

#[test]
fn what_is_allowed_passes() {
    let cases: &[Case] = &[
        ("down", layers, "host/src/service/run.rs", "use crate::{domain::id::TaskId, registry::Registry, clock};"),
        ("own room", layers, "host/src/llm/chat.rs", "use super::backend::Backend; use crate::llm::config;"),
        ("super in tests", layers, "host/src/llm.rs", "//! x\n#[cfg(test)]\nmod tests {\n    use super::config;\n}"),
        ("comment", layers, "host/src/domain/id.rs", "//! see [`crate::registry`]\nlet s = \"crate::cli\";"),
        ("ids from the clock", layers, "host/src/store/ids.rs", "use crate::clock::Clock;"),
        ("git in tests", pure_domain, "host/src/domain/protocol/tests.rs", "std::process::Command::new(\"git\");"),
        ("std that is pure", pure_domain, "host/src/domain/id.rs", "use std::{fmt, cmp::Ordering};"),
        ("elsewhere", pure_domain, "host/src/store.rs", "use std::fs;"),
        ("in words", no_unsafe, "host/src/lib.rs", "//! no unsafe here\n#![forbid(unsafe_code)]"),
        ("in a string", finished, "tests/tidy.rs", "let s = r#\"todo!()\"#; let c = '\"'; // todo!()"),
        ("after a lifetime", says_what_it_is_for, "host/src/a.rs", "//! What it is for."),
        (
            "WIT in signatures",
            conversions,
            "host/src/plugin/host.rs",
            "use super::bindings::x as wit;\nimpl wit::Host for G { fn f(r: wit::R) -> wit::Usage { g(r) } }",
        ),
        ("world", conversions, "host/src/plugin/bare.rs", "use super::bindings::routing::RoutingPolicyPre;"),
        (
            "WASI",
            conversions,
            "host/src/plugin/wasi.rs",
            "use wasmtime_wasi::p2::bindings::clocks::wall_clock;\nwall_clock::Datetime { s }",
        ),
        ("git", processes, "host/src/workspace/git.rs", "Command::new(\"git\")"),
        ("in tests", processes, "host/src/spec.rs", "fn f() {}\n#[cfg(test)]\nmod tests { Command::new(\"git\"); }"),
    ];
    for (what, rule, path, text) in cases {
        assert_eq!(rule(&Source::new(path, (*text).to_owned())), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn documents_are_read_for_paths_and_tests() {
    let text =
        "`host/src/cli/`, `.kiro/specs/<spec>/tasks.md`, `cargo test`, `wit/*.wit`, `test: a_rule_holds`, host/x";
    let expected = [".kiro/specs/", "host/src/cli/", "wit/"].map(str::to_owned);
    assert_eq!(paths_in(text), BTreeSet::from(expected));
    assert_eq!(tests_in(text), BTreeSet::from(["a_rule_holds".to_owned()]));
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "a /* b /* c */ d */ e \"f\\\"g\" 'h' '\\'' &'i j r##\"k\"# l\"## m // n\no";
    let left: Vec<&str> =
        text.split(' ').filter(|word| code_only(text).split_whitespace().any(|c| c == *word)).collect();
    assert_eq!(left, ["a", "e", "&'i", "j", "m"]);
    assert_eq!(code_only(text).lines().count(), text.lines().count());
}
