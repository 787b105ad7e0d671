//! Files of the repository that decide what a command of the gate does. Commands are the base
//! commit's, but `make test` means what the attempt's Makefile says: an attempt that changes such a
//! file has changed its own judge.

use serde_json::Value;

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judge {
    /// A whole file.
    File(String),
    /// Scripts of `package.json`.
    Scripts(Vec<String>),
}

/// Where the scripts of npm and its like are.
const PACKAGE: &str = "package.json";

/// Programs that read a file of recipes: its possible names, and the flags that name another.
const RECIPES: [(&str, &[&str], &[&str]); 6] = [
    ("make", &["GNUmakefile", "makefile", "Makefile"], &["-f", "--file", "--makefile"]),
    ("gmake", &["GNUmakefile", "makefile", "Makefile"], &["-f", "--file", "--makefile"]),
    ("just", &["justfile", "Justfile", ".justfile"], &["-f", "--justfile"]),
    ("rake", &["Rakefile", "rakefile", "Rakefile.rb", "rakefile.rb"], &["-f", "--rakefile"]),
    ("tox", &["tox.ini"], &["-c", "--conf"]),
    ("nox", &["noxfile.py"], &["-f", "--noxfile"]),
];

/// Programs whose first argument is a program of the repository, unless it is a flag.
const INTERPRETERS: [&str; 10] = ["sh", "bash", "dash", "zsh", "python", "python3", "node", "ruby", "perl", "deno"];

/// Programs that run scripts of `package.json`.
const SCRIPT_RUNNERS: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];

/// What decides what `argv` does, as far as its program and arguments show. Tests themselves are not
/// among it: they are what an attempt is asked to write.
#[must_use]
pub fn judges(argv: &[String]) -> Vec<Judge> {
    let Some((program, arguments)) = argv.split_first() else { return Vec::new() };
    if program.contains('/') {
        return own_file(program).into_iter().collect();
    }
    if INTERPRETERS.contains(&program.as_str()) {
        let script = arguments.first().filter(|argument| !argument.starts_with('-'));
        return script.and_then(|script| own_file(script)).into_iter().collect();
    }
    if let Some((_, names, flags)) = RECIPES.iter().find(|(name, ..)| name == program) {
        let named = arguments.iter().zip(arguments.iter().skip(1)).find(|(flag, _)| flags.contains(&flag.as_str()));
        return match named {
            Some((_, file)) => own_file(file).into_iter().collect(),
            None => names.iter().map(|name| Judge::File((*name).to_owned())).collect(),
        };
    }
    if SCRIPT_RUNNERS.contains(&program.as_str()) {
        let mut words = arguments.iter().filter(|argument| !argument.starts_with('-')).map(String::as_str);
        let script = match words.next() {
            Some("run" | "run-script") => words.next(),
            Some("t" | "tst") => Some("test"),
            other => other,
        };
        let of = |script: &str| vec![format!("pre{script}"), script.to_owned(), format!("post{script}")];
        return script.map(|script| Judge::Scripts(of(script))).into_iter().collect();
    }
    Vec::new()
}

/// A path inside the repository.
fn own_file(path: &str) -> Option<Judge> {
    let path = path.trim_start_matches("./");
    (!path.starts_with('/') && !path.is_empty()).then(|| Judge::File(path.to_owned()))
}

impl Judge {
    /// The file that it is in, from the root of the repository.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::File(path) => path,
            Self::Scripts(_) => PACKAGE,
        }
    }

    /// Whether it says something else in `new` than in `old`; `None`: there is no such file.
    #[must_use]
    pub fn differs(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
        match self {
            Self::File(_) => old != new,
            Self::Scripts(names) => {
                let (old, new) = (scripts(old), scripts(new));
                names.iter().any(|name| old.get(name) != new.get(name))
            }
        }
    }
}

fn scripts(package: Option<&[u8]>) -> Value {
    let package: Value = serde_json::from_slice(package.unwrap_or_default()).unwrap_or_default();
    package.get("scripts").cloned().unwrap_or_default()
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
