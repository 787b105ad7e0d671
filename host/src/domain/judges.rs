//! Files of the repository that decide what a command of the gate does. Commands are the base
//! commit's, but `make test` means what the attempt's Makefile says: an attempt that changes such a
//! file has changed its own judge. Seen is what the command itself names; what those files call in
//! turn is not followed, because that is where the code under test begins.

use std::collections::BTreeSet;

use serde_json::Value;

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judge {
    /// A whole file.
    File(String),
    /// Scripts of a `package.json`, and those that they name.
    Scripts {
        /// The file.
        package: String,
        /// The scripts.
        names: Vec<String>,
    },
}

/// Programs that start the program that follows.
const WRAPPERS: [&str; 9] = ["env", "timeout", "nice", "ionice", "nohup", "time", "stdbuf", "setsid", "xvfb-run"];

/// Programs that read a file of recipes, its possible names, and the flags that name another.
const RECIPES: [(&str, &[&str], &[&str]); 6] = [
    ("make", &["GNUmakefile", "makefile", "Makefile"], &["-f", "--file", "--makefile"]),
    ("gmake", &["GNUmakefile", "makefile", "Makefile"], &["-f", "--file", "--makefile"]),
    ("just", &["justfile", "Justfile", ".justfile"], &["-f", "--justfile"]),
    ("rake", &["Rakefile", "rakefile", "Rakefile.rb", "rakefile.rb"], &["-f", "--rakefile"]),
    ("tox", &["tox.ini"], &["-c", "--conf"]),
    ("nox", &["noxfile.py"], &["-f", "--noxfile"]),
];

/// Programs whose first argument is a program of the repository, unless one of these flags says what
/// to run instead.
const INTERPRETERS: [(&str, &[&str]); 11] = [
    ("sh", &["-c"]),
    ("bash", &["-c"]),
    ("dash", &["-c"]),
    ("zsh", &["-c"]),
    ("ksh", &["-c"]),
    ("python", &["-c", "-m"]),
    ("python3", &["-c", "-m"]),
    ("node", &["-e", "--eval", "-p", "--print"]),
    ("ruby", &["-e"]),
    ("perl", &["-e", "-E"]),
    ("php", &["-r"]),
];

/// Programs that run scripts of `package.json`.
const SCRIPT_RUNNERS: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];
/// Flags of these and of make that name the folder to work in.
const FOLDER_FLAGS: [&str; 6] = ["--prefix", "-C", "--dir", "--cwd", "--directory", "--working-directory"];
/// Flags of the same whose value is no word of the command.
const VALUE_FLAGS: [&str; 6] = ["-w", "--workspace", "-F", "--filter", "--loglevel", "-o"];

/// What decides what `argv` does, as far as its program and arguments show. Tests themselves are not
/// among it: they are what an attempt is asked to write.
#[must_use]
pub fn judges(argv: &[String]) -> Vec<Judge> {
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let Some((program, arguments)) = unwrapped(&argv).split_first() else { return Vec::new() };
    if program.contains('/') && !program.starts_with('/') {
        return own_file("", program).into_iter().collect();
    }
    let program = program.rsplit('/').next().unwrap_or(program);
    if let Some((_, instead)) = INTERPRETERS.iter().find(|(name, _)| *name == program) {
        let script = script_of(arguments, instead);
        return script.and_then(|script| own_file("", script)).into_iter().collect();
    }
    let folder = value_of(arguments, &FOLDER_FLAGS).unwrap_or_default();
    if let Some((_, names, flags)) = RECIPES.iter().find(|(name, ..)| *name == program) {
        return match value_of(arguments, flags) {
            Some(file) => own_file(folder, file).into_iter().collect(),
            None => names.iter().filter_map(|name| own_file(folder, name)).collect(),
        };
    }
    if SCRIPT_RUNNERS.contains(&program) {
        return scripts_of(folder, arguments).into_iter().collect();
    }
    Vec::new()
}

/// The command that is really run: wrappers go, with their flags, assignments and numbers.
fn unwrapped<'a, 'b>(mut argv: &'a [&'b str]) -> &'a [&'b str] {
    while let [program, rest @ ..] = argv
        && WRAPPERS.contains(&program.rsplit('/').next().unwrap_or(program))
    {
        let belongs = |word: &str| word.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        let own = rest.iter().take_while(|word| belongs(word) || word.contains('=')).count();
        argv = &rest[own..];
    }
    argv
}

/// The first word that is no flag; none when a flag says what to run.
fn script_of<'a>(arguments: &[&'a str], instead: &[&str]) -> Option<&'a str> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let is_cluster = word.len() > 2 && !word.starts_with("--");
        // `sh -ec` is `sh -e -c`.
        let names = |flag: &&str| word == flag || is_cluster && flag.len() == 2 && word.ends_with(&flag[1..]);
        if !word.starts_with('-') {
            return Some(word);
        }
        if instead.iter().any(names) {
            return None;
        }
        if VALUE_FLAGS.contains(word) {
            words.next();
        }
    }
    None
}

/// The value of the last of `flags`: `-f x`, `-fx`, `--file x` or `--file=x`.
fn value_of<'a>(arguments: &[&'a str], flags: &[&str]) -> Option<&'a str> {
    let mut found = None;
    for (at, word) in arguments.iter().enumerate() {
        for flag in flags {
            match word.strip_prefix(flag) {
                Some("") => found = arguments.get(at + 1).copied(),
                Some(value) if flag.starts_with("--") => found = value.strip_prefix('=').or(found),
                Some(value) => found = Some(value),
                None => {}
            }
        }
    }
    found
}

