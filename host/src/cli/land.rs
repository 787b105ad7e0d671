//! `land`: brings the spec branch into the user's repository, and says what to type next.

use super::args::LandArgs;
use super::style::Style;
use super::{neutral, open, out};
use crate::domain::id::SpecName;
use crate::service::{self, LandOptions, LandSummary, ServiceError};

/// Runs `land`.
pub(crate) async fn run(args: LandArgs, style: Style) -> Result<(), ServiceError> {
    let named = args.spec;
    // Asked through the records first: a wrong name is answered with those that there are.
    let spec = open::read(&args.place, move |records| records.spec(named.as_deref())).await?;
    let repository = args.place.repo.clone();
    let summary = land(repository, open::cwd()?, args.place.state.clone(), spec).await?;
    if args.json { out::json(&summary) } else { out::print(&text(&summary, &args.place.repo, style)) }
}

async fn land(
    repository: String,
    cwd: std::path::PathBuf,
    state: Option<std::path::PathBuf>,
    spec: SpecName,
) -> Result<LandSummary, ServiceError> {
    service::land(&LandOptions { repository, cwd, state, spec }).await
}

fn text(summary: &LandSummary, repository: &str, style: Style) -> String {
    let LandSummary { branch, commit, from, unchanged } = summary;
    let branch = neutral::line(branch);
    let what = match from {
        _ if *unchanged => format!("{branch} was there already, at {}", commit.short()),
        Some(from) => format!("{branch} went from {} to {}", from.short(), commit.short()),
        None => format!("{branch} is new, at {}", commit.short()),
    };
    let git = open::git(repository);
    format!(
        "{} {what}\nlook:   {git} log --graph --oneline {branch}\ntake:   {git} merge {branch}\n",
        style.green("landed:")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::CommitId;

    #[test]
    fn what_happened_to_the_branch_is_said() {
        let commit = |digit: &str| CommitId::new(digit.repeat(40)).unwrap();
        let mut summary = LandSummary { branch: "necro/x".into(), commit: commit("a"), from: None, unchanged: false };
        assert!(text(&summary, ".", Style::plain()).contains("necro/x is new, at aaaaaaaaaa\n"));
        summary.from = Some(commit("b"));
        assert!(text(&summary, ".", Style::plain()).contains("from bbbbbbbbbb to aaaaaaaaaa"));
        summary.unchanged = true;
        assert!(text(&summary, "/r", Style::plain()).contains("already"));
    }
}
