//! The environment of commands: made from nothing, with what toolchains need to be found. No
//! variable that may hold a secret is passed on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variables that say where toolchains and certificates are.
const PASSED_ON: &[&str] = &[
    "JAVA_HOME",
    "GOROOT",
    "PYENV_ROOT",
    "NVM_DIR",
    "VOLTA_HOME",
    "FNM_DIR",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "MISE_DATA_DIR",
    "RBENV_ROOT",
    "DOTNET_ROOT",
    "NIX_PATH",
    "NIX_SSL_CERT_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUSTUP_AUTO_INSTALL",
];

/// Variables that a command's own settings can't replace: they would undo its private folders.
const FIXED: &[&str] = &["HOME", "TMPDIR"];

/// What of the host's environment commands are given.
#[derive(Debug, Clone)]
pub struct HostEnv {
    pub(crate) path: OsString,
    /// The user's own, which commands do not have.
    pub(super) home: Option<PathBuf>,
    variables: BTreeMap<OsString, OsString>,
}

impl HostEnv {
    /// Reads this process's environment.
    #[must_use]
    pub fn from_process() -> Self {
        Self::from_variables(&|key| std::env::var_os(key))
    }

    /// Reads an environment by its look-up function.
    #[must_use]
    pub fn from_variables(look_up: &dyn Fn(&str) -> Option<OsString>) -> Self {
        // A relative entry would name a folder of the work tree, where a spirit writes.
        let path = look_up("PATH").unwrap_or_default();
        let dirs = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
        let path = std::env::join_paths(dirs).unwrap_or_default();
        let mut variables: BTreeMap<OsString, OsString> =
            PASSED_ON.iter().filter_map(|key| Some(((*key).into(), look_up(key)?))).collect();
        // rustup's programs look below HOME, which commands do not have.
        let home = look_up("HOME").map(PathBuf::from);
        for (key, folder) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
            let below_home = || home.as_ref().map(|h| h.join(folder)).filter(|dir| dir.is_dir());
            if let Some(dir) = look_up(key).map(PathBuf::from).or_else(below_home) {
                variables.insert(key.into(), dir.into());
            }
        }
        let fixed =
            [("LANG", "C.UTF-8"), ("TERM", "dumb"), ("NO_COLOR", "1"), ("CI", "true"), ("GIT_CONFIG_NOSYSTEM", "1")];
        for (key, value) in fixed {
            variables.insert(key.into(), value.into());
        }
        Self { path, home, variables }
    }

    /// Folders and files that the variables of toolchains name. Cargo's home is not one: it has
    /// credentials in it.
    pub(super) fn tool_dirs(&self) -> Vec<PathBuf> {
        let named = PASSED_ON.iter().chain(&["RUSTUP_HOME"]).filter_map(|key| self.variables.get(&OsString::from(key)));
        named.map(PathBuf::from).filter(|path| path.is_absolute()).collect()
    }

    /// Where cargo's programs and sources are.
    pub(super) fn cargo_home(&self) -> Option<PathBuf> {
        self.variables.get(&OsString::from("CARGO_HOME")).map(PathBuf::from)
    }

    /// The whole environment of one command.
    pub(crate) fn of_command(
        &self,
        home: &Path,
        temporary: &Path,
        own: &BTreeMap<String, String>,
    ) -> BTreeMap<OsString, OsString> {
        let mut all = self.variables.clone();
        all.insert("PATH".into(), self.path.clone());
        for (key, value) in own {
            if !FIXED.contains(&key.as_str()) {
                all.insert(key.into(), value.into());
            }
        }
        all.insert("HOME".into(), home.into());
        all.insert("TMPDIR".into(), temporary.into());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_passed_on_that_may_be_a_secret() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".cargo")).unwrap();
        let host = HostEnv::from_variables(&|key| match key {
            "PATH" => Some("/bin:.:relative:/usr/bin".into()),
            "HOME" => Some(home.path().into()),
            "RUSTUP_HOME" => Some("/opt/rustup".into()),
            "OPENAI_API_KEY" | "SSH_AUTH_SOCK" | "https_proxy" => Some("secret".into()),
            _ => None,
        });
        let own = BTreeMap::from([("MODE".to_owned(), "x".to_owned()), ("HOME".to_owned(), "/root".to_owned())]);
        let env = host.of_command(Path::new("/h"), Path::new("/t"), &own);
        let env: BTreeMap<String, String> =
            env.into_iter().map(|(k, v)| (k.into_string().unwrap(), v.into_string().unwrap())).collect();
        let cargo = home.path().join(".cargo").to_string_lossy().into_owned();
        let expected = [
            ("CARGO_HOME", cargo.as_str()),
            ("CI", "true"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("HOME", "/h"),
            ("LANG", "C.UTF-8"),
            ("MODE", "x"),
            ("NO_COLOR", "1"),
            ("PATH", "/bin:/usr/bin"),
            ("RUSTUP_HOME", "/opt/rustup"),
            ("TERM", "dumb"),
            ("TMPDIR", "/t"),
        ];
        let found: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }
}
