//! Log records to standard error, as `--log` and `--log-format` say. A record that nobody can read any
//! more is dropped, and what stands in one is harmless for a terminal.

use std::fmt::Debug;
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::args::LogFormat;
use super::neutral;
use super::style::Style;
use crate::service::ServiceError;

/// What is logged when nothing is said.
const DEFAULT: &str = "warn";

/// Starts logging; once in a process.
pub(crate) fn start(filter: Option<&str>, format: LogFormat, style: Style) -> Result<(), ServiceError> {
    let text = filter.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(DEFAULT);
    let filter = EnvFilter::builder().parse(text).map_err(|error| {
        ServiceError::Usage(format!(
            "`{text}` is no log filter ({error}): write a level, such as `info`, or `necro_host=debug`"
        ))
    })?;
    tracing::subscriber::set_global_default(subscriber(filter, format, style, io::stderr))
        .map_err(|error| ServiceError::Internal(format!("logging cannot be started: {error}")))
}

/// What writes records to what `out` gives.
fn subscriber<W: Write>(
    filter: EnvFilter,
    format: LogFormat,
    style: Style,
    out: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn tracing::Subscriber + Send + Sync> {
    // The library would say that it could not write, and end the program because it cannot say that either.
    let logs = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let field = move |to: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn Debug| {
                let value = neutral::line(&format!("{value:?}"));
                match field.name() {
                    "message" => write!(to, "{value}"),
                    name => write!(to, "{}={value}", style.dim(name)),
                }
            };
            let logs = logs.with_ansi(style.is_coloured()).fmt_fields(debug_fn(field).delimited(" "));
            Box::new(logs.with_writer(move || Loose { out: out(), json: false }).finish())
        }
        LogFormat::Json => Box::new(logs.json().with_writer(move || Loose { out: out(), json: true }).finish()),
    }
}

/// Writes records, and lets go of those that cannot be written.
struct Loose<W> {
    out: W,
    json: bool,
}

impl<W: Write> Write for Loose<W> {
    /// Gets one record at a time.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let _ = if self.json {
            self.out.write_all(neutral::json(&String::from_utf8_lossy(record)).as_bytes())
        } else {
            self.out.write_all(record)
        };
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.out.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written, or takes nothing.
    #[derive(Clone, Default)]
    struct Kept(Option<Arc<Mutex<Vec<u8>>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Some(kept) = &self.0 else { return Err(io::ErrorKind::BrokenPipe.into()) };
            kept.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let kept = Kept(Some(Arc::default()));
        let to = kept.clone();
        let subscriber = subscriber(EnvFilter::new("trace"), format, Style::plain(), move || to.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.unwrap().lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_record_that_cannot_be_written_is_dropped() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let mut loose = Loose { out: Kept::default(), json: format == LogFormat::Json };
            assert_eq!(loose.write(b"{}\n").unwrap(), 3);
            loose.flush().unwrap();
        }
    }

    #[test]
    fn what_stands_in_a_record_cannot_turn_or_colour_the_terminal() {
        let evil = "a\u{202e}b\u{1b}[31m\u{9b}2J\nc\u{2067}";
        let log = || tracing::warn!(error = %evil, model = evil, tries = 3, "the model said {evil}");
        let text = logged(LogFormat::Text, log);
        let shown = neutral::line(evil);
        assert!(text.contains(&format!("the model said {shown} error={shown}")), "{text}");
        assert!(text.ends_with(" tries=3\n") && text.lines().count() == 1, "{text}");
        assert_eq!(neutral::line(&text), text.trim_end(), "a dangerous character is left");

        let json = logged(LogFormat::Json, log);
        assert_eq!(neutral::json(&json), json, "a dangerous character is left");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["fields"]["error"], evil, "{json}");
    }
}
