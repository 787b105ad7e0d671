//! `plugin exec`: reads a request or a fixture, prints what came of it.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;

use super::super::args::ExecArgs;
use super::super::report::WORK_FAILED;
use super::super::{out, run};
use crate::service::ServiceError;
use crate::service::harness::{ExecRequest, MAX_REQUEST_BYTES, exec};
use crate::service::replay::{Fixture, replay_fixture};

/// Runs `plugin exec`.
pub(crate) async fn run(args: ExecArgs) -> Result<ExitCode, ServiceError> {
    let cache = run::cache_dir();
    if let (Some(file), Some(component)) = (&args.fixture, &args.component) {
        let fixture = Fixture::parse(&read(file)?, &file.display().to_string())?;
        let answer = replay_fixture(&fixture, component, cache).await?;
        out::json(&answer)?;
        return Ok(if answer.same { ExitCode::SUCCESS } else { ExitCode::from(WORK_FAILED) });
    }
    let text = match &args.request {
        Some(file) => read(file)?,
        None => standard_input()?,
    };
    let mut request = ExecRequest::parse(&text)?;
    request.component = args.component.or(request.component);
    out::json(&exec(request, cache).await?)?;
    Ok(ExitCode::SUCCESS)
}

fn standard_input() -> Result<Vec<u8>, ServiceError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(ServiceError::Usage(
            "a request is read from standard input: pipe a JSON object into it, or name a file with --request"
                .to_owned(),
        ));
    }
    bounded(input.lock(), Path::new("standard input"))
}

fn read(path: &Path) -> Result<Vec<u8>, ServiceError> {
    let file = std::fs::File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ServiceError::Usage(format!("there is no file `{}`", path.display())),
        _ => ServiceError::Io { path: path.to_owned(), source },
    })?;
    bounded(file, path)
}

fn bounded(from: impl std::io::Read, path: &Path) -> Result<Vec<u8>, ServiceError> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_REQUEST_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| ServiceError::Io { path: path.to_owned(), source })?;
    Ok(bytes)
}
