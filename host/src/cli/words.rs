//! Numbers, times and names in the words that people read; the same ones in every command.

use jiff::Timestamp;

use super::style::Style;
use super::table::Paint;
use crate::domain::call::Cost;
use crate::domain::event::Outcome;
use crate::domain::task::TaskState;

/// At most this many names are listed in an error.
const MAX_NAMES: usize = 30;

/// `2026-11-22 10:00:00`, UTC.
pub(crate) fn when(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `10:00:00`, UTC.
pub(crate) fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

/// How long something took: `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.
pub(crate) fn took(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// From one time to another; 0 when they are the wrong way round.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> String {
    let ms = to.as_millisecond().saturating_sub(from.as_millisecond());
    took(u64::try_from(ms).unwrap_or(0))
}

/// `0.001250 USD`; without a price, so many words.
pub(crate) fn money(microusd: Option<u64>) -> String {
    microusd.map_or_else(
        || "price unknown".to_owned(),
        |microusd| format!("${}.{:06}", microusd / 1_000_000, microusd % 1_000_000),
    )
}

/// Tokens and money.
pub(crate) fn cost(cost: &Cost) -> String {
    let Cost { input_tokens, cached_input_tokens, output_tokens, cost_microusd } = cost;
    let cached = if *cached_input_tokens > 0 { format!(" ({cached_input_tokens} cached)") } else { String::new() };
    format!("{input_tokens} tokens in{cached}, {output_tokens} out, {}", money(*cost_microusd))
}

/// `17 B`, `4.2 KiB`, `3.0 MiB`, `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1024 => return format!("{bytes} B"),
        1024..0x10_0000 => (1 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1_u64 << 30, "GiB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Names in an error: what there is, bounded.
pub(crate) fn listing<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES { format!("{shown} and {} more", names.len() - MAX_NAMES) } else { shown }
}

/// The colour of a state.
pub(crate) const fn state_paint(state: TaskState) -> Paint {
    match state {
        TaskState::Done => Style::green,
        TaskState::Failed => Style::red,
        TaskState::Running => Style::cyan,
        TaskState::Ready => Style::bold,
        TaskState::Blocked | TaskState::Cancelled => Style::dim,
    }
}

/// How an attempt ended, and its colour.
pub(crate) const fn outcome(outcome: Option<Outcome>) -> (&'static str, Paint) {
    match outcome {
        Some(Outcome::Success) => ("passed", Style::green),
        Some(Outcome::Failed) => ("failed", Style::red),
        Some(Outcome::Interrupted) => ("interrupted", Style::yellow),
        None => ("no end recorded", Style::cyan),
    }
}

/// The first lines of a text, and a line that counts what is missing.
pub(crate) fn head(text: &str, lines: usize) -> String {
    let total = text.lines().count();
    if total <= lines {
        return text.to_owned();
    }
    let kept: Vec<&str> = text.lines().take(lines).collect();
    format!("{}\n… {} more\n", kept.join("\n"), count(total - lines, "line"))
}

/// The beginning and, mostly, the end of a text: where commands say what is wrong.
pub(crate) fn ends(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    if all.len() <= lines {
        return text.to_owned();
    }
    let first = lines / 4;
    let last = lines - first;
    let missing = all.len() - lines;
    let missing = count(missing, "line");
    format!("{}\n… {missing} left out …\n{}\n", all[..first].join("\n"), all[all.len() - last..].join("\n"))
}

/// The text with `by` in front of every line.
pub(crate) fn indent(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{}\n", format!("{by}{line}").trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_their_unit() {
        let table = [(7, "7 ms"), (1_250, "1.2 s"), (65_000, "1 min 05 s"), (7_380_000, "2 h 03 min")];
        for (ms, words) in table {
            assert_eq!(took(ms), words);
        }
        for (bytes, words) in [(17, "17 B"), (4_300, "4.1 KiB"), (3 << 20, "3.0 MiB"), (3 << 29, "1.5 GiB")] {
            assert_eq!(size(bytes), words);
        }
        assert_eq!(money(Some(1_250)), "$0.001250");
    }

    #[test]
    fn lists_and_texts_are_bounded_and_say_so() {
        assert_eq!(listing(Vec::<String>::new()), "none");
        assert!(listing(0..40).ends_with("29 and 10 more"));
        assert_eq!(head("a\nb\nc\n", 2), "a\nb\n… 1 line more\n");
        assert_eq!(head("a\nb\n", 2), "a\nb\n");
        assert_eq!(ends("1\n2\n3\n4\n5\n6\n", 4), "1\n… 2 lines left out …\n4\n5\n6\n");
        assert_eq!(ends("1\n2\n", 4), "1\n2\n");
    }
}
