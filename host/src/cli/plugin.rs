//! `plugin ls` and `plugin inspect`: what a component is, what it may reach, where it is stopped.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::style::Style;
use super::table::Table;
use super::{neutral, out, run, words};
use crate::domain::id::Digest;
use crate::plugin::builtin::{self, Builtin};
use crate::plugin::{Limits, Plugin, PluginKind};
use crate::service::{self, ServiceError};
use crate::store::digest_of;

/// One line of `plugin ls`.
#[derive(Debug, Serialize)]
struct Listed {
    kind: &'static str,
    name: &'static str,
    size_bytes: usize,
    digest: Digest,
}

/// Runs `plugin ls`.
pub(crate) fn ls(json: bool, style: Style) -> Result<(), ServiceError> {
    let listed: Vec<Listed> = builtin::ALL
        .iter()
        .map(|entry| Listed {
            kind: entry.kind.as_str(),
            name: entry.name,
            size_bytes: entry.bytes.len(),
            digest: digest_of(entry.bytes),
        })
        .collect();
    if json {
        return out::json(&listed);
    }
    let mut table = Table::new(&["KIND", "NAME", "SIZE", "SHA-256"]);
    for Listed { kind, name, size_bytes, digest } in &listed {
        table.row(vec![(*kind).into(), (*name).into(), words::size(*size_bytes as u64).into(), digest.as_str().into()]);
    }
    out::print(&table.render(style, out::columns()))
}

/// What `plugin inspect --json` prints.
#[derive(Debug, Serialize)]
struct Inspected {
    name: String,
    kind: &'static str,
    world: &'static str,
    digest: Digest,
    size_bytes: u64,
    imports: Vec<String>,
    capabilities: Vec<String>,
    limits: Limits,
    /// What the plugin says of itself; null for policies, which say nothing.
    says: Value,
}

/// Runs `plugin inspect`.
pub(crate) async fn inspect(named: String, json: bool, style: Style) -> Result<(), ServiceError> {
    let plugin = load(&named).await?;
    let says = match plugin.kind {
        PluginKind::Spirit => described(&plugin, plugin.describe_role().await.result)?,
        PluginKind::Review => described(&plugin, plugin.describe_heuristic().await.result)?,
        PluginKind::Routing | PluginKind::Scheduling => Value::Null,
    };
    let inspected = Inspected {
        name: plugin.name.clone(),
        kind: plugin.kind.as_str(),
        world: plugin.kind.world(),
        digest: plugin.digest.clone(),
        size_bytes: plugin.bytes.len() as u64,
        imports: plugin.imports.clone(),
        capabilities: plugin.capabilities().map(str::to_owned).collect(),
        limits: Limits::for_kind(plugin.kind),
        says,
    };
    if json { out::json(&inspected) } else { out::print(&text(&inspected, style)) }
}

async fn load(named: &str) -> Result<Arc<Plugin>, ServiceError> {
    let cache = run::cache_dir();
    if Path::new(named).is_file() || named.ends_with(".wasm") {
        return service::load_plugin_file(Path::new(named), cache).await;
    }
    let found: Vec<&Builtin> = builtin::ALL
        .iter()
        .filter(|entry| entry.name == named || format!("{}/{}", entry.kind.as_str(), entry.name) == named)
        .collect();
    match found[..] {
        [entry] => service::load_builtin(entry, cache).await,
        [] => Err(ServiceError::Usage(format!(
            "there is no built-in plugin and no file `{named}`; built in are: {}",
            words::listing(builtin::ALL.iter().map(|entry| format!("{}/{}", entry.kind.as_str(), entry.name)))
        ))),
        _ => Err(ServiceError::Usage(format!("several kinds have a plugin `{named}`: write KIND/{named}"))),
    }
}

fn described<T: Serialize, E: std::error::Error>(plugin: &Plugin, says: Result<T, E>) -> Result<Value, ServiceError> {
    let says = says
        .map_err(|error| ServiceError::Usage(format!("the plugin `{}` cannot say what it is: {error}", plugin.name)))?;
    serde_json::to_value(says).map_err(|error| ServiceError::Internal(error.to_string()))
}

fn text(inspected: &Inspected, style: Style) -> String {
    let Inspected { name, kind, world, digest, size_bytes, imports, capabilities, limits, says } = inspected;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{} {value}\n", style.dim(&format!("{name:<8}"))));
    line("name", &style.bold(&neutral::line(name)));
    line("kind", &format!("{kind} (world {world})"));
    line("sha-256", digest.as_str());
    line("size", &words::size(*size_bytes));
    let can = if capabilities.is_empty() { "nothing".to_owned() } else { capabilities.join(", ") };
    line("can ask", &format!("the host for: {}", neutral::line(&can)));
    for (position, import) in imports.iter().enumerate() {
        line(if position == 0 { "imports" } else { "" }, &neutral::line(import));
    }
    let limits = serde_json::to_value(limits).unwrap_or_default();
    for (position, (limit, value)) in limits.as_object().into_iter().flatten().enumerate() {
        line(if position == 0 { "limits" } else { "" }, &format!("{limit} = {value}"));
    }
    for (position, (key, value)) in says.as_object().into_iter().flatten().enumerate() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line(if position == 0 { "says" } else { "" }, &format!("{key}: {}", neutral::line(&value)));
    }
    text
}
