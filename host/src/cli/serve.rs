//! `serve`: owns a state directory and makes the changes that others ask for.

use super::args::ServeArgs;
use super::{out, task};
use crate::service::{ServiceError, office};

/// Runs `serve`.
pub(crate) async fn run(args: ServeArgs) -> Result<(), ServiceError> {
    let interrupted = async {
        // Without signals only `stop` ends it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let listening = |state: &crate::service::StateDir| {
        out::tell(&format!(
            "process {} owns {} and makes changes for others; Ctrl-C or `necro-host stop` ends it",
            std::process::id(),
            state.root().display()
        ));
    };
    office::serve(&task::request(&args.place)?, listening, interrupted).await
}
