//! Finds a project's tests by the files of its base commit, for repositories without a `necro.toml`.
//! The first indicator that leads to a command wins; one that leads nowhere is passed over.

use serde_json::Value;

use super::{CommandSettings, DEFAULT_TIMEOUT_MS};

/// What a person is told when no gate is configured and none is found.
pub const NO_GATE: &str =
    "no tests were found, so every change that passes the review is merged; name a command in necro.toml under [gate]";

/// Test files that are opened to see which test framework they use.
const MAX_OPENED: usize = 50;

/// npm writes this into every new package.json.
const NPM_PLACEHOLDER: &str = "no test specified";

/// A gate that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// The file that led to it.
    pub indicator: String,
    /// Its commands, in order.
    pub commands: Vec<(&'static str, CommandSettings)>,
}

/// The files of a commit.
struct Files<'a> {
    paths: &'a [String],
    read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

impl Files<'_> {
    fn has(&self, path: &str) -> bool {
        self.paths.iter().any(|p| p == path)
    }

    fn first_of<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.has(name))
    }

    fn text(&self, path: &str) -> String {
        let bytes = if self.has(path) { (self.read)(path) } else { None };
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Files at the root whose names have this beginning.
    fn at_root(&self, start: &str) -> bool {
        self.paths.iter().any(|p| !p.contains('/') && p.starts_with(start))
    }

    fn by_name<'f>(&'f self, fits: impl Fn(&str) -> bool + 'f) -> impl Iterator<Item = &'f String> {
        self.paths.iter().filter(move |p| fits(p.rsplit('/').next().unwrap_or(p)))
    }
}

