//! `plugin new`: a project out of templates, with everything in it that its build needs.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{AuthorError, Language};
use crate::plugin::{PluginKind, manifest};
use crate::service::error::ServiceError;
use crate::service::setup::write_file;

include!(concat!(env!("OUT_DIR"), "/vendored.rs"));

/// What to write.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: PluginKind,
    /// What it is written in.
    pub language: Language,
    /// Where; absent: a folder of its name below `cwd`.
    pub path: Option<PathBuf>,
    /// An SDK to use in place of a copy.
    pub sdk: Option<PathBuf>,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: &'static str,
    /// What it is written in.
    pub language: Language,
    /// Where.
    pub folder: PathBuf,
    /// Files, from its root.
    pub files: Vec<String>,
}

/// A file of a template: where it goes, and its text with `{{…}}` in it.
type Template = (&'static str, &'static str);

/// The templates of a kind in a language.
macro_rules! templates {
    ($folder:literal, $kind:literal, $ending:literal) => {
        (
            include_str!(concat!("templates/", $folder, "/", $kind, ".", $ending)),
            include_str!(concat!("templates/", $folder, "/", $kind, "_test.", $ending)),
        )
    };
}

/// Source and tests.
const fn code(kind: PluginKind, language: Language) -> (&'static str, &'static str) {
    match (language, kind) {
        (Language::Rust, PluginKind::Spirit) => templates!("rust", "spirit", "rs"),
        (Language::Rust, PluginKind::Routing) => templates!("rust", "routing", "rs"),
        (Language::Rust, PluginKind::Scheduling) => templates!("rust", "scheduling", "rs"),
        (Language::Rust, PluginKind::Review) => templates!("rust", "review", "rs"),
        (Language::Python, PluginKind::Spirit) => templates!("python", "spirit", "py"),
        (Language::Python, PluginKind::Routing) => templates!("python", "routing", "py"),
        (Language::Python, PluginKind::Scheduling) => templates!("python", "scheduling", "py"),
        (Language::Python, PluginKind::Review) => templates!("python", "review", "py"),
    }
}

fn templates(kind: PluginKind, language: Language) -> Vec<Template> {
    let (source, tests) = code(kind, language);
    match language {
        Language::Rust => vec![
            ("Cargo.toml", include_str!("templates/rust/Cargo.toml.txt")),
            (".gitignore", include_str!("templates/rust/gitignore.txt")),
            ("README.md", include_str!("templates/rust/README.md")),
            ("src/lib.rs", source),
            ("tests/decides.rs", tests),
        ],
        Language::Python => vec![
            ("requirements.txt", include_str!("templates/python/requirements.txt")),
            (".gitignore", include_str!("templates/python/gitignore.txt")),
            ("README.md", include_str!("templates/python/README.md")),
            ("tests/necro_testing.py", include_str!("templates/python/necro_testing.py")),
            ("app.py", source),
            ("tests/test_app.py", tests),
        ],
    }
}

/// The manifest; only spirits want something of the host.
fn manifest_template(kind: PluginKind, language: Language) -> String {
    let wants = match (kind, language) {
        (PluginKind::Spirit, Language::Rust) => include_str!("templates/spirit.rust.toml"),
        (PluginKind::Spirit, Language::Python) => include_str!("templates/spirit.python.toml"),
        _ => "",
    };
    format!("{}{wants}", include_str!("templates/plugin.toml"))
}

