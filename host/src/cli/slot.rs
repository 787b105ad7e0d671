//! `slot`: the pool in an operator's hands, in words and as JSON.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::SlotCommand;
use super::registry::{clock, place};
use super::report::WORK_FAILED;
use super::style::Style;
use super::table::{Cell, Table};
use super::{out, words};
use crate::domain::pool::{AllocationMetrics, Health, SlotState};
use crate::service::ServiceError;
use crate::service::pools::{Acquired, Changed, Pool, PoolView, SlotView, Wish};

/// Runs `slot`.
pub(crate) async fn run(command: SlotCommand, style: Style) -> Result<ExitCode, ServiceError> {
    match command {
        SlotCommand::Ls { at } => {
            let view = Pool::open(&place(&at)?, clock()).await?.list().await?;
            if at.json { out::json(&view)? } else { out::print(&list(&view, style))? }
        }
        SlotCommand::Show { slot, at } => {
            let view = Pool::open(&place(&at)?, clock()).await?.show(&slot).await?;
            if at.json { out::json(&view)? } else { out::print(&one(&view, style))? }
        }
        SlotCommand::Acquire { slot, rev, holder, ttl, at } => {
            let wish = Wish { slot, at: rev, holder, ttl: Duration::from_secs(ttl) };
            let pool = Pool::open(&place(&at)?, clock()).await?;
            let Some(acquired) = pool.acquire(wish).await? else {
                out::tell("as many slots are held as may be; `necro-host slot ls` says by whom");
                return Ok(ExitCode::from(WORK_FAILED));
            };
            if at.json { out::json(&acquired)? } else { out::print(&mine(&acquired, style))? }
        }
        SlotCommand::Release { lease, at } => {
            let changed = Pool::open(&place(&at)?, clock()).await?.release(&lease).await?;
            tell(&changed, at.json, "given back:", "it was given back before", style)?;
        }
        SlotCommand::Warm { count, rev, at } => {
            let bar = progress(count);
            let pool = Pool::make(&place(&at)?, clock()).await?;
            let warmed = pool.warm(count, rev.as_deref(), |done| bar.set_position(done as u64)).await;
            bar.finish_and_clear();
            let warmed = warmed?;
            if at.json {
                out::json(&warmed)?;
            } else {
                out::print(&format!("{} {}\n", style.green("ready:"), words::count(warmed.len(), "slot")))?;
            }
        }
        SlotCommand::Repair { slot, rev, at } => {
            let changed = Pool::open(&place(&at)?, clock()).await?.repair(&slot, rev.as_deref()).await?;
            tell(&changed, at.json, "repaired:", "", style)?;
        }
        SlotCommand::Isolate { slot, reason, at } => {
            let changed = Pool::open(&place(&at)?, clock()).await?.isolate(&slot, &reason).await?;
            tell(&changed, at.json, "isolated:", "", style)?;
        }
        SlotCommand::Rm { slot, at } => {
            let changed = Pool::open(&place(&at)?, clock()).await?.remove(&slot).await?;
            tell(&changed, at.json, "removed:", "", style)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn progress(count: u32) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} slots  {elapsed}");
    ProgressBar::new(count.into()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn tell(changed: &Changed, json: bool, done: &str, before: &str, style: Style) -> Result<(), ServiceError> {
    if json {
        return out::json(changed);
    }
    if !changed.changed {
        return out::print(&format!("{}: {before}\n", changed.slot));
    }
    let mut text = format!("{} {}\n", style.green(done), changed.slot);
    if let Some(rescued) = &changed.rescued {
        text.push_str(&kept(rescued));
    }
    out::print(&text)
}

fn kept(rescued: &str) -> String {
    format!("kept:  work that was found in it and in no commit: {rescued}; see `necro-host rescue ls`\n")
}

fn mine(acquired: &Acquired, style: Style) -> String {
    let Acquired { slot, path, lease, until, commit, rescued } = acquired;
    let mut text = format!(
        "{} {slot} until {}, at {}\npath:  {}\nback:  necro-host slot release {lease}\n",
        style.green("yours:"),
        words::when(*until),
        commit.short(),
        path.display()
    );
    if let Some(rescued) = rescued {
        text.push_str(&kept(rescued));
    }
    text
}

fn list(view: &PoolView, style: Style) -> String {
    let PoolView { bound, slots, metrics, mean_lend_ms } = view;
    let mut table = Table::new(&["SLOT", "STATE", "HEALTH", "AT", "USED", "HOLDER"]);
    for slot in slots {
        let at = slot.clean_at.as_ref().map_or("-", |commit| commit.short());
        let used = slot.last_used_at.map_or_else(|| "-".to_owned(), words::when);
        table.row(vec![
            slot.number.to_string().into(),
            Cell::painted(&slot.state.to_string(), paint(slot)),
            slot.health.to_string().into(),
            at.into(),
            used.into(),
            holder(slot).into(),
        ]);
    }
    let held = slots.iter().filter(|slot| slot.held).count();
    let mut text = table.render(style, out::columns());
    text.push_str(&format!("{held} of at most {bound} held; {}\n", use_of(metrics, *mean_lend_ms)));
    text
}

fn use_of(metrics: &AllocationMetrics, mean_lend_ms: Option<u64>) -> String {
    let AllocationMetrics { lent, lend_ms: _, prepared: _, held_ms, cleaned: _, rescued, failed, expired } = metrics;
    let mean = mean_lend_ms.map_or_else(String::new, |ms| format!(", ready after {ms} ms on average"));
    format!(
        "lent {lent} times for {} in all{mean}; work kept {rescued} times, not made clean {failed} times, taken from \
         holders that were gone {expired} times",
        words::took(*held_ms)
    )
}

fn holder(slot: &SlotView) -> String {
    match (&slot.isolated, &slot.lease) {
        (Some(isolated), _) => isolated.reason.clone(),
        (None, None) => String::new(),
        (None, Some(lease)) if !slot.held => format!("{} (gone)", lease.holder),
        (None, Some(lease)) if slot.overdue => {
            format!("{} (should be back since {})", lease.holder, words::when(lease.until))
        }
        (None, Some(lease)) => format!("{} until {}", lease.holder, words::when(lease.until)),
    }
}

fn paint(slot: &SlotView) -> fn(Style, &str) -> String {
    match (slot.state, slot.health) {
        (SlotState::Error, _) => Style::red,
        (_, Health::Broken) => Style::yellow,
        (SlotState::Available, _) => Style::green,
        _ => Style::yellow,
    }
}

fn one(slot: &SlotView, style: Style) -> String {
    let mut text = format!("{}  {}, {}\n", slot.slot, paint(slot)(style, &slot.state.to_string()), slot.health);
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<8} {value}\n"));
    line("path:", slot.path.display().to_string());
    if let Some(isolated) = &slot.isolated {
        line("why:", format!("{} (since {})", isolated.reason, words::when(isolated.at)));
        line("next:", format!("necro-host slot repair {}", slot.number));
    }
    if let Some(lease) = &slot.lease {
        line("holder:", holder(slot));
        line("since:", words::when(lease.since));
        line("lease:", lease.id.clone());
    }
    if let Some(commit) = &slot.clean_at {
        line("clean:", format!("at {commit}"));
    }
    line("made:", words::when(slot.created_at));
    if let Some(used) = slot.last_used_at {
        line("used:", words::when(used));
    }
    line("use:", use_of(&slot.metrics, slot.mean_lend_ms));
    text
}
