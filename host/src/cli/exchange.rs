//! `registry export` and `registry import`: what went out, what came in, and what stands elsewhere than it did.

use std::path::PathBuf;

use jiff::tz::Offset;

use super::args::AtArgs;
use super::registry::{clock, place};
use super::style::Style;
use super::{open, out, words};
use crate::registry::{Adjusted, Exported, Imported};
use crate::service::ServiceError;
use crate::service::exchange::{self, ImportOptions};

/// Tasks of one spec that are listed; `--json` has all.
const MAX_ADJUSTED: usize = 20;

/// Runs `registry export`.
pub(crate) async fn export(dir: PathBuf, spec: Option<String>, at: AtArgs, style: Style) -> Result<(), ServiceError> {
    let done = exchange::export(place(&at)?, dir, spec).await?;
    if at.json {
        return out::json(&done);
    }
    if done.specs.is_empty() {
        out::tell("the registry has no specs: nothing was written");
        return Ok(());
    }
    let mut text = format!("{} {}\n", style.green("written:"), open::quoted_path(&done.path));
    for Exported { spec, tasks, events } in &done.specs {
        text.push_str(&format!("  {spec}  {}, {}\n", words::count(*tasks, "task"), words::count(*events, "event")));
    }
    out::print(&text)
}

/// Runs `registry import`.
pub(crate) async fn import(
    dir: PathBuf,
    spec: Option<String>,
    options: ImportOptions,
    at: AtArgs,
    style: Style,
) -> Result<(), ServiceError> {
    let done = exchange::import(place(&at)?, dir, spec, options, clock()).await?;
    for line in &done.damaged {
        out::tell(&format!("{} left out {line}", style.yellow("warning:")));
    }
    let more = done.damaged_lines - done.damaged.len() as u64;
    if more > 0 {
        out::tell(&format!("{} left out {more} lines more", style.yellow("warning:")));
    }
    if at.json {
        return out::json(&done);
    }
    let mut text = String::new();
    for spec in &done.specs {
        text.push_str(&imported(spec, style));
    }
    out::print(&text)
}

fn imported(done: &Imported, style: Style) -> String {
    let Imported { spec, tasks, events, adjusted } = done;
    let (tasks, events) = (words::count(*tasks, "task"), words::count(*events, "event"));
    let mut text = format!("{} {spec}  {tasks}, {events}\n", style.green("imported:"));
    for Adjusted { task, was, is, why } in adjusted.iter().take(MAX_ADJUSTED) {
        text.push_str(&format!("  {task} was {was} and is {is}: {why}\n"));
    }
    if adjusted.len() > MAX_ADJUSTED {
        text.push_str(&format!("  … and {} more\n", adjusted.len() - MAX_ADJUSTED));
    }
    text
}

/// An offset such as `+09:00`.
pub(crate) fn offset(text: &str) -> Result<Offset, String> {
    let wrong = || "an offset has the form +09:00 or -03:30".to_owned();
    let sign = match text.chars().next() {
        Some('+') => 1,
        Some('-') => -1,
        _ => return Err(wrong()),
    };
    let (hours, minutes) = text[1..].split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, limit: i32| match text.parse::<i32>() {
        Ok(number) if text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()) && number <= limit => Ok(number),
        _ => Err(wrong()),
    };
    let seconds = number(hours, 23)? * 3600 + number(minutes, 59)? * 60;
    Offset::from_seconds(sign * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_has_a_sign_and_four_digits() {
        for (text, seconds) in [("+00:00", 0), ("+09:00", 32_400), ("-03:30", -12_600)] {
            assert_eq!(offset(text).unwrap().seconds(), seconds, "{text}");
        }
        for wrong in ["", "09:00", "+9:00", "+09", "+09:60", "+24:00", "+0a:00", "JST", "é9:00"] {
            assert!(offset(wrong).is_err(), "{wrong}");
        }
    }
}
