//! A difference for people: both sides as text, and the lines in which they differ.

use serde_json::Value;

use crate::cli::style::Style;
use crate::cli::{neutral, out, words};
use crate::service::replay::{Difference, Side};
use crate::workspace::unified;

/// Which execution leaves its record where, and how.
pub(super) fn text(difference: &Difference, style: Style) -> String {
    let Difference { execution, kind, plugin, attempt, call, recorded, now, .. } = difference;
    let of = attempt.as_ref().map_or_else(String::new, |attempt| format!(" of {attempt}"));
    let place = call.map_or_else(|| "its end".to_owned(), |call| format!("call {call}"));
    let heading = format!("first difference: {place} of {} `{plugin}`{of}, execution {execution}", kind.as_str());
    let mut text = format!("\n{}\n", style.bold(&neutral::line(&heading)));
    text.push_str(&format!("  recorded: {}\n  now:      {}\n", title(recorded), title(now)));
    let (before, after) = (body(recorded), body(now));
    let hunks = neutral::block(&unified(&before, &after));
    if hunks.is_empty() {
        return format!("{text}\n");
    }
    let shown = words::head(&format!("--- recorded\n+++ now\n{hunks}"), out::MAX_LINES);
    for line in shown.lines() {
        let painted = match line.as_bytes().first() {
            Some(b'+') => style.green(line),
            Some(b'-') => style.red(line),
            Some(b'@') => style.cyan(line),
            _ => line.to_owned(),
        };
        text.push_str(&format!("    {painted}\n"));
    }
    text.push('\n');
    text
}

/// One side in a few words.
fn title(side: &Side) -> String {
    match side {
        Side::Call { function, .. } => format!("calls `{}`", function.name()),
        Side::Fuel(units) => format!("uses {units} units of fuel"),
        Side::End(outcome) => match (outcome.get("error"), outcome.get("message").and_then(Value::as_str)) {
            (None, _) if outcome.get("ok").is_some() => "ends with a result".to_owned(),
            (None, _) => "has no end".to_owned(),
            (Some(_), message) => format!("ends: {}", neutral::line(message.unwrap_or("without a message"))),
        },
    }
}

fn body(side: &Side) -> String {
    match side {
        Side::Call { function, arguments } => format!("call: {}\n{}", function.name(), readable(arguments)),
        Side::End(outcome) => readable(outcome),
        Side::Fuel(_) => String::new(),
    }
}

/// JSON for reading: one thing a line, and texts of several lines as such.
fn readable(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, "", value, 0);
    out
}

fn write(out: &mut String, name: &str, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let below = heading(out, &indent, name, depth);
            for (key, item) in map {
                write(out, &format!("{key}: "), item, below);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let below = heading(out, &indent, name, depth);
            for item in items {
                write(out, "- ", item, below);
            }
        }
        Value::String(text) if text.contains('\n') => {
            out.push_str(&format!("{indent}{name}|\n"));
            for line in text.lines() {
                out.push_str(&format!("{indent}  {line}\n"));
            }
        }
        scalar => out.push_str(&format!("{indent}{name}{scalar}\n")),
    }
}

/// The line above what is nested; gives the depth of that.
fn heading(out: &mut String, indent: &str, name: &str, depth: usize) -> usize {
    if name.is_empty() {
        return depth;
    }
    out.push_str(&format!("{indent}{}\n", name.trim_end()));
    depth + 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::call::Function;
    use crate::domain::id::{Digest, ExecutionId};
    use crate::registry::ExecutionKind;

    fn difference(call: Option<u64>, recorded: Side, now: Side) -> Difference {
        Difference {
            execution: ExecutionId::new("e-1").unwrap(),
            kind: ExecutionKind::Spirit,
            plugin: "backend".to_owned(),
            component: Digest::new("0".repeat(64)).unwrap(),
            attempt: Some("shop/1#1".to_owned()),
            call,
            recorded,
            now,
        }
    }

    fn write_call(text: &str) -> Side {
        Side::Call { function: Function::WorkspaceWrite, arguments: json!({ "path": "a.rs", "text": text }) }
    }

    #[test]
    fn both_sides_and_the_lines_that_differ_are_shown() {
        let shown =
            text(&difference(Some(7), write_call("one\ntwo\n"), write_call("one\n2\u{1b}[2J\n")), Style::plain());
        assert_eq!(
            shown,
            "\nfirst difference: call 7 of spirit `backend` of shop/1#1, execution e-1\n  recorded: calls \
             `workspace-edit.write`\n  now:      calls `workspace-edit.write`\n    --- recorded\n    +++ now\n    \
             @@ -2,4 +2,4 @@ call: workspace-edit.write\n     path: \"a.rs\"\n     text: |\n       one\n    -  two\n    \
             +  2␛[2J\n\n"
        );
    }

    #[test]
    fn an_end_and_fuel_have_words_of_their_own() {
        let failed = Side::End(json!({ "error": "failure", "message": "gave up" }));
        let shown = text(&difference(Some(3), write_call("x"), failed), Style::plain());
        assert!(shown.contains("now:      ends: gave up"), "{shown}");
        let shown = text(&difference(None, Side::Fuel(7), Side::Fuel(8)), Style::plain());
        assert!(shown.contains("its end of") && shown.contains("recorded: uses 7 units of fuel"), "{shown}");
        assert!(!shown.contains("@@"), "{shown}");
        let nested = readable(&json!({ "a": [{ "b": 1, "c": [] }], "d": null }));
        assert_eq!(nested, "a:\n  -\n    b: 1\n    c: []\nd: null\n");
    }
}
