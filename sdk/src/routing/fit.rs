//! Who fits an issue: the role that its labels and words name, and of that role those who have a labelled
//! skill. Policies differ in whom of these they choose.

use super::dictionary::is_role;
use super::words::word_scores;
use super::{Candidate, Issue, Score};

/// The role that takes what no word and no label assigns.
pub const FALLBACK_ROLE: &str = "scrum_master";
/// Points of a label: more than all words of the dictionary together can give.
pub const LABEL_POINTS: f64 = 100.0;

/// Candidates among whom a policy chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit<'a> {
    /// Those who fit, in the order in which they were given; none when there are no candidates at all.
    pub candidates: Vec<&'a Candidate>,
    /// Points of each role that has any, best first.
    pub scores: Vec<Score>,
    /// Why these.
    pub reason: String,
}

/// The candidates of the best role that has any, else of [`FALLBACK_ROLE`], else all. Where a label names a
/// skill that some of them have, only those.
#[must_use]
pub fn fit<'a>(issue: &Issue, candidates: &'a [Candidate]) -> Fit<'a> {
    let scores = role_scores(issue, candidates);
    let ranked = scores.iter().map(|score| (score.role.as_str(), explain(score)));
    let fallback = (FALLBACK_ROLE, "no label or word names a role that has an instance".to_owned());
    let chosen = ranked.chain([fallback]).find_map(|(role, why)| {
        let of_role: Vec<&Candidate> = candidates.iter().filter(|c| c.role == role).collect();
        (!of_role.is_empty()).then_some((of_role, why))
    });
    let (mut fitting, reason) =
        chosen.unwrap_or_else(|| (candidates.iter().collect(), "no instance of a fitting role".to_owned()));
    let labels: Vec<String> = issue.labels.iter().map(|label| label_name(label)).collect();
    let skilled = |c: &Candidate| labels.iter().any(|label| has_skill(c, label));
    if fitting.iter().any(|c| skilled(c)) {
        fitting.retain(|c| skilled(c));
    }
    Fit { candidates: fitting, scores, reason }
}

/// Points of each role that has any, best first; equal ones in the order of the dictionary. A label that
/// names a role, or a skill that a candidate has, beats all words.
#[must_use]
pub fn role_scores(issue: &Issue, candidates: &[Candidate]) -> Vec<Score> {
    let mut scores = word_scores(&format!("{} {}", issue.title, issue.text));
    for label in issue.labels.iter().map(|label| label_name(label)) {
        let names_role = label == FALLBACK_ROLE || is_role(&label);
        let mut roles: Vec<&str> = if names_role || candidates.iter().any(|c| c.role == label) {
            vec![&label]
        } else {
            candidates.iter().filter(|c| has_skill(c, &label)).map(|c| c.role.as_str()).collect()
        };
        roles.sort_unstable();
        roles.dedup();
        for role in roles {
            let matched = format!("label {label}");
            match scores.iter_mut().find(|score| score.role == role) {
                Some(score) => {
                    score.points += LABEL_POINTS;
                    score.matched.insert(0, matched);
                }
                None => {
                    scores.push(Score { role: role.to_owned(), points: LABEL_POINTS, matched: vec![matched] });
                }
            }
        }
    }
    scores.sort_by(|a, b| b.points.total_cmp(&a.points));
    scores
}

/// A label as a name: `Skill: Scrum-Master` is `scrum_master`.
#[must_use]
pub fn label_name(label: &str) -> String {
    let name = label.rsplit(':').next().unwrap_or(label);
    name.trim().to_lowercase().replace(['-', ' '], "_")
}

/// Whether a candidate has the skill of this [`label_name`].
#[must_use]
pub fn has_skill(candidate: &Candidate, label: &str) -> bool {
    candidate.skills.iter().any(|skill| label_name(skill) == label)
}

fn explain(score: &Score) -> String {
    let unit = if score.points == 1.0 { "point" } else { "points" };
    format!("role {} by {} {unit} ({})", score.role, score.points, score.matched.join(", "))
}
