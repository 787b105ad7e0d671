//! What a component may do: what it imports, its manifest asks for, and an operator approved, all at once.
//! Decided here, by name and by scope; the plugin host asks before every call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Entries of one list of a scope.
pub const MAX_SCOPE_ENTRIES: usize = 200;
/// Bytes of one entry.
pub const MAX_SCOPE_ENTRY_BYTES: usize = 1024;

/// Makes [`Interface`] with its names.
macro_rules! interfaces {
    ($($variant:ident = $name:literal, $gives:literal;)*) => {
        /// An interface of the plugin contract that has to be granted. `log` has not: it carries nothing out.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Interface {
            $(
                #[doc = concat!("`", $name, "`: ", $gives)]
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl Interface {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in `wit/`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it gives, for the person who decides about it.
            #[must_use]
            pub const fn gives(self) -> &'static str {
                match self { $(Self::$variant => $gives),* }
            }
        }
    };
}

interfaces! {
    Llm = "llm", "ask language models, paid from the run's budget";
    Workspace = "workspace", "read the files of the attempt";
    WorkspaceEdit = "workspace-edit", "write and remove the files of the attempt";
    Command = "command", "run the commands that the configuration names";
    Registry = "registry", "read tasks, documents and events of the spec, and leave notes";
    Mailbox = "mailbox", "exchange messages with the spirits of the workspace";
    Lock = "lock", "hold named locks";
    Artifact = "artifact", "read and store artifacts of the spec";
}

impl Interface {
    /// The one with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|interface| interface.name() == name)
    }

    /// The bounds that a scope of it may have.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Llm => &["models", "max_tokens"],
            Self::Workspace => &["read"],
            Self::WorkspaceEdit => &["write"],
            Self::Command => &["names"],
            Self::Lock => &["prefixes"],
            Self::Artifact => &["kinds"],
            Self::Registry | Self::Mailbox => &[],
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A bound within an interface; what is absent is not bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// `llm`: aliases of models.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "entries")]
    pub models: Option<Vec<String>>,
    /// `llm`: tokens sent and received by one execution. The answer that passes it is still given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// `workspace`: globs of files; a name without `/` is meant in every folder.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "globs")]
    pub read: Option<Vec<String>>,
    /// `workspace-edit`: globs of files.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "globs")]
    pub write: Option<Vec<String>>,
    /// `command`: names of commands.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "entries")]
    pub names: Option<Vec<String>>,
    /// `lock`: beginnings of names.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "entries")]
    pub prefixes: Option<Vec<String>>,
    /// `artifact`: kinds that may be stored.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "entries")]
    pub kinds: Option<Vec<String>>,
}

impl Scope {
    /// The first bound that has no meaning for `interface`.
    #[must_use]
    pub fn misplaced(&self, interface: Interface) -> Option<&'static str> {
        let Self { models, max_tokens, read, write, names, prefixes, kinds } = self;
        let set = [
            ("models", models.is_some()),
            ("max_tokens", max_tokens.is_some()),
            ("read", read.is_some()),
            ("write", write.is_some()),
            ("names", names.is_some()),
            ("prefixes", prefixes.is_some()),
            ("kinds", kinds.is_some()),
        ];
        set.into_iter().find(|(key, is_set)| *is_set && !interface.keys().contains(key)).map(|(key, _)| key)
    }

    /// Whether it can be written and read again.
    ///
    /// # Errors
    /// The entry that is too much, and why.
    pub fn check(&self) -> Result<(), String> {
        let Self { models, max_tokens: _, read, write, names, prefixes, kinds } = self;
        let all = [models, read, write, names, prefixes, kinds];
        all.into_iter().flatten().try_for_each(|list| check_entries(list))?;
        [read, write].into_iter().flatten().try_for_each(|list| check_globs(list))
    }

    /// In words, such as `models fast; at most 5000 tokens`; empty for no bound.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { models, max_tokens, read, write, names, prefixes, kinds } = self;
        let lists = [
            ("models", models),
            ("reads", read),
            ("writes", write),
            ("commands", names),
            ("locks", prefixes),
            ("kinds", kinds),
        ];
        let mut words: Vec<String> = lists
            .into_iter()
            .filter_map(|(what, list)| Some(format!("{what} {}", list.as_ref()?.join(", "))))
            .collect();
        words.extend(max_tokens.map(|tokens| format!("at most {tokens} tokens")));
        words.join("; ")
    }
}

