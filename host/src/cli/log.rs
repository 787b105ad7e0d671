//! Log records to standard error, as `--log` and `--log-format` say.

use std::io;

use tracing_subscriber::EnvFilter;

use super::args::LogFormat;
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
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(style.is_coloured());
    let started = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    started.map_err(|error| ServiceError::Internal(format!("logging cannot be started: {error}")))
}
