//! `graph`: the dependency graph, drawn by `domain::graph`.

use super::args::{GraphArgs, GraphFormat};
use super::{neutral, open, out};
use crate::domain::graph::{Drawing, Format, draw};
use crate::service::ServiceError;

/// Runs `graph`.
pub(crate) async fn run(args: GraphArgs) -> Result<(), ServiceError> {
    let GraphArgs { format, query } = args;
    let named = query.spec;
    let tasks = open::read(&query.place, move |records| {
        let spec = records.spec(named.as_deref())?;
        Ok(records.reader.tasks(&spec)?)
    })
    .await?;
    let format = match format {
        _ if query.json => Format::Json,
        GraphFormat::Mermaid => Format::Mermaid,
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Json => Format::Json,
        GraphFormat::Waves => Format::Waves,
    };
    let drawings: Vec<Drawing<'_>> = tasks.iter().map(Drawing::from).collect();
    let drawn = draw(&drawings, format);
    out::print(&if format == Format::Json { neutral::json(&drawn) } else { neutral::block(&drawn) })
}
