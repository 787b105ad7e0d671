//! `doctor`: shows what `service::doctor` finds, with what to do about it.

use std::process::ExitCode;

use super::args::DoctorArgs;
use super::report::MISSING;
use super::style::Style;
use super::{neutral, open, out, run};
use crate::service::{DoctorOptions, Examined, Health, ServiceError, examine};

/// Runs `doctor`.
pub(crate) async fn run(args: DoctorArgs, style: Style) -> Result<ExitCode, ServiceError> {
    let DoctorArgs { place, llm, base_url, json } = args;
    let options = DoctorOptions {
        repository: place.repo,
        cwd: open::cwd()?,
        state: place.state,
        cache: run::cache_dir(),
        llm: run::llm(llm.as_deref())?,
        base_url,
        env: run::environment(),
    };
    let found = examine(options).await;
    if json {
        out::json(&found)?;
    } else {
        out::print(&text(&found, style))?;
    }
    let missing = found.iter().any(|examined| examined.state == Health::Fail);
    Ok(if missing { ExitCode::from(MISSING) } else { ExitCode::SUCCESS })
}

fn text(found: &[Examined], style: Style) -> String {
    let mut text = String::new();
    for Examined { name, state, text: what, advice } in found {
        let state = match state {
            Health::Ok => style.green("ok  "),
            Health::Warn => style.yellow("warn"),
            Health::Fail => style.red("fail"),
        };
        text.push_str(&format!("{state}  {}  {}\n", style.bold(&format!("{name:<10}")), neutral::line(what)));
        if let Some(advice) = advice {
            text.push_str(&format!("                  → {}\n", neutral::line(advice)));
        }
    }
    text
}
