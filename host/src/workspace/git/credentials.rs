//! The operator's credential helpers. They are taken from the operator's own configuration alone, the one of no
//! repository, and only when that says `necro.credentials = true`; a helper runs with the operator's home, git
//! itself does not.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// What a helper may need to find what it keeps.
const HELPER_ENV: &[&str] =
    &["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// Where the operator's own configuration is, as the environment says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operator {
    env: Vec<(&'static str, OsString)>,
    config: Option<OsString>,
}

impl Operator {
    /// The one who started this process.
    pub(crate) fn of_process() -> Self {
        let env = HELPER_ENV.iter().filter_map(|key| Some((*key, std::env::var_os(key)?))).collect();
        Self { env, config: std::env::var_os("GIT_CONFIG_GLOBAL") }
    }

    /// One with this home.
    #[cfg(test)]
    pub(crate) fn at(home: &std::path::Path) -> Self {
        Self { env: vec![("HOME", home.as_os_str().to_owned())], config: None }
    }

    /// The environment in which git reads their configuration, and only that.
    pub(crate) fn reading(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        let config = self.config.iter().map(|file| ("GIT_CONFIG_GLOBAL", file.as_os_str()));
        self.env.iter().map(|(key, value)| (*key, value.as_os_str())).chain(config)
    }

    /// Settings for a call that may need credentials, of what `git config --null --get-regexp` printed. Nothing
    /// when the operator has not asked for it.
    pub(crate) fn settings(&self, printed: &[u8]) -> Vec<String> {
        let printed = String::from_utf8_lossy(printed);
        let entries = || printed.split('\0').filter_map(|entry| entry.split_once('\n'));
        let asked = entries().filter(|(key, _)| *key == "necro.credentials").map(|(_, value)| value.to_lowercase());
        let asked = asked.reduce(|_, last| last);
        if !asked.is_some_and(|value| ["true", "yes", "on", "1"].contains(&value.as_str())) {
            return Vec::new();
        }
        let known: BTreeSet<&str> = [".helper", ".username", ".usehttppath"].into();
        entries()
            // What follows the first `=` would be read as the value.
            .filter(|(key, _)| key.starts_with("credential.") && !key.contains('='))
            .filter(|(key, _)| known.iter().any(|end| key.ends_with(end)))
            .map(|(key, value)| match key.ends_with(".helper") && !value.is_empty() {
                true => format!("{key}={}", self.helper(value)),
                false => format!("{key}={value}"),
            })
            .collect()
    }

    /// The helper, with the operator's environment, as git starts it by a shell.
    fn helper(&self, value: &str) -> String {
        let mut shell = String::from("!");
        for (key, value) in &self.env {
            let value = value.to_string_lossy().replace('\'', r"'\''");
            shell.push_str(&format!("export {key}='{value}'; "));
        }
        match value.strip_prefix('!') {
            Some(own) => shell.push_str(own),
            None if value.starts_with('/') => shell.push_str(value),
            None => shell.push_str(&format!("git credential-{value}")),
        }
        shell
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn helpers_are_taken_when_the_operator_says_so_and_as_git_means_them() {
        let operator = Operator::at(Path::new("/home/o'k"));
        let printed = |asked: &str| {
            format!(
                "necro.credentials\n{asked}\0credential.helper\nstore --file x\0credential.https://h.helper\n\0\
                 credential.https://h.helper\n!gh auth git-credential\0credential.x=y.helper\nbad\0\
                 credential.helper\n/opt/a b\0credential.username\nme\0credential.other\nz\0"
            )
        };
        assert_eq!(operator.settings(printed("false").as_bytes()), Vec::<String>::new());
        assert_eq!(operator.settings(b""), Vec::<String>::new());
        let home = r"!export HOME='/home/o'\''k'; ";
        assert_eq!(
            operator.settings(printed("True").as_bytes()),
            [
                format!("credential.helper={home}git credential-store --file x"),
                "credential.https://h.helper=".to_owned(),
                format!("credential.https://h.helper={home}gh auth git-credential"),
                format!("credential.helper={home}/opt/a b"),
                "credential.username=me".to_owned(),
            ]
        );
    }
}