/// Writes a project. Blocking.
///
/// # Errors
/// [`AuthorError`] for a name, folder or SDK that does not do; nothing is written then.
pub fn new(project: &NewProject) -> Result<Made, ServiceError> {
    let NewProject { name, kind, language, path, sdk, cwd } = project;
    manifest::check_name(name).map_err(AuthorError::Name)?;
    // Cargo has no packages of these names: keywords, and what it calls its own.
    if *language == Language::Rust && RESERVED.contains(&name.as_str()) {
        return Err(AuthorError::Name(format!("`{name}` is no name for a package of Rust: choose another")).into());
    }
    let folder = cwd.join(path.clone().unwrap_or_else(|| PathBuf::from(name)));
    let sdk = match (sdk, language) {
        (None, _) => None,
        (Some(_), Language::Python) => return Err(AuthorError::SdkOfPython.into()),
        (Some(sdk), Language::Rust) => Some(sdk_at(&cwd.join(sdk))?),
    };
    if !is_free(&folder) {
        return Err(AuthorError::Occupied { path: folder }.into());
    }
    let values = Values::of(name, *kind, sdk.as_deref());
    let mut files: Vec<(String, String)> =
        templates(*kind, *language).into_iter().map(|(path, text)| (path.to_owned(), values.fill(text))).collect();
    files.push((manifest::FILE_NAME.to_owned(), values.fill(&manifest_template(*kind, *language))));
    let copied = |files: &[Template], folder: &str| {
        files.iter().map(|(path, text)| (format!("{folder}/{path}"), (*text).to_owned())).collect::<Vec<_>>()
    };
    match (language, sdk) {
        (Language::Rust, None) => {
            files.extend(copied(SDK, "vendor/necro-sdk"));
            files.extend(copied(WIT, "vendor/wit"));
        }
        (Language::Rust, Some(_)) => {}
        (Language::Python, _) => files.extend(copied(WIT, "wit")),
    }
    for (path, text) in &files {
        write_file(&folder.join(path), text)?;
    }
    let mut files: Vec<String> = files.into_iter().map(|(path, _)| path).collect();
    files.sort();
    Ok(Made { name: name.clone(), kind: kind.as_str(), language: *language, folder, files })
}

/// Names that cargo refuses, as far as plugins may have them.
const RESERVED: &[&str] = &[
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// A folder that is not there, or is empty.
fn is_free(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn sdk_at(path: &Path) -> Result<PathBuf, AuthorError> {
    let no = || AuthorError::NoSdk { path: path.to_owned() };
    let real = path.canonicalize().map_err(|_| no())?;
    let manifest = std::fs::read_to_string(real.join("Cargo.toml")).map_err(|_| no())?;
    if manifest.contains("name = \"necro-sdk\"") { Ok(real) } else { Err(no()) }
}

/// What stands in for `{{…}}`.
struct Values(Vec<(&'static str, String)>);

impl Values {
    fn of(name: &str, kind: PluginKind, sdk: Option<&Path>) -> Self {
        let sdk = sdk.map_or_else(|| "vendor/necro-sdk".to_owned(), |sdk| sdk.display().to_string());
        let mut title = name.replace('-', " ");
        title[..1].make_ascii_uppercase();
        let description = match kind {
            PluginKind::Spirit => "Does assignments with small, tested changes",
            PluginKind::Routing => "Gives an issue to the free instance of its labels that has waited longest",
            PluginKind::Scheduling => "Starts the tasks that have waited longest",
            PluginKind::Review => "Finds lines that were left for later",
        };
        Self(vec![
            ("{{name}}", name.to_owned()),
            ("{{kind}}", kind.as_str().to_owned()),
            ("{{description}}", description.to_owned()),
            ("{{role}}", name.replace('-', "_").chars().take(MAX_ROLE_CHARS).collect()),
            ("{{title}}", title),
            ("{{sdk}}", toml::Value::String(sdk).to_string()),
        ])
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (mark, value)| text.replace(mark, value))
    }
}

/// Characters of a role.
const MAX_ROLE_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::manifest::Manifest;

    #[test]
    fn every_template_is_filled_and_has_a_manifest_that_can_be_read() {
        for kind in PluginKind::ALL {
            for language in [Language::Rust, Language::Python] {
                let values = Values::of("night-shift", kind, None);
                for (path, text) in templates(kind, language) {
                    assert!(!values.fill(text).contains("{{"), "{path} of {kind}");
                }
                let manifest = Manifest::parse(&values.fill(&manifest_template(kind, language))).unwrap();
                assert_eq!((manifest.name.as_str(), manifest.kind), ("night-shift", kind));
            }
        }
    }

    #[test]
    fn a_routing_policy_is_at_most_fifteen_lines_of_its_authors() {
        let (source, _) = code(PluginKind::Routing, Language::Rust);
        let own = source.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("//"));
        assert!(own.count() <= 15);
    }

    #[test]
    fn the_sdk_that_is_written_needs_no_workspace() {
        let manifest = SDK.iter().find(|(path, _)| *path == "Cargo.toml").unwrap().1;
        assert!(!manifest.contains("workspace"), "{manifest}");
        assert!(toml::from_str::<toml::Table>(manifest).unwrap()["features"].get("harness").is_some());
        assert!(SDK.iter().any(|(path, _)| *path == "src/lib.rs") && WIT.iter().any(|(path, _)| *path == "worlds.wit"));
    }
}
