//! `plugin swap` and `plugin rollback`: ask the process that works in the state directory for another component.

use crate::cli::args::Place;
use crate::cli::args::swap::{RollbackArgs, SwapArgs};
use crate::cli::style::Style;
use crate::cli::table::{Cell, Table};
use crate::cli::{neutral, open, out, words};
use crate::domain::seat::{Component, SeatedBy};
use crate::plugin::PluginKind;
use crate::service::control::{ControlError, Refusal, RefusalKind};
use crate::service::plugins::PluginSource;
use crate::service::replay::{Shadow, ShadowChange};
use crate::service::swap::{self, Rollback, SeatChange, SeatChanged, Swap, SwapSource, file_digest};
use crate::service::{ServiceError, StateDirError, blocking};

/// Runs `plugin swap`.
pub(crate) async fn swap(args: SwapArgs, style: Style) -> Result<(), ServiceError> {
    let SwapArgs { kind, plugin, max_changed, last, place, json } = args;
    if kind == PluginKind::Spirit && (max_changed.is_some() || last.is_some()) {
        return Err(ServiceError::Usage(
            "--max-changed and --last are for policies and heuristics: a spirit's model would have to be asked again"
                .to_owned(),
        ));
    }
    let source = source(kind, &plugin).await?;
    let change = SeatChange::Swap(Swap { kind, source, max_changed, last });
    let instead = format!(
        "choose it at the start, with `necro-host run --plugin {kind}={plugin}` or for good in necro.toml, [plugins]"
    );
    told(&ask(&place, change, &instead).await?, &place, json, style)
}

/// Runs `plugin rollback`.
pub(crate) async fn rollback(args: RollbackArgs, style: Style) -> Result<(), ServiceError> {
    let RollbackArgs { seat, to, place, json } = args;
    let change = SeatChange::Rollback(Rollback { seat, to });
    let instead = "the next run begins with what `--plugin` and necro.toml name";
    told(&ask(&place, change, instead).await?, &place, json, style)
}

/// A file as it is now, or a name.
async fn source(kind: PluginKind, text: &str) -> Result<SwapSource, ServiceError> {
    let cwd = open::cwd()?;
    let own = text.strip_prefix(&format!("{kind}/")).filter(|_| !cwd.join(text).exists());
    match PluginSource::parse(own.unwrap_or(text)) {
        PluginSource::Named(name) => Ok(SwapSource::Named { name }),
        PluginSource::File(path) => {
            let path = cwd.join(path);
            let read = path.clone();
            let digest = blocking(move || file_digest(&read)).await?;
            Ok(SwapSource::File { path, digest })
        }
    }
}

async fn ask(place: &Place, change: SeatChange, instead: &str) -> Result<SeatChanged, ServiceError> {
    let nobody = |at: String| {
        ServiceError::Usage(format!(
            "no run and no `serve` works in {at}, so that nothing is there to be swapped: {instead}"
        ))
    };
    let state = match open::state(place).await {
        Ok(state) => state,
        Err(ServiceError::StateDir(StateDirError::Missing { path })) => return Err(nobody(path.display().to_string())),
        Err(error) => return Err(error),
    };
    match swap::ask(&state, change).await {
        Err(ServiceError::Control(ControlError::Nobody { path })) => Err(nobody(path.display().to_string())),
        asked => asked,
    }
}

/// Prints what it came to. A refusal is an error after that.
fn told(changed: &SeatChanged, place: &Place, json: bool, style: Style) -> Result<(), ServiceError> {
    if json {
        out::json(changed)?;
    } else {
        out::print(&text(changed, &open::flags(place), style))?;
    }
    match &changed.refused {
        None => Ok(()),
        Some(reason) => {
            let Component { name, .. } = &changed.component;
            let message = format!("{} `{name}` is not seated: {reason} (--max-changed)", changed.kind);
            Err(ControlError::Refused(Refusal { kind: RefusalKind::Conflict, message }).into())
        }
    }
}

fn text(changed: &SeatChanged, flags: &str, style: Style) -> String {
    let SeatChanged { refused, seat, kind, component, replaces, by, run, shadow } = changed;
    let mut text = shadow.as_ref().map_or_else(String::new, |shadow| shadowed(shadow, *kind, style));
    if refused.is_some() {
        return text;
    }
    let replaced = replaces.as_ref().map_or_else(String::new, |replaced| format!(" in place of {}", named(replaced)));
    let whose = match run {
        Some(run) => format!(" in run {run}"),
        None => " for what is decided outside of runs".to_owned(),
    };
    let verb = if *by == SeatedBy::Rollback { "seated again:" } else { "seated:" };
    let (seat, component) = (neutral::line(seat), style.bold(&named(component)));
    text.push_str(&format!("{} {seat} {component}{replaced}{whose}\n", style.green(verb)));
    text.push_str("attempts and decisions under way end with the component that they began with\n");
    if replaces.is_some() {
        text.push_str(&format!("back: necro-host plugin rollback {}{flags}\n", open::quoted(&seat)));
    }
    text
}