/// Interfaces with a scope each: what a plugin asks for, or what an operator approved.
pub type Scopes = BTreeMap<Interface, Scope>;

/// What one component may do. For each interface all scopes hold at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant(BTreeMap<Interface, Vec<Scope>>);

impl Grant {
    /// Every interface without any bound: for the host's own components, and where something else decides.
    #[must_use]
    pub fn everything() -> Self {
        Self(Interface::ALL.iter().map(|interface| (*interface, Vec::new())).collect())
    }

    /// What `asked` and `approved` have in common.
    #[must_use]
    pub fn of(asked: &Scopes, approved: &Scopes) -> Self {
        let both = asked.iter().filter_map(|(interface, scope)| {
            let approved = approved.get(interface)?;
            Some((*interface, vec![scope.clone(), approved.clone()]))
        });
        Self(both.collect())
    }

    /// Whether it has the interface at all.
    #[must_use]
    pub fn has(&self, interface: Interface) -> bool {
        self.0.contains_key(&interface)
    }

    /// The interfaces that it has.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface> {
        self.0.keys().copied()
    }

    /// The interfaces with their bounds in words, for records and people.
    #[must_use]
    pub fn words(&self) -> BTreeMap<Interface, String> {
        let words = |scopes: &Vec<Scope>| {
            let each: BTreeSet<String> = scopes.iter().map(Scope::words).filter(|words| !words.is_empty()).collect();
            each.into_iter().collect::<Vec<_>>().join(" and ")
        };
        self.0.iter().map(|(interface, scopes)| (*interface, words(scopes))).collect()
    }

    fn scopes(&self, interface: Interface) -> impl Iterator<Item = &Scope> {
        self.0.get(&interface).into_iter().flatten()
    }

    /// Whether the model alias may be asked, after `spent` tokens of this execution.
    ///
    /// # Errors
    /// What is not granted, in words.
    pub fn check_llm(&self, model: &str, spent: u64) -> Result<(), String> {
        for scope in self.scopes(Interface::Llm) {
            within("the model", model, scope.models.as_deref())?;
            if let Some(max) = scope.max_tokens.filter(|max| spent >= *max) {
                return Err(format!("{spent} tokens are used, {max} are granted"));
            }
        }
        Ok(())
    }

    /// Whether the command may be run.
    ///
    /// # Errors
    /// As above.
    pub fn check_command(&self, name: &str) -> Result<(), String> {
        self.scopes(Interface::Command).try_for_each(|scope| within("the command", name, scope.names.as_deref()))
    }

    /// Whether the lock may be taken.
    ///
    /// # Errors
    /// As above.
    pub fn check_lock(&self, name: &str) -> Result<(), String> {
        for prefixes in self.scopes(Interface::Lock).filter_map(|scope| scope.prefixes.as_ref()) {
            if !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                return Err(format!("the lock `{}` begins with none of: {}", cut(name), prefixes.join(", ")));
            }
        }
        Ok(())
    }

    /// Whether an artifact of this kind may be stored.
    ///
    /// # Errors
    /// As above.
    pub fn check_artifact(&self, kind: &str) -> Result<(), String> {
        self.scopes(Interface::Artifact).try_for_each(|scope| within("the kind", kind, scope.kinds.as_deref()))
    }

    /// The rules for paths.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let sets = |interface: Interface, list: fn(&Scope) -> Option<&Vec<String>>| {
            self.scopes(interface).filter_map(list).map(|globs| set(globs)).collect()
        };
        Paths {
            bases: self
                .scopes(Interface::Workspace)
                .filter_map(|scope| scope.read.as_ref())
                .map(|globs| globs.iter().map(|glob| base(glob).to_owned()).collect())
                .collect(),
            read: sets(Interface::Workspace, |scope| scope.read.as_ref()),
            write: sets(Interface::WorkspaceEdit, |scope| scope.write.as_ref()),
        }
    }
}

