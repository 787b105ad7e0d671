//! `plugin ls` and `plugin inspect`: what a component is, what it may do, where it is stopped.

pub(crate) mod grant;
pub(crate) mod history;
pub(crate) mod install;
pub(crate) mod swap;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::args::plugin::{InspectArgs, LsArgs};
use super::args::{Place, PluginCommand};
use super::style::Style;
use super::table::Table;
use super::{author, neutral, open, out, words};
use crate::domain::id::Digest;
use crate::plugin::Compiling;
use crate::plugin::manifest::Setting;
use crate::service::plugins::grants::{self, Asked, Standing};
use crate::service::plugins::install::Available;
use crate::service::plugins::speechless;
use crate::service::{ServiceError, blocking};

/// Runs `plugin …`.
pub(crate) async fn run(command: PluginCommand, style: Style, err: Style) -> Result<ExitCode, ServiceError> {
    match command {
        PluginCommand::Author(command) => return author::run(command, style, err).await,
        PluginCommand::Ls(args) => ls(args, style).await?,
        PluginCommand::Inspect(args) => inspect(args, style).await?,
        PluginCommand::Install(args) => install::install(args, style).await?,
        PluginCommand::Update(args) => install::update(args, style).await?,
        PluginCommand::Remove(args) => install::remove(args, style).await?,
        PluginCommand::Grant(args) => grant::grant(args, style).await?,
        PluginCommand::Revoke(args) => grant::revoke(args, style).await?,
        PluginCommand::Diff(args) => grant::diff(args, style).await?,
        PluginCommand::Swap(args) => swap::swap(args, style).await?,
        PluginCommand::Rollback(args) => swap::rollback(args, style).await?,
        PluginCommand::History(args) => history::history(args, style).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where plugins are asked about.
pub(crate) fn place_of(place: Place) -> Result<grants::Place, ServiceError> {
    let Place { repo: repository, state } = place;
    let compiling = Compiling::telling(|plugin, size_bytes| {
        let size = words::size(size_bytes as u64);
        out::tell(&format!("compiling `{}` ({size}), once", neutral::line(plugin)));
    });
    Ok(grants::Place { repository, cwd: open::cwd()?, state, cache: super::run::cache_dir(), compiling })
}

/// Runs `plugin ls`.
async fn ls(args: LsArgs, style: Style) -> Result<(), ServiceError> {
    let LsArgs { place, json } = args;
    let place = place_of(place)?;
    let available = place.available().await?;
    if json {
        return out::json(&available);
    }
    let mut table = Table::new(&["KIND", "NAME", "VERSION", "FROM", "GRANTS", "SIZE", "SHA-256"]);
    for Available { kind, name, version, source, size_bytes, digest, here, decided } in &available {
        let source = if *here { neutral::line(source) } else { format!("{} (not here)", neutral::line(source)) };
        let version = version.as_deref().map_or_else(|| "-".to_owned(), neutral::line);
        let decided = if *decided { "decided" } else { "asks" };
        table.row(vec![
            kind.as_str().into(),
            name.as_str().into(),
            version.into(),
            source.into(),
            decided.into(),
            words::size(*size_bytes).into(),
            digest.as_str().into(),
        ]);
    }
    out::print(&table.render(style, out::columns()))
}

/// What `plugin inspect --json` prints.
#[derive(Debug, Serialize)]
struct Inspected {
    name: String,
    kind: &'static str,
    world: &'static str,
    version: Option<String>,
    description: Option<String>,
    digest: Digest,
    size_bytes: u64,
    imports: Vec<String>,
    capabilities: Vec<String>,
    #[serde(flatten)]
    standing: Standing,
    /// Settings that it takes; null without a manifest.
    settings: Option<BTreeMap<String, Setting>>,
    /// What the plugin says of itself; null for policies, which say nothing.
    says: Value,
}

/// Runs `plugin inspect`.
async fn inspect(args: InspectArgs, style: Style) -> Result<(), ServiceError> {
    let InspectArgs { plugin: named, place, json } = args;
    let place = place_of(place)?;
    let plugin = place.load(&named).await?;
    let says = plugin.describe().await.result.map_err(|error| speechless(&plugin, &error))?;
    let asked = Arc::clone(&plugin);
    let standing = blocking(move || place.standing(&asked)).await?;
    let manifest = plugin.manifest.as_ref();
    let inspected = Inspected {
        name: plugin.name.clone(),
        kind: plugin.kind.as_str(),
        world: plugin.kind.world(),
        version: manifest.map(|manifest| manifest.version.clone()),
        description: manifest.and_then(|manifest| manifest.description.clone()),
        digest: plugin.digest.clone(),
        size_bytes: plugin.bytes.len() as u64,
        imports: plugin.imports.clone(),
        capabilities: plugin.capabilities().map(str::to_owned).collect(),
        standing,
        settings: manifest.map(|manifest| manifest.settings.clone()),
        says,
    };
    if json { out::json(&inspected) } else { out::print(&text(&inspected, style)) }
}

fn text(inspected: &Inspected, style: Style) -> String {
    let Inspected {
        name,
        kind,
        world,
        version,
        description,
        digest,
        size_bytes,
        imports,
        standing,
        settings,
        says,
        ..
    } = inspected;
    let mut lines = Lines::new(style);
    lines.one("name", &style.bold(&neutral::line(name)));
    lines.one("kind", &format!("{kind} (world {world})"));
    lines.all("version", version.iter().map(|text| neutral::line(text)));
    lines.all("about", description.iter().map(|text| neutral::line(text)));
    lines.one("sha-256", digest.as_str());
    lines.one("size", &words::size(*size_bytes));
    let Standing { asks, decided, not_asked, granted, limits } = standing;
    if asks.is_empty() {
        lines.one("asks", "for nothing");
    }
    lines.all("asks", asks.iter().map(wish));
    if !not_asked.is_empty() {
        lines.one("imports", &format!("but does not ask for: {}", not_asked.join(", ")));
    }
    let granted = granted.iter().map(|(interface, within)| match within.as_str() {
        "" => interface.name().to_owned(),
        within => format!("{interface}: {}", neutral::line(within)),
    });
    match (*decided, asks.is_empty()) {
        (_, true) => {}
        (false, false) => lines.one("granted", &style.yellow("nobody has decided: `necro-host plugin grant`")),
        (true, false) if standing.granted.is_empty() => lines.one("granted", "nothing"),
        (true, false) => lines.all("granted", granted),
    }
    lines.all("imports", imports.iter().map(|import| neutral::line(import)));
    let limits = serde_json::to_value(limits).unwrap_or_default();
    lines.all("limits", limits.as_object().into_iter().flatten().map(|(limit, value)| format!("{limit} = {value}")));
    lines.all("settings", settings.iter().flatten().map(|(name, setting)| taken(name, setting)));
    lines.all("says", said(says));
    lines.text
}

/// What a plugin says of itself, a line for each field.
pub(super) fn said(says: &Value) -> impl Iterator<Item = String> {
    says.as_object().into_iter().flatten().map(|(key, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{key}: {}", neutral::line(&value))
    })
}

/// Lines with their names in a column.
pub(super) struct Lines {
    pub(super) text: String,
    style: Style,
}

impl Lines {
    pub(super) fn new(style: Style) -> Self {
        Self { text: String::new(), style }
    }

    pub(super) fn one(&mut self, name: &str, value: &str) {
        self.text.push_str(&format!("{} {value}\n", self.style.dim(&format!("{name:<8}"))));
    }

    /// The name stands at the first of them.
    pub(super) fn all(&mut self, name: &str, values: impl Iterator<Item = String>) {
        for (position, value) in values.enumerate() {
            self.one(if position == 0 { name } else { "" }, &value);
        }
    }
}

fn wish(asked: &Asked) -> String {
    let Asked { interface, gives: _, why, optional, scope } = asked;
    let scope = if scope.is_empty() { String::new() } else { format!(" ({})", neutral::line(scope)) };
    let why = why.as_ref().map_or_else(String::new, |why| format!(": {}", neutral::line(why)));
    let optional = if *optional { "; works without" } else { "" };
    format!("{interface}{scope}{why}{optional}")
}

fn taken(name: &str, setting: &Setting) -> String {
    let mut facts = serde_json::to_value(setting).unwrap_or_default();
    let about = facts.as_object_mut().and_then(|facts| facts.remove("description"));
    let facts: Vec<String> = facts
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(fact, value)| *fact != "required" || **value == true)
        .map(|(fact, value)| match value.as_f64() {
            Some(number) => format!("{fact} {number}"),
            None => format!("{fact} {value}"),
        })
        .collect();
    let about = about.and_then(|about| about.as_str().map(|text| format!(" — {text}"))).unwrap_or_default();
    neutral::line(&format!("{name}: {}{about}", facts.join(", ")))
}
