//! `plugin install`, `update` and `remove`.

use super::place_of;
use crate::cli::args::plugin::{InstallArgs, RemoveArgs, UpdateArgs};
use crate::cli::style::Style;
use crate::cli::{neutral, out, words};
use crate::service::plugins::install::{Installation, NewPlugin, Restored};
use crate::service::plugins::lock::LOCK_FILE;
use crate::service::{ServiceError, blocking};

/// Runs `plugin install`.
pub(crate) async fn install(args: InstallArgs, style: Style) -> Result<(), ServiceError> {
    let InstallArgs { source, name, sha256, place, json } = args;
    let place = place_of(place)?;
    let Some(source) = source else {
        let restored = place.install_locked().await?;
        return if json { out::json(&restored) } else { out::print(&fetched(&restored, style)) };
    };
    let installed = place.install(NewPlugin { source, name, digest: sha256 }).await?;
    if json { out::json(&installed) } else { out::print(&text(&installed, style)) }
}

/// Runs `plugin update`.
pub(crate) async fn update(args: UpdateArgs, style: Style) -> Result<(), ServiceError> {
    let UpdateArgs { plugin, from, sha256, place, json } = args;
    let installed = place_of(place)?.update(&plugin, from, sha256).await?;
    if json { out::json(&installed) } else { out::print(&text(&installed, style)) }
}

/// Runs `plugin remove`.
pub(crate) async fn remove(args: RemoveArgs, style: Style) -> Result<(), ServiceError> {
    let RemoveArgs { plugin, place, json } = args;
    let place = place_of(place)?;
    let removed = blocking(move || place.remove(&plugin)).await?;
    if json {
        return out::json(&removed);
    }
    let what = format!("{}/{}", removed.kind, removed.name);
    out::print(&format!("{} {what} ({}), with its grant\n", style.yellow("removed"), removed.digest))
}

fn text(installation: &Installation, style: Style) -> String {
    let Installation { entry, before, needs_grant } = installation;
    let what = format!("{}/{}", entry.kind, entry.name);
    let version = entry.version.as_ref().map_or_else(String::new, |version| format!(" {}", neutral::line(version)));
    if before.as_ref() == Some(&entry.digest) {
        return format!("{what}{version} is up to date ({})\n", entry.digest);
    }
    let mut text = format!(
        "{} {}{version} ({}, {}), locked in {LOCK_FILE}\n",
        style.green("installed"),
        style.bold(&what),
        entry.digest,
        words::size(entry.size_bytes)
    );
    if let Some(before) = before {
        text.push_str(&format!("  it was {before}\n"));
    }
    let name = &entry.name;
    if *needs_grant {
        let look = if before.is_some() { format!("`necro-host plugin diff {name}`, then ") } else { String::new() };
        text.push_str(&format!("  it wants what nobody has granted yet: {look}`necro-host plugin grant {name}`\n"));
    }
    text.push_str(&format!(
        "  use it: `necro-host run … --plugin {}={name}`, or [plugins] in necro.toml\n",
        entry.kind
    ));
    text
}

fn fetched(restored: &[Restored], style: Style) -> String {
    if restored.is_empty() {
        return format!("{LOCK_FILE} names no plugin\n");
    }
    let line = |Restored { entry, fetched }: &Restored| {
        let what = format!("{}/{}", entry.kind, entry.name);
        let state = if *fetched { style.green("installed") } else { style.dim("was here") };
        format!("{state} {what} ({})\n", entry.digest)
    };
    restored.iter().map(line).collect()
}