fn within(what: &str, name: &str, allowed: Option<&[String]>) -> Result<(), String> {
    match allowed {
        Some(allowed) if !allowed.iter().any(|entry| entry == name) => {
            Err(format!("{what} `{}` is none of: {}", cut(name), allowed.join(", ")))
        }
        _ => Ok(()),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Which files may be read and written; paths are relative to the work tree, with links resolved.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    read: Vec<GlobSet>,
    /// Folders that the globs of each set lie below, with a `/` at their end; empty for everywhere.
    bases: Vec<Vec<String>>,
    write: Vec<GlobSet>,
}

impl Paths {
    /// Whether every file may be read, so that nothing needs to be left out.
    #[must_use]
    pub fn reads_all(&self) -> bool {
        self.read.is_empty()
    }

    /// Whether the file may be read.
    #[must_use]
    pub fn may_read(&self, path: &str) -> bool {
        self.read.iter().all(|set| set.is_match(path))
    }

    /// Whether a folder may be named in a listing: something that may be read could lie in it.
    #[must_use]
    pub fn may_see_folder(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        let could = |base: &String| folder.starts_with(base.as_str()) || base.starts_with(&folder);
        self.bases.iter().all(|bases| bases.iter().any(could))
    }

    /// Whether the file may be written or removed.
    #[must_use]
    pub fn may_write(&self, path: &str) -> bool {
        self.write.iter().all(|set| set.is_match(path))
    }
}

/// A set of checked globs; one that nobody checked matches nothing.
fn set(globs: &[String]) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    for glob in globs.iter().filter_map(|glob| compiled(glob).ok()) {
        builder.add(glob);
    }
    builder.build().unwrap_or_else(|_| GlobSet::empty())
}

/// The folder that everything which a glob matches lies below.
fn base(glob: &str) -> &str {
    let plain = glob.find(['*', '?', '[', '{', '\\']).unwrap_or(glob.len());
    glob[..plain].rfind('/').map_or("", |at| &glob[..=at])
}

fn compiled(glob: &str) -> Result<globset::Glob, globset::Error> {
    // As in a .gitignore: a name alone is meant at any depth.
    let anywhere = if glob.contains('/') { glob.to_owned() } else { format!("**/{glob}") };
    GlobBuilder::new(&anywhere).literal_separator(true).build()
}

/// Reads a list of bounded, printable entries.
pub(crate) fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    check_entries(&list).map_err(D::Error::custom)?;
    Ok(Some(list))
}

/// Reads a list of globs.
pub(crate) fn globs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let list = entries(deserializer)?;
    list.iter().try_for_each(|list| check_globs(list)).map_err(D::Error::custom)?;
    Ok(list)
}

fn check_entries(list: &[String]) -> Result<(), String> {
    if list.len() > MAX_SCOPE_ENTRIES {
        return Err(format!("{} entries; {MAX_SCOPE_ENTRIES} are allowed", list.len()));
    }
    let wrong = |entry: &&String| {
        entry.is_empty() || entry.len() > MAX_SCOPE_ENTRY_BYTES || entry.chars().any(char::is_control)
    };
    match list.iter().find(wrong) {
        Some(wrong) => Err(format!("`{}` is empty, too long, or has control characters", cut(wrong))),
        None => Ok(()),
    }
}