/// Looks for tests. `paths` are all files of the base commit, with `/`; `read` gives a file's bytes.
/// `None`: there is nothing to run, see [`NO_GATE`].
#[must_use]
pub fn detect(paths: &[String], read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<Detected> {
    let files = Files { paths, read };
    let rules: [fn(&Files<'_>) -> Option<Detected>; 8] = [javascript, python, ruby, go, rust, maven, gradle, make];
    rules.iter().find_map(|rule| rule(&files)).or_else(|| bare_tests(&files))
}

fn found(indicator: &str, run: &[&str]) -> Detected {
    Detected { indicator: indicator.to_owned(), commands: vec![("test", command(run, "Runs the project's tests"))] }
}

fn command(run: &[&str], description: &str) -> CommandSettings {
    CommandSettings {
        run: run.iter().map(|&word| word.to_owned()).collect(),
        description: description.to_owned(),
        timeout_ms: DEFAULT_TIMEOUT_MS,
        extra_args: false,
        spirits: true,
        network: false,
        memory_bytes: 0,
        cpu_seconds: 0,
        processes: 0,
        file_bytes: 0,
    }
}

fn javascript(files: &Files<'_>) -> Option<Detected> {
    const INDICATOR: &str = "package.json";
    if !files.has(INDICATOR) {
        return None;
    }
    let package: Value = serde_json::from_str(&files.text(INDICATOR)).unwrap_or_default();
    let script = package["scripts"]["test"].as_str().filter(|s| !s.contains(NPM_PLACEHOLDER) && !s.trim().is_empty());
    // Lock file, manager, and how it installs just what the lock file says.
    let managers: [(&str, &str, &[&str]); 4] = [
        ("pnpm-lock.yaml", "pnpm", &["pnpm", "install", "--frozen-lockfile"]),
        ("yarn.lock", "yarn", &["yarn", "install", "--frozen-lockfile"]),
        ("package-lock.json", "npm", &["npm", "ci", "--no-audit", "--no-fund"]),
        ("npm-shrinkwrap.json", "npm", &["npm", "ci", "--no-audit", "--no-fund"]),
    ];
    let locked = managers.into_iter().find(|(lock, ..)| files.has(lock));
    let runners: [(&str, &str); 3] = [("jest.config.", "jest"), ("vitest.config.", "vitest"), (".mocharc.", "mocha")];
    let configured = runners.into_iter().find(|(config, _)| files.at_root(config)).map(|(_, runner)| runner);
    let mut gate = match (script, configured) {
        (Some(_), _) => found(INDICATOR, &[locked.map_or("npm", |(_, manager, _)| manager), "test"]),
        (None, Some("vitest")) => found(INDICATOR, &["npx", "--no-install", "vitest", "run"]),
        (None, Some(runner)) => found(INDICATOR, &["npx", "--no-install", runner]),
        (None, None) => {
            node_tests(files)?;
            found(INDICATOR, &["node", "--test"])
        }
    };
    let wants = |key: &str| package[key].as_object().is_some_and(|list| !list.is_empty());
    if let Some((_, _, install)) = locked.filter(|_| wants("dependencies") || wants("devDependencies")) {
        gate.commands.insert(0, ("install", command(install, "Installs the locked dependencies")));
    }
    Some(gate)
}

/// A file that `node --test` finds by itself.
fn node_tests<'f>(files: &'f Files<'_>) -> Option<&'f String> {
    const ENDINGS: [&str; 3] = [".js", ".mjs", ".cjs"];
    files
        .by_name(|name| {
            ENDINGS.iter().filter_map(|e| name.strip_suffix(e)).any(|stem| {
                let tail = [".test", "-test", "_test"].iter().any(|t| stem.ends_with(t));
                tail || stem == "test" || stem.starts_with("test-")
            })
        })
        .find(|p| !p.contains("node_modules/"))
}

fn python_tests(name: &str) -> bool {
    name.strip_suffix(".py").is_some_and(|stem| stem.starts_with("test_") || stem.ends_with("_test") || stem == "test")
}

fn python(files: &Files<'_>) -> Option<Detected> {
    let indicator = files.first_of(&["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "pytest.ini"])?;
    python_gate(files, indicator)
}

fn python_gate(files: &Files<'_>, indicator: &str) -> Option<Detected> {
    let mentions = [
        ("pyproject.toml", "pytest"),
        ("setup.cfg", "pytest"),
        ("tox.ini", "pytest"),
        ("setup.py", "pytest"),
        ("requirements.txt", "pytest"),
        ("requirements-dev.txt", "pytest"),
        ("dev-requirements.txt", "pytest"),
    ];
    let configured = files.has("pytest.ini")
        || mentions.iter().any(|(path, word)| files.text(path).contains(word))
        || files.by_name(|name| name == "conftest.py").next().is_some();
    let has_tests = files.by_name(python_tests).next().is_some();
    if configured && has_tests {
        return Some(found(indicator, &["python3", "-m", "pytest"]));
    }
    if !has_tests {
        return None;
    }
    let imports = |path: &String| {
        let text = files.text(path);
        text.lines().any(|l| l.starts_with("import pytest") || l.starts_with("from pytest"))
    };
    let mut texts = files.by_name(python_tests).take(MAX_OPENED).map(|path| (path, imports(path)));
    if texts.any(|(_, imports)| imports) {
        return Some(found(indicator, &["python3", "-m", "pytest"]));
    }
    // Discovery walks into packages only; a plain folder of tests has to be named.
    let folder = ["tests", "test"].into_iter().find(|folder| {
        let prefix = format!("{folder}/");
        let inside = files.by_name(python_tests).any(|p| p.starts_with(&prefix));
        inside && !files.has(&format!("{prefix}__init__.py"))
    });
    let plain = ["python3", "-m", "unittest", "discover"];
    // `unittest` looks for `test*.py` unless it is told otherwise.
    Some(match folder {
        Some(folder) => found(indicator, &[&plain[..], &["-s", folder]].concat()),
        None => found(indicator, &plain),
    })
}

fn ruby(files: &Files<'_>) -> Option<Detected> {
    const INDICATOR: &str = "Gemfile";
    if !files.has(INDICATOR) {
        return None;
    }
    if files.has(".rspec") || files.by_name(|name| name.ends_with("_spec.rb")).next().is_some() {
        return Some(found(INDICATOR, &["bundle", "exec", "rspec"]));
    }
    files.has("Rakefile").then(|| found(INDICATOR, &["bundle", "exec", "rake", "test"]))
}

fn go(files: &Files<'_>) -> Option<Detected> {
    files.has("go.mod").then(|| found("go.mod", &["go", "test", "./..."]))
}

fn rust(files: &Files<'_>) -> Option<Detected> {
    const INDICATOR: &str = "Cargo.toml";
    if !files.has(INDICATOR) {
        return None;
    }
    let workspace = files.text(INDICATOR).lines().any(|l| l.trim_start().starts_with("[workspace"));
    Some(if workspace {
        found(INDICATOR, &["cargo", "test", "--workspace"])
    } else {
        found(INDICATOR, &["cargo", "test"])
    })
}

fn maven(files: &Files<'_>) -> Option<Detected> {
    let program = if files.has("mvnw") { "./mvnw" } else { "mvn" };
    files.has("pom.xml").then(|| found("pom.xml", &[program, "-B", "test"]))
}

fn gradle(files: &Files<'_>) -> Option<Detected> {
    let indicator = files.first_of(&["build.gradle", "build.gradle.kts"])?;
    let program = if files.has("gradlew") { "./gradlew" } else { "gradle" };
    Some(found(indicator, &[program, "test"]))
}

fn make(files: &Files<'_>) -> Option<Detected> {
    let indicator = files.first_of(&["GNUmakefile", "makefile", "Makefile"])?;
    let target = |line: &str| {
        // `test:` and `build test:`, neither `test := x` nor a recipe line.
        let Some((targets, rest)) = line.split_once(':') else { return false };
        !line.starts_with(['\t', '#', '.'])
            && !rest.starts_with('=')
            && targets.split_whitespace().any(|word| word == "test")
    };
    files.text(indicator).lines().any(target).then(|| found(indicator, &["make", "test"]))
}

/// Tests without any project file.
fn bare_tests(files: &Files<'_>) -> Option<Detected> {
    if let Some(path) = node_tests(files) {
        return Some(found(path, &["node", "--test"]));
    }
    let path = files.by_name(python_tests).next()?;
    python_gate(files, path)
}

#[cfg(test)]
mod tests {
    use super::detect;

    fn gate(files: &[(&str, &str)]) -> String {
        let paths: Vec<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        let read = |path: &str| files.iter().find(|(p, _)| *p == path).map(|(_, text)| text.as_bytes().to_vec());
        let Some(found) = detect(&paths, &read) else { return "none".to_owned() };
        let commands: Vec<String> = found.commands.iter().map(|(_, c)| c.run.join(" ")).collect();
        format!("{}: {}", found.indicator, commands.join(" && "))
    }

    #[test]
    fn the_first_indicator_that_leads_to_a_command_wins() {
        let script = r#"{"scripts":{"test":"node --test"}}"#;
        let placeholder = r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#;
        let needs = r#"{"scripts":{"test":"jest"},"devDependencies":{"jest":"^29"}}"#;
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[], "none"),
            (&[("README.md", "")], "none"),
            (&[("Cargo.toml", "[package]")], "Cargo.toml: cargo test"),
            (&[("Cargo.toml", "[workspace]\nmembers=[]")], "Cargo.toml: cargo test --workspace"),
            (&[("package.json", script), ("Cargo.toml", "")], "package.json: npm test"),
            (&[("package.json", placeholder), ("Cargo.toml", "")], "Cargo.toml: cargo test"),
            (&[("package.json", placeholder), ("src/a.test.mjs", "")], "package.json: node --test"),
            (&[("package.json", "{}"), ("node_modules/x/a.test.js", "")], "none"),
            (&[("package.json", "not json")], "none"),
            (&[("package.json", "{}"), ("vitest.config.ts", "")], "package.json: npx --no-install vitest run"),
            (
                &[("package.json", needs), ("package-lock.json", "{}")],
                "package.json: npm ci --no-audit --no-fund && npm test",
            ),
            (
                &[("package.json", needs), ("yarn.lock", "")],
                "package.json: yarn install --frozen-lockfile && yarn test",
            ),
            (&[("package.json", script), ("package-lock.json", "{}")], "package.json: npm test"),
            (&[("a.test.js", "")], "a.test.js: node --test"),
            (&[("go.mod", "module x")], "go.mod: go test ./..."),
            (
                &[("pyproject.toml", "[tool.pytest.ini_options]"), ("tests/test_a.py", "")],
                "pyproject.toml: python3 -m pytest",
            ),
            (
                &[("pyproject.toml", "[project]"), ("tests/test_a.py", "import pytest\n")],
                "pyproject.toml: python3 -m pytest",
            ),
            (
                &[("pyproject.toml", "[project]"), ("tests/test_a.py", "import unittest\n")],
                "pyproject.toml: python3 -m unittest discover -s tests",
            ),
            (
                &[("setup.py", ""), ("tests/__init__.py", ""), ("tests/test_a.py", "")],
                "setup.py: python3 -m unittest discover",
            ),
            (&[("requirements.txt", "pytest==8"), ("Makefile", "test:\n\ttrue")], "Makefile: make test"),
            (&[("calc.py", ""), ("test_calc.py", "")], "test_calc.py: python3 -m unittest discover"),
            (&[("Gemfile", ""), ("spec/a_spec.rb", "")], "Gemfile: bundle exec rspec"),
            (&[("Gemfile", ""), ("Rakefile", "")], "Gemfile: bundle exec rake test"),
            (&[("pom.xml", ""), ("mvnw", "")], "pom.xml: ./mvnw -B test"),
            (&[("build.gradle.kts", "")], "build.gradle.kts: gradle test"),
            (&[("Makefile", "all: test\n\techo test:\n")], "none"),
            (&[("Makefile", ".PHONY: test\nTEST := 1\ntest := x\nbuild test: a\n")], "Makefile: make test"),
            (&[("sub/Cargo.toml", ""), ("sub/package.json", script)], "none"),
        ];
        for (files, expected) in rows {
            assert_eq!(gate(files), *expected, "{files:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_leads_nowhere() {
        let paths = ["package.json".to_owned(), "Makefile".to_owned()];
        assert_eq!(detect(&paths, &|_| None), None);
        assert_eq!(detect(&paths, &|_| Some(vec![0xff, 0xfe])), None);
    }
}
