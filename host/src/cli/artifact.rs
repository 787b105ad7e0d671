//! `artifact ls` and `artifact get`: what attempts left behind.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::args::{Place, QueryArgs};
use super::open::Records;
use super::style::Style;
use super::table::Table;
use super::{neutral, open, out, words};
use crate::domain::id::ArtifactUri;
use crate::registry::ArtifactRecord;
use crate::service::ServiceError;

/// Runs `artifact ls`.
pub(crate) async fn ls(task: Option<String>, query: QueryArgs, style: Style) -> Result<(), ServiceError> {
    let named = query.spec;
    let found = open::read(&query.place, move |records| {
        let spec = records.spec(named.as_deref())?;
        Ok(match task {
            Some(task) => records.reader.artifacts(&records.task(&spec, &task)?)?,
            None => records.reader.artifacts_of_spec(&spec)?,
        })
    })
    .await?;
    if query.json {
        return out::json(&found);
    }
    if found.is_empty() {
        out::tell("there are no artifacts yet");
        return Ok(());
    }
    let mut table = Table::new(&["ADDRESS", "TASK", "TRY", "KIND", "SIZE", "NAME"]);
    for ArtifactRecord { spec: _, task, attempt, artifact } in &found {
        table.row(vec![
            artifact.uri.as_str().into(),
            task.as_ref().map_or("", |task| task.as_str()).into(),
            attempt.map_or_else(String::new, |attempt| attempt.to_string()).into(),
            artifact.kind.as_str().into(),
            words::size(artifact.size_bytes).into(),
            artifact.name.as_str().into(),
        ]);
    }
    out::print(&table.render(style, out::columns()))
}

/// Runs `artifact get`.
pub(crate) async fn get(uri: String, output: Option<PathBuf>, place: Place) -> Result<(), ServiceError> {
    let (record, bytes) = open::read(&place, move |records| fetch(records, &uri)).await?;
    if let Some(path) = output {
        let (size, shown, file) = (record.artifact.size_bytes, path.display().to_string(), path.clone());
        let fail = move |source| ServiceError::Io { path: path.clone(), source };
        open::blocking(move || std::fs::write(&file, &bytes).map_err(fail)).await?;
        out::tell(&format!("wrote {} to {shown}", words::size(size)));
        return Ok(());
    }
    if !std::io::stdout().is_terminal() {
        return out::write(&bytes).map(drop);
    }
    match String::from_utf8(bytes) {
        Ok(text) => out::print(&neutral::block(&text)),
        Err(_) => Err(ServiceError::Usage(format!(
            "`{}` is no text: write it to a file with -o {}",
            record.artifact.uri,
            neutral::line(&record.artifact.name)
        ))),
    }
}

fn fetch(records: &Records, uri: &str) -> Result<(ArtifactRecord, Vec<u8>), ServiceError> {
    let parsed = ArtifactUri::new(uri)?;
    let record = records.reader.artifact(&parsed)?.ok_or_else(|| {
        ServiceError::Usage(format!(
            "there is no artifact `{parsed}`; `necro-host artifact ls{}` lists those that there are",
            records.flags
        ))
    })?;
    let bytes = records.blobs.get(&record.artifact.digest)?;
    Ok((record, bytes))
}