fn check_globs(list: &[String]) -> Result<(), String> {
    for glob in list {
        compiled(glob).map_err(|error| format!("`{}` is no glob: {}", cut(glob), error.kind()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn only_what_is_asked_for_and_approved_is_granted() {
        let asked = scopes("[llm]\n[workspace]\nread = ['src/**']\n[lock]\n");
        for (approved, has) in [
            ("", vec![]),
            ("[command]", vec![]),
            ("[llm]\n[command]", vec![Interface::Llm]),
            ("[llm]\n[lock]\n[workspace]\n[registry]", vec![Interface::Llm, Interface::Workspace, Interface::Lock]),
        ] {
            let grant = Grant::of(&asked, &scopes(approved));
            assert_eq!(grant.interfaces().collect::<Vec<_>>(), has, "{approved}");
        }
        assert!(!Grant::default().has(Interface::Llm));
        assert_eq!(Grant::everything().interfaces().count(), Interface::ALL.len());
    }

    #[test]
    fn both_scopes_hold_for_paths() {
        let asked = scopes("[workspace]\nread = ['src/**', 'README.md']\n[workspace-edit]\n");
        let approved = scopes("[workspace]\nread = ['*.rs', '*.md']\n[workspace-edit]\nwrite = ['docs/**']");
        let paths = Grant::of(&asked, &approved).paths();
        for (path, read, write) in [
            ("src/a.rs", true, false),
            ("src/deep/b.rs", true, false),
            ("src/key.pem", false, false),
            ("a.rs", false, false),
            ("README.md", true, false),
            ("docs/README.md", true, true),
            ("docs/x", false, true),
            ("docs2/x", false, false),
        ] {
            assert_eq!((paths.may_read(path), paths.may_write(path)), (read, write), "{path}");
        }
        assert!(!paths.reads_all());
        for (folder, seen) in [("src", true), ("src/deep", true), ("docs", true), (".github", true)] {
            // `README.md` may lie anywhere.
            assert_eq!(paths.may_see_folder(folder), seen, "{folder}");
        }
        let paths = Grant::of(&scopes("[workspace]"), &scopes("[workspace]\nread = ['src/web/*.ts']")).paths();
        for (folder, seen) in [("src", true), ("src/web", true), ("src/web/x", true), ("src/api", false), ("s", false)]
        {
            assert_eq!(paths.may_see_folder(folder), seen, "{folder}");
        }
        assert!(Grant::everything().paths().reads_all());
        assert!(Grant::everything().paths().may_write("x/y"));
    }

    #[test]
    fn names_prefixes_kinds_and_tokens_are_bounded() {
        let approved = scopes(
            "[llm]\nmodels = ['fast']\nmax_tokens = 100\n[command]\nnames = ['test']\n[lock]\nprefixes = ['db/']\n\
             [artifact]\nkinds = ['log']",
        );
        let grant = Grant::of(&scopes("[llm]\n[command]\n[lock]\n[artifact]"), &approved);
        assert_eq!(grant.check_llm("fast", 99), Ok(()));
        assert_eq!(grant.check_llm("fast", 100), Err("100 tokens are used, 100 are granted".to_owned()));
        assert_eq!(grant.check_llm("strong", 0), Err("the model `strong` is none of: fast".to_owned()));
        assert!(grant.check_command("test").is_ok() && grant.check_command("deploy").is_err());
        assert!(grant.check_lock("db/users").is_ok() && grant.check_lock("d").is_err());
        assert!(grant.check_artifact("log").is_ok() && grant.check_artifact("binary").is_err());
        let words = grant.words();
        assert_eq!(words[&Interface::Llm], "models fast; at most 100 tokens");
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        let grant =
            Grant::of(&scopes("[command]\n[workspace]"), &scopes("[command]\nnames = []\n[workspace]\nread = []"));
        assert!(grant.check_command("test").is_err());
        assert!(!grant.paths().may_read("a"));
    }

    #[test]
    fn a_bound_of_another_interface_is_found() {
        for (interface, text, wrong) in [
            (Interface::Llm, "models = []\nmax_tokens = 1", None),
            (Interface::Llm, "read = ['a']", Some("read")),
            (Interface::Mailbox, "names = ['a']", Some("names")),
            (Interface::WorkspaceEdit, "read = ['a']", Some("read")),
        ] {
            let scope: Scope = toml::from_str(text).unwrap();
            assert_eq!(scope.misplaced(interface), wrong, "{interface} {text}");
        }
    }

    #[test]
    fn what_cannot_be_a_scope_is_refused() {
        let many = format!("names = [{}]", "'a',".repeat(MAX_SCOPE_ENTRIES + 1));
        for wrong in ["read = ['a[']", "names = ['']", "names = [\"a\\n\"]", "reads = ['a']", "max_tokens = -1", &many]
        {
            assert!(toml::from_str::<Scope>(wrong).is_err(), "{wrong}");
        }
    }
}