fn scripts_of(folder: &str, arguments: &[&str]) -> Option<Judge> {
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if FOLDER_FLAGS.contains(word) || VALUE_FLAGS.contains(word) {
            rest.next();
        } else if !word.starts_with('-') {
            words.push(*word);
        }
    }
    let script = match words[..] {
        ["run" | "run-script", script, ..] => script,
        ["t" | "tst", ..] => "test",
        [script, ..] => script,
        [] => return None,
    };
    let package = inside(folder, "package.json")?;
    Some(Judge::Scripts { package, names: vec![format!("pre{script}"), script.to_owned(), format!("post{script}")] })
}

fn own_file(folder: &str, path: &str) -> Option<Judge> {
    inside(folder, path).map(Judge::File)
}

/// A path from a folder of the repository, without `.` and `..`; none when it leads out.
#[must_use]
pub fn inside(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    if folder.starts_with('/') || path.starts_with('/') {
        return None;
    }
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

impl Judge {
    /// The file that it is in, from the root of the repository.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::File(path) | Self::Scripts { package: path, .. } => path,
        }
    }

    /// Whether it says something else in `new` than in `old`; `None`: there is no such file.
    #[must_use]
    pub fn differs(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
        match self {
            Self::File(_) => old != new,
            Self::Scripts { names, .. } => {
                let (old, new) = (scripts(old), scripts(new));
                with_named(names, &old).iter().any(|name| old.get(name) != new.get(name))
            }
        }
    }
}

fn scripts(package: Option<&[u8]>) -> Value {
    let package: Value = serde_json::from_slice(package.unwrap_or_default()).unwrap_or_default();
    package.get("scripts").cloned().unwrap_or_default()
}

/// `names`, and every script that one of them names as a word, such as `lint` in `npm run lint`.
fn with_named(names: &[String], scripts: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut pending = names.to_vec();
    while let Some(name) = pending.pop() {
        let text = scripts.get(&name).and_then(Value::as_str).unwrap_or_default();
        let words = text.split(|c: char| c.is_whitespace() || "&|;()'\"".contains(c));
        let named = words.filter(|word| !word.is_empty() && scripts.get(word).is_some()).map(str::to_owned);
        if all.insert(name) {
            pending.extend(named);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(command: &str) -> Vec<String> {
        let argv: Vec<String> = command.split(' ').map(str::to_owned).collect();
        judges(&argv).iter().map(|judge| judge.path().to_owned()).collect()
    }

    #[test]
    fn what_decides_is_read_off_the_command() {
        for (command, expected) in [
            ("cargo test --offline", &[][..]),
            ("python3 -m pytest", &[]),
            ("sh -c true", &[]),
            ("/usr/bin/true", &[]),
            ("./gradlew test", &["gradlew"]),
            ("ci/test.sh --all", &["ci/test.sh"]),
            ("sh ci/test.sh", &["ci/test.sh"]),
            ("make test", &["GNUmakefile", "makefile", "Makefile"]),
            ("make -f ci/Makefile test", &["ci/Makefile"]),
            ("just test", &["justfile", "Justfile", ".justfile"]),
            ("npm test", &["package.json"]),
            ("pnpm run --silent check", &["package.json"]),
            ("sh -e ci/check.sh", &["ci/check.sh"]),
            ("bash -o pipefail ./ci/../ci/check.sh", &["ci/check.sh"]),
            ("bash -ec true", &[]),
            ("/bin/sh ci/check.sh", &["ci/check.sh"]),
            ("env A=1 sh ci/check.sh", &["ci/check.sh"]),
            ("timeout -k 5 100 nice -n 10 sh ci/check.sh", &["ci/check.sh"]),
            ("sh ../elsewhere.sh", &[]),
            ("make -fci/Makefile check", &["ci/Makefile"]),
            ("make --file=ci/Makefile check", &["ci/Makefile"]),
            ("make -C ci check", &["ci/GNUmakefile", "ci/makefile", "ci/Makefile"]),
            ("npm --prefix web test", &["web/package.json"]),
            ("npm --prefix=web run lint", &["web/package.json"]),
            ("env", &[]),
        ] {
            assert_eq!(paths(command), expected, "{command}");
        }
        assert_eq!(judges(&[]), Vec::new());
    }

    #[test]
    fn of_a_package_only_the_scripts_that_run_decide() {
        let package = |test: &str, more: &str| format!(r#"{{"scripts": {{"test": "{test}"{more}}}}}"#).into_bytes();
        let old = package("jest", "");
        let differs = |judge: &Judge, new: &[u8]| judge.differs(Some(&old), Some(new));
        for command in [vec!["npm", "test"], vec!["npm", "t"], vec!["yarn", "--silent", "test"]] {
            let argv: Vec<String> = command.into_iter().map(str::to_owned).collect();
            let judge = judges(&argv).remove(0);
            assert!(!differs(&judge, &package("jest", r#", "build": "tsc""#)));
            assert!(differs(&judge, &package("true", "")));
            assert!(differs(&judge, &package("jest", r#", "pretest": "exit 0""#)));
            let lint = |lint: &str| package("npm run lint", &format!(r#", "lint": "{lint}", "own": "lint""#));
            assert!(judge.differs(Some(&lint("eslint")), Some(&lint("true"))), "a script that the test calls");
            assert!(differs(&judge, b"{}"));
            assert!(differs(&judge, b"nonsense"));
            assert!(judge.differs(Some(&old), None));
            assert!(judge.differs(None, Some(&old)));
        }
    }

    #[test]
    fn a_file_decides_with_every_byte() {
        let judge = Judge::File("Makefile".to_owned());
        assert!(!judge.differs(Some(b"a"), Some(b"a")) && !judge.differs(None, None));
        assert!(
            judge.differs(Some(b"a"), Some(b"b")) && judge.differs(None, Some(b"")) && judge.differs(Some(b""), None)
        );
    }
}