fn named(component: &Component) -> String {
    format!("{} ({})", neutral::line(&component.name), component.digest.short())
}

/// What would have been decided otherwise.
fn shadowed(shadow: &Shadow, kind: PluginKind, style: Style) -> String {
    let Shadow { decisions, changed, failed, not_tried, first } = shadow;
    let mut text = String::new();
    if !first.is_empty() {
        let mut table = Table::new(&["", "TIME", "ATTEMPT", "RECORDED", "NEW", "WHY"]);
        first.iter().for_each(|change| table.row(row(change)));
        text.push_str(&table.render(style, out::columns()));
        let more = changed.saturating_sub(first.len() as u64);
        if more > 0 {
            text.push_str(&format!("… and {more} more\n"));
        }
    }
    let (what, verb) = if kind == PluginKind::Review { ("review", "read differently") } else { ("decision", "change") };
    let count = |number: u64, one: &str| words::count(usize::try_from(number).unwrap_or(usize::MAX), one);
    let recorded = match decisions {
        0 => format!("no recorded {what} to show it\n"),
        all => format!("{changed} of the newest {} would {verb}", count(*all, what)),
    };
    text.push_str(&recorded);
    if *decisions > 0 {
        let failed = if *failed > 0 { format!("; it failed on {}", count(*failed, "input")) } else { String::new() };
        let lost = if *not_tried > 0 { format!("; {not_tried} cannot be read") } else { String::new() };
        text.push_str(&format!("{failed}{lost}\n"));
    }
    if first.iter().any(|change| change.estimate) {
        text.push_str("~ is an estimate: after the first change the input would have been another one\n");
    }
    text
}

fn row(change: &ShadowChange) -> Vec<Cell> {
    let ShadowChange { at, execution: _, attempt, recorded, new, reason, estimate, failed } = change;
    let mark = if *estimate { Cell::painted("~", Style::yellow) } else { "".into() };
    let new: Cell = if *failed { Cell::painted(&format!("fails; {new}"), Style::red) } else { new.as_str().into() };
    vec![
        mark,
        words::clock(*at).into(),
        attempt.as_deref().unwrap_or("").into(),
        recorded.as_str().into(),
        new,
        reason.as_str().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::RunId;
    use crate::store::digest_of;

    fn component(name: &str) -> Component {
        Component { name: name.to_owned(), digest: digest_of(name.as_bytes()) }
    }

    fn changed(refused: Option<&str>, shadow: Option<Shadow>) -> SeatChanged {
        SeatChanged {
            refused: refused.map(str::to_owned),
            seat: "routing".to_owned(),
            kind: PluginKind::Routing,
            component: component("mine"),
            replaces: Some(component("least-busy")),
            by: SeatedBy::Swap,
            run: RunId::new("run-1").ok(),
            shadow,
        }
    }

    #[test]
    fn the_table_comes_first_then_who_sits_where_and_the_way_back() {
        let change = ShadowChange {
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            execution: None,
            attempt: Some("list/2#1".to_owned()),
            recorded: "frontend_spirit_1".to_owned(),
            new: "qa_spirit_1".to_owned(),
            reason: "the last candidate".to_owned(),
            estimate: true,
            failed: false,
        };
        let shadow = Shadow { decisions: 3, changed: 2, failed: 1, not_tried: 1, first: vec![change] };
        let shown = text(&changed(None, Some(shadow.clone())), " --state /s", Style::plain());
        assert!(shown.contains("list/2#1") && shown.contains("… and 1 more\n"), "{shown}");
        assert!(shown.contains("2 of the newest 3 decisions would change; it failed on 1 input; 1 cannot be read\n"));
        assert!(shown.contains("seated: routing mine (") && shown.contains("in place of least-busy ("), "{shown}");
        assert!(shown.ends_with("back: necro-host plugin rollback routing --state /s\n"), "{shown}");
        let refused = text(&changed(Some("too many"), Some(shadow)), "", Style::plain());
        assert!(!refused.contains("seated:") && refused.contains("would change"), "{refused}");
    }

    #[test]
    fn without_records_there_is_nothing_to_show_it() {
        let none = Shadow { decisions: 0, changed: 0, failed: 0, not_tried: 0, first: Vec::new() };
        assert_eq!(shadowed(&none, PluginKind::Review, Style::plain()), "no recorded review to show it\n");
    }
}
