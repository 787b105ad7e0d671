//! Routing by words and load: the role that most words of an issue name, and of that role the
//! instance with the least to do. A label that names a role or a skill beats all words.
#![forbid(unsafe_code)]

mod dictionary;
mod words;

use std::cmp::Reverse;

use necro_sdk::routing::{Candidate, Decision, Issue, Score, instance_number};
use necro_sdk::{Failure, RoutingPolicy, Settings};

/// Takes what no word and no label assigns.
const FALLBACK_ROLE: &str = "scrum_master";
/// More than all words of the dictionary together can give.
const LABEL_POINTS: f64 = 100.0;

/// The policy. It keeps no state and has no settings.
#[derive(Debug)]
pub struct LeastBusy;

impl RoutingPolicy for LeastBusy {
    fn route(issue: &Issue, candidates: &[Candidate], _: &Settings, _: &str) -> Result<Decision, Failure> {
        let scores = scores(issue, candidates);
        let labels: Vec<String> = issue.labels.iter().map(|label| label_name(label)).collect();
        let (chosen, reason) = choose(&scores, candidates, &labels)
            .ok_or_else(|| Failure::Invalid("there are no candidates".to_owned()))?;
        Ok(Decision { instance: chosen.instance.clone(), scores, reason, state: String::new() })
    }
}

/// The instance and why: of the best role that has one, else of the fallback role, else any.
fn choose<'a>(scores: &[Score], candidates: &'a [Candidate], labels: &[String]) -> Option<(&'a Candidate, String)> {
    let ranked = scores.iter().map(|score| (score.role.as_str(), explain(score)));
    let fallback = (FALLBACK_ROLE, "no label or word names a role that has an instance".to_owned());
    for (role, why) in ranked.chain([fallback]) {
        let of_role: Vec<&Candidate> = candidates.iter().filter(|c| c.role == role).collect();
        if let Some(chosen) = least_busy(&of_role, labels) {
            return Some((chosen, format!("{why}; {}", explain_choice(chosen, of_role.len()))));
        }
    }
    let all: Vec<&Candidate> = candidates.iter().collect();
    let chosen = least_busy(&all, labels)?;
    Some((chosen, format!("no instance of a fitting role; {}", explain_choice(chosen, all.len()))))
}

/// Points of each role that has any, best first; equal ones in the order of the dictionary.
fn scores(issue: &Issue, candidates: &[Candidate]) -> Vec<Score> {
    let mut scores = words::scores(&format!("{} {}", issue.title, issue.text));
    for label in issue.labels.iter().map(|label| label_name(label)) {
        let names_role = label == FALLBACK_ROLE || dictionary::is_role(&label);
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
fn label_name(label: &str) -> String {
    let name = label.rsplit(':').next().unwrap_or(label);
    name.trim().to_lowercase().replace(['-', ' '], "_")
}

fn has_skill(candidate: &Candidate, skill: &str) -> bool {
    candidate.skills.iter().any(|s| label_name(s) == skill)
}

/// One that has a labelled skill if there is one, then one with room, then the least load, then the
/// lowest number.
fn least_busy<'a>(candidates: &[&'a Candidate], labels: &[String]) -> Option<&'a Candidate> {
    candidates.iter().copied().min_by_key(|c| {
        let skilled = labels.iter().any(|label| has_skill(c, label));
        (Reverse(skilled), c.load >= c.capacity, c.load, instance_number(&c.instance), &c.instance)
    })
}

fn explain(score: &Score) -> String {
    let unit = if score.points == 1.0 { "point" } else { "points" };
    format!("role {} by {} {unit} ({})", score.role, score.points, score.matched.join(", "))
}

fn explain_choice(chosen: &Candidate, among: usize) -> String {
    format!("{} has {} running, the least of {among}", chosen.instance, chosen.load)
}

necro_sdk::export_routing!(LeastBusy);

#[cfg(test)]
mod tests;
