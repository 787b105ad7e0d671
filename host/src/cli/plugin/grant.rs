//! `plugin grant`, `revoke` and `diff`: what a plugin asks for, in words, and what an operator decides.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::place_of;
use crate::cli::args::plugin::{DiffArgs, GrantArgs, RevokeArgs};
use crate::cli::style::Style;
use crate::cli::table::Table;
use crate::cli::{neutral, open, out};
use crate::domain::grant::{Interface, Scope};
use crate::domain::limits::LimitSettings;
use crate::plugin::Plugin;
use crate::service::plugins::grants::{self, Asked, Decided, Decision, GrantDiff, GrantLine};
use crate::service::{ServiceError, blocking};

/// Runs `plugin grant`.
pub(crate) async fn grant(args: GrantArgs, style: Style) -> Result<(), ServiceError> {
    let GrantArgs {
        plugin: named,
        all,
        allow,
        models,
        max_tokens,
        read,
        write,
        commands,
        locks,
        artifacts,
        place,
        json,
    } = args;
    let place = place_of(place)?;
    let plugin = place.load(&named).await?;
    let within = Scope { models, max_tokens, read, write, names: commands, prefixes: locks, kinds: artifacts };
    let mut decision = Decision { all, allow: allow.into_iter().collect(), within };
    if !decision.all && decision.allow.is_empty() {
        decision.all = true;
        decide(&plugin, &named, &decision, json, style)?;
    }
    let decided = blocking(move || place.grant(&plugin, &decision)).await?;
    if json { out::json(&decided) } else { out::print(&granted(&decided, style)) }
}

/// Shows what it asks for, and asks whether it shall have it, where somebody can answer.
fn decide(plugin: &Plugin, named: &str, decision: &Decision, json: bool, style: Style) -> Result<(), ServiceError> {
    let asks = grants::asks(plugin);
    if asks.is_empty() && plugin.manifest.as_ref().is_none_or(|manifest| manifest.limits.is_empty()) {
        return Ok(());
    }
    // Bounds that do not fit are said before anybody answers.
    grants::decide(plugin, decision)?;
    let there = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !json;
    let shown = asked(plugin, &asks, style);
    if !there {
        out::tell(shown.trim_end());
        return Err(ServiceError::Usage(format!(
            "nobody is here to answer: type `necro-host plugin grant {} --all`, with the same bounds, or name less with --allow",
            open::quoted(named)
        )));
    }
    out::print(&format!("{shown}Grant all of this? [y/N] "))?;
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim().to_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(()),
        _ => Err(ServiceError::Usage("nothing was granted".to_owned())),
    }
}

fn asked(plugin: &Plugin, asks: &[Asked], style: Style) -> String {
    let mut text =
        format!("{} {} ({}) asks for\n", plugin.kind, style.bold(&neutral::line(&plugin.name)), plugin.digest);
    for Asked { interface, gives, why, optional, scope } in asks {
        let optional = if *optional { " (works without)" } else { "" };
        text.push_str(&format!("  {}: {gives}{optional}\n", style.cyan(interface.name())));
        if !scope.is_empty() {
            text.push_str(&format!("      within: {}\n", neutral::line(scope)));
        }
        let why = why.as_deref().map_or_else(|| "it has no manifest that says why".to_owned(), neutral::line);
        text.push_str(&format!("      why: {why}\n"));
    }
    if let Some(limits) = plugin.manifest.as_ref().map(|manifest| manifest.limits).filter(|limits| !limits.is_empty()) {
        text.push_str(&format!("  limits: {limits}\n"));
    }
    text
}

fn granted(decided: &Decided, style: Style) -> String {
    let Decided { plugin, digest, granted, limits, withheld } = decided;
    let mut text = format!("{} {} ({digest})\n", style.green("granted to"), style.bold(&neutral::line(plugin)));
    text.push_str(&interfaces(granted));
    if !limits.is_empty() {
        text.push_str(&format!("  limits: {limits}\n"));
    }
    if !withheld.is_empty() {
        let names: Vec<&str> = withheld.iter().map(|interface| interface.name()).collect();
        text.push_str(&format!("  not granted: {}\n", names.join(", ")));
    }
    text
}

fn interfaces(granted: &BTreeMap<Interface, Scope>) -> String {
    if granted.is_empty() {
        return "  nothing\n".to_owned();
    }
    let lines = granted.iter().map(|(interface, scope)| match scope.words() {
        words if words.is_empty() => format!("  {interface}\n"),
        words => format!("  {interface}: {}\n", neutral::line(&words)),
    });
    lines.collect()
}

/// Runs `plugin revoke`.
pub(crate) async fn revoke(args: RevokeArgs, style: Style) -> Result<(), ServiceError> {
    let RevokeArgs { plugin, interface, place, json } = args;
    let place = place_of(place)?;
    let taken = blocking(move || place.revoke(&plugin, &interface.into_iter().collect())).await?;
    if json {
        return out::json(&taken);
    }
    let mut text = String::new();
    for Decided { plugin, digest, granted, limits: _, withheld } in &taken {
        let names: Vec<&str> = withheld.iter().map(|interface| interface.name()).collect();
        let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        text.push_str(&format!(
            "{} {names} from {} ({digest}); left:\n",
            style.yellow("taken:"),
            style.bold(&neutral::line(plugin))
        ));
        text.push_str(&interfaces(granted));
    }
    out::print(&text)
}

/// Runs `plugin diff`.
pub(crate) async fn diff(args: DiffArgs, style: Style) -> Result<(), ServiceError> {
    let DiffArgs { plugin: named, place, json } = args;
    let place = place_of(place)?;
    let plugin = place.load(&named).await?;
    let diff = blocking(move || place.compare(&plugin)).await?;
    if json { out::json(&diff) } else { out::print(&differences(&diff, &named, style)) }
}

fn differences(diff: &GrantDiff, named: &str, style: Style) -> String {
    let GrantDiff { plugin, digest, decided, against, lines, limits_granted, limits_asked } = diff;
    let against =
        against.as_ref().map_or_else(|| "nothing was granted before".to_owned(), |old| format!("granted: {old}"));
    let mut text = format!("{}: {digest}; {against}\n", style.bold(&neutral::line(plugin)));
    let mut table = Table::new(&["", "INTERFACE", "GRANTED", "ASKED FOR"]);
    for GrantLine { interface, granted, asked } in lines {
        let mark = match (granted, asked) {
            (None, Some(_)) => "+",
            (Some(_), None) => "-",
            (Some(granted), Some(asked)) if granted != asked => "~",
            _ => "",
        };
        let words = |side: &Option<String>| match side.as_deref() {
            None => "-".to_owned(),
            Some("") => "all".to_owned(),
            Some(words) => neutral::line(words),
        };
        table.row(vec![mark.into(), interface.name().into(), words(granted).into(), words(asked).into()]);
    }
    if lines.is_empty() {
        text.push_str("it asks for nothing\n");
    } else {
        text.push_str(&table.render(style, out::columns()));
    }
    if limits_granted != limits_asked {
        let words = |limits: &LimitSettings| match limits.is_empty() {
            true => "none of its own".to_owned(),
            false => limits.to_string(),
        };
        text.push_str(&format!("limits: granted {}; asked for {}\n", words(limits_granted), words(limits_asked)));
    }
    if !decided && !lines.is_empty() {
        text.push_str(&format!("this digest has no grant: `necro-host plugin grant {named}`\n"));
    }
    text
}
