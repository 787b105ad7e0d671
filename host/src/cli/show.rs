//! `show`: everything about one task: where it stands, why each attempt went to whom, and what came
//! of it. `gather` reads, `print` writes.

mod conversation;
mod gather;
mod print;

use super::args::ShowArgs;
use super::style::Style;
use super::{open, out};
use crate::service::ServiceError;

/// Runs `show`.
pub(crate) async fn run(args: ShowArgs, style: Style) -> Result<(), ServiceError> {
    let ShowArgs { task, attempt, conversation, query } = args;
    let named = query.spec;
    let (shown, flags) = open::read(&query.place, move |records| {
        let spec = records.spec(named.as_deref())?;
        let key = records.task(&spec, &task)?;
        Ok((gather::gather(records, key, attempt, conversation)?, records.flags.clone()))
    })
    .await?;
    if query.json {
        return out::json(&shown);
    }
    out::print(&print::text(&shown, &flags, style))
}
