//! Entries of manifests, read off the lines of a diff: the sections before them may not be shown, so a line
//! has to look like a dependency by itself.

use necro_sdk::review::{ChangedFile, LineKind, file_name};

/// Whose manifest a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Cargo.toml
    Cargo,
    /// package.json
    Npm,
    /// requirements*.txt, pyproject.toml
    Python,
    /// go.mod
    Go,
}

/// A dependency on a line that was added or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_added: bool,
    /// Line in the new file, for one that was added.
    pub(crate) line: Option<u32>,
    /// Whether any version will do.
    pub(crate) is_any_version: bool,
    /// The address or path that it comes from in place of a registry.
    pub(crate) source: Option<String>,
}

impl Kind {
    pub(crate) fn of_manifest(path: &str) -> Option<Self> {
        match file_name(path) {
            "Cargo.toml" => Some(Self::Cargo),
            "package.json" => Some(Self::Npm),
            "pyproject.toml" => Some(Self::Python),
            "go.mod" => Some(Self::Go),
            name if name.starts_with("requirements") && name.ends_with(".txt") => Some(Self::Python),
            _ => None,
        }
    }

    pub(crate) fn of_lock(path: &str) -> Option<Self> {
        let name = file_name(path);
        [Self::Cargo, Self::Npm, Self::Python, Self::Go].into_iter().find(|kind| kind.locks().contains(&name))
    }

    pub(crate) const fn locks(self) -> &'static [&'static str] {
        match self {
            Self::Cargo => &["Cargo.lock"],
            Self::Npm => &["package-lock.json", "yarn.lock", "pnpm-lock.yaml", "npm-shrinkwrap.json", "bun.lockb"],
            Self::Python => &["poetry.lock", "uv.lock", "Pipfile.lock"],
            Self::Go => &["go.sum"],
        }
    }
}

/// Keys of manifests whose values look like versions and are none of a dependency's.
const OWN_KEYS: &[&str] = &[
    "version",
    "edition",
    "rust-version",
    "name",
    "description",
    "license",
    "node",
    "npm",
    "main",
    "types",
    "type",
    "resolver",
    "python",
    "requires-python",
    "readme",
    "homepage",
    "repository",
    "target-version",
    "line-length",
    "minversion",
    "package-manager",
    "packageManager",
    "opt-level",
    "debug",
    "lto",
    "codegen-units",
    "publish",
    "documentation",
    "authors",
    "build-backend",
    "python_version",
    "testpaths",
    "private",
    "author",
];

/// The dependencies on lines that a change added or removed.
pub(crate) fn entries(file: &ChangedFile, kind: Kind) -> Vec<Entry> {
    let is_requirements = file_name(&file.path).starts_with("requirements");
    let mut found = Vec::new();
    for hunk in &file.hunks {
        let mut section: Option<String> = None;
        let mut number = hunk.new_start;
        for line in &hunk.lines {
            let at = number;
            if line.kind != LineKind::Removed {
                number = number.saturating_add(1);
            }
            let text = line.text.trim();
            if let Some(header) = header(text, kind) {
                section = Some(header);
                continue;
            }
            if line.kind == LineKind::Context || !may_depend(section.as_deref(), kind) {
                continue;
            }
            let read = match kind {
                Kind::Cargo => toml_entry(text),
                Kind::Npm => json_entry(text),
                Kind::Python if is_requirements => requirement(text),
                Kind::Python => python_entry(text),
                Kind::Go => go_entry(text),
            };
            if let Some((name, is_any_version, source)) = read {
                let is_added = line.kind == LineKind::Added;
                found.push(Entry { name, is_added, line: is_added.then_some(at), is_any_version, source });
            }
        }
    }
    found
}

/// The section that a line begins.
fn header(text: &str, kind: Kind) -> Option<String> {
    match kind {
        Kind::Cargo | Kind::Python => {
            let name = text.strip_prefix('[')?.split(']').next()?.trim_start_matches('[');
            (text.ends_with(']') && !text.contains(',') && !name.contains('"')).then(|| name.to_owned())
        }
        Kind::Npm => {
            let (name, rest) = text.split_once(':')?;
            (rest.trim_start().starts_with(['{', '['])).then(|| name.trim().trim_matches('"').to_owned())
        }
        Kind::Go => None,
    }
}

/// Whether a section holds dependencies; one that is not shown may.
fn may_depend(section: Option<&str>, kind: Kind) -> bool {
    let Some(section) = section else { return true };
    match kind {
        Kind::Cargo => section.contains("dependencies") || section.starts_with("patch"),
        Kind::Npm => section.to_lowercase().contains("dependencies") || section == "resolutions",
        Kind::Python => {
            section == "project" || section.contains("dependencies") || section.contains("dependency-groups")
        }
        Kind::Go => true,
    }
}

type Read = (String, bool, Option<String>);

/// `name = "1"`, `name = { version = "1" }`, `name.workspace = true`
fn toml_entry(text: &str) -> Option<Read> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim().trim_matches('"');
    let value = value.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !is_name || OWN_KEYS.contains(&name) {
        return None;
    }
    let (name, _) = name.split_once('.').unwrap_or((name, ""));
    if let Some(table) = value.strip_prefix('{') {
        let key = |wanted: &str| {
            table.split(',').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                (key.trim() == wanted).then(|| value.trim().trim_end_matches('}').trim().trim_matches('"').to_owned())
            })
        };
        // A path within the repository is as fixed as the rest of it.
        let source = key("git").or_else(|| key("url")).or_else(|| key("path").filter(|path| path.starts_with('/')));
        let is_dependency = ["version", "git", "path", "workspace", "url"].iter().any(|wanted| key(wanted).is_some());
        let is_any = key("version").is_some_and(|version| is_any(&version));
        return is_dependency.then(|| (name.to_owned(), is_any, source));
    }
    if text.contains(".workspace") {
        return Some((name.to_owned(), false, None));
    }
    let version = value.strip_prefix('"')?.split('"').next()?;
    looks_like_version(version).then(|| (name.to_owned(), is_any(version), None))
}

/// `"name": "^1.0.0",`
fn json_entry(text: &str) -> Option<Read> {
    let (name, value) = text.split_once("\":")?;
    let name = name.trim().trim_start_matches('"');
    let value = value.trim().trim_end_matches(',').trim().strip_prefix('"')?.strip_suffix('"')?;
    if name.is_empty() || OWN_KEYS.contains(&name) {
        return None;
    }
    if is_address(value) {
        return Some((name.to_owned(), false, Some(value.to_owned())));
    }
    let is_local = ["workspace:", "file:", "link:", "npm:"].iter().any(|start| value.starts_with(start));
    let is_version = looks_like_version(value) || value == "latest" || value.is_empty();
    (is_version || is_local).then(|| (name.to_owned(), !is_local && is_any(value), None))
}

/// `name>=1.0`, `name @ https://…`, `-e git+https://…`
fn requirement(text: &str) -> Option<Read> {
    let text = text.split(" #").next().unwrap_or(text).trim();
    let text = text.trim_start_matches("-e ").trim_start_matches("--editable ").trim();
    if text.is_empty() || text.starts_with('#') || text.starts_with('-') {
        return None;
    }
    if is_address(text) {
        return Some((text.to_owned(), false, Some(text.to_owned())));
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let rest = rest.trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']').map_or("", |(_, rest)| rest) } else { rest }.trim();
    if let Some(source) = rest.strip_prefix('@') {
        return Some((name.to_owned(), false, Some(source.trim().to_owned())));
    }
    let version = rest.split(';').next().unwrap_or_default().trim();
    let is_version = version.is_empty() || version.starts_with(['=', '<', '>', '~', '!']);
    is_version.then(|| (name.to_owned(), version.is_empty() || is_any(version), None))
}

/// A line of a list of requirements, or poetry's `name = "^1"`.
fn python_entry(text: &str) -> Option<Read> {
    let listed = text.trim_start_matches("dependencies = [").trim().trim_end_matches([',', ']']).trim();
    let quoted = listed.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_suffix(['"', '\'']));
    match quoted {
        Some(text) if !text.contains(['"', '\'', '/']) || text.contains('@') => requirement(text),
        Some(_) => None,
        None => toml_entry(text),
    }
}

/// `require example.com/a v1.2.3`, or a line of such a block.
fn go_entry(text: &str) -> Option<Read> {
    let text = text.split("//").next().unwrap_or(text).trim();
    if let Some(replaced) = text.strip_prefix("replace ") {
        let (name, by) = replaced.split_once("=>")?;
        return Some((name.trim().to_owned(), false, Some(by.trim().to_owned())));
    }
    let mut words = text.trim_start_matches("require ").split_whitespace();
    let (name, version) = (words.next()?, words.next()?);
    let is_module =
        name.contains('.') && version.starts_with('v') && version[1..].starts_with(|c: char| c.is_ascii_digit());
    is_module.then(|| (name.to_owned(), false, None))
}

fn looks_like_version(text: &str) -> bool {
    let text = text.trim();
    let rest = text.trim_start_matches(['^', '~', '=', '<', '>', ' ', 'v']);
    text == "*" || text == "x" || rest.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a requirement lets any version in.
fn is_any(version: &str) -> bool {
    matches!(version.trim(), "" | "*" | "x" | "X" | "latest" | ">=0" | ">= 0" | ">=0.0.0" | "==*")
}

fn is_address(text: &str) -> bool {
    let starts = ["git+", "git:", "git@", "http://", "https://", "ssh://", "github:", "gitlab:", "bitbucket:"];
    starts.iter().any(|start| text.starts_with(start))
}
