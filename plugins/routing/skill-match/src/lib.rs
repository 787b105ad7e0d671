//! Routing by skills: each instance gets points for its skills that a label or the text names, and for its
//! role as far as the dictionary's words name it; the most points win, then room, then the least load.
#![forbid(unsafe_code)]

use std::cmp::Reverse;

use necro_sdk::routing::{
    Candidate, Decision, FALLBACK_ROLE, Issue, LABEL_POINTS, Score, has_words, instance_number, label_name, role_scores,
};
use necro_sdk::{Failure, RoutingPolicy, Settings};
use serde::Deserialize;

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Points of a skill that the title or text names; a word of the role gives one.
    skill_points: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { skill_points: 5 }
    }
}

/// The policy. It keeps no state.
#[derive(Debug)]
pub struct SkillMatch;

impl RoutingPolicy for SkillMatch {
    fn route(issue: &Issue, candidates: &[Candidate], settings: &Settings, _: &str) -> Result<Decision, Failure> {
        let options: Options = settings.read()?;
        let roles = role_scores(issue, candidates);
        let rated: Vec<(&Candidate, Score)> =
            candidates.iter().map(|c| (c, points(issue, c, &roles, &options))).collect();
        let best = rated.iter().max_by(|(a, points), (b, other)| {
            points.points.total_cmp(&other.points).then_with(|| preference(b).cmp(&preference(a)))
        });
        let (chosen, score) = best.ok_or_else(|| Failure::Invalid("there are no candidates".to_owned()))?;
        let among = rated.iter().filter(|(_, other)| other.points.total_cmp(&score.points).is_eq()).count();
        let why = if score.matched.is_empty() {
            "no label or word names a skill or role of anyone".to_owned()
        } else {
            format!("{} points for {}", score.points, score.matched.join(", "))
        };
        let reason = format!("{why}; {} has {} running, the least of {among}", chosen.instance, chosen.load);
        Ok(Decision { instance: chosen.instance.clone(), scores: by_role(&rated), reason, state: String::new() })
    }
}

/// What speaks for a candidate: its skills by labels and words, and its role.
fn points(issue: &Issue, candidate: &Candidate, roles: &[Score], options: &Options) -> Score {
    let text = format!("{}\n{}", issue.title, issue.text);
    let labels: Vec<String> = issue.labels.iter().map(|label| label_name(label)).collect();
    let of_role = roles.iter().find(|score| score.role == candidate.role);
    let mut points = of_role.map_or(0.0, |score| score.points);
    let mut matched = of_role.map(|score| score.matched.clone()).unwrap_or_default();
    for skill in &candidate.skills {
        let (labelled, named) = (labels.contains(&label_name(skill)), has_words(&text, skill));
        points += if labelled { LABEL_POINTS } else { 0.0 } + if named { f64::from(options.skill_points) } else { 0.0 };
        if labelled || named {
            matched.push(format!("skill {skill}"));
        }
    }
    Score { role: candidate.role.clone(), points, matched }
}

/// Among equal points: room, the role that takes what nobody fits, the least load, the lowest number.
fn preference(candidate: &Candidate) -> impl Ord + use<> {
    let is_full = candidate.load >= candidate.capacity;
    let takes_anything = candidate.role == FALLBACK_ROLE;
    (is_full, Reverse(takes_anything), candidate.load, instance_number(&candidate.instance), candidate.instance.clone())
}

/// The best points of each role that has any, best first.
fn by_role(rated: &[(&Candidate, Score)]) -> Vec<Score> {
    let mut scores: Vec<Score> = Vec::new();
    for (_, score) in rated.iter().filter(|(_, score)| !score.matched.is_empty()) {
        match scores.iter_mut().find(|other| other.role == score.role) {
            Some(other) if other.points < score.points => other.clone_from(score),
            Some(_) => {}
            None => scores.push(score.clone()),
        }
    }
    scores.sort_by(|a, b| b.points.total_cmp(&a.points));
    scores
}

necro_sdk::export_routing!(SkillMatch);

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(instance: &str, skills: &[&str], load: u32) -> Candidate {
        Candidate {
            instance: instance.into(),
            role: instance.split("_spirit_").next().unwrap().into(),
            skills: skills.iter().map(|s| (*s).to_owned()).collect(),
            load,
            capacity: 2,
            last_assigned: 0,
            price_microusd: None,
        }
    }

    fn team() -> Vec<Candidate> {
        vec![
            candidate("backend_spirit_1", &["api", "payment"], 1),
            candidate("backend_spirit_2", &["api", "message_queue"], 0),
            candidate("frontend_spirit_1", &["css", "charts"], 0),
            candidate("scrum_master_spirit_1", &[], 0),
        ]
    }

    fn route(title: &str, labels: &[&str], candidates: &[Candidate], settings: &str) -> Decision {
        let labels = labels.iter().map(|l| (*l).to_owned()).collect();
        let issue = Issue { id: "1".into(), title: title.into(), text: String::new(), labels, priority: 0 };
        SkillMatch::route(&issue, candidates, &Settings::new(settings), "").unwrap()
    }

    #[test]
    fn the_best_overlap_wins_before_load() {
        for (title, labels, expected) in [
            ("Add payment to the API", &[][..], "backend_spirit_1"),
            ("Add an API", &[], "backend_spirit_2"),
            ("Read from the message queue", &[], "backend_spirit_2"),
            ("Draw charts in CSS", &[], "frontend_spirit_1"),
            ("Draw charts", &["payment"], "backend_spirit_1"),
            ("Draw charts", &["skill: Message-Queue"], "backend_spirit_2"),
            ("Add payment", &["frontend"], "frontend_spirit_1"),
            ("Say hello", &[], "scrum_master_spirit_1"),
            ("A stylish cssfile", &[], "scrum_master_spirit_1"),
        ] {
            assert_eq!(route(title, labels, &team(), "").instance, expected, "{title} {labels:?}");
        }
    }

    #[test]
    fn equal_points_go_by_room_load_and_number() {
        let pick = |loads: &[(u32, u32)]| {
            let team: Vec<Candidate> =
                loads.iter().map(|(n, load)| candidate(&format!("qa_spirit_{n}"), &["e2e"], *load)).collect();
            route("e2e", &[], &team, "").instance
        };
        assert_eq!(pick(&[(1, 1), (2, 0)]), "qa_spirit_2");
        assert_eq!(pick(&[(10, 1), (9, 1)]), "qa_spirit_9");
        assert_eq!(pick(&[(1, 2), (2, 1)]), "qa_spirit_2");
    }

    #[test]
    fn the_decision_tells_scores_and_reason() {
        let decision = route("Add payment", &[], &team(), "");
        assert_eq!(decision.reason, "5 points for skill payment; backend_spirit_1 has 1 running, the least of 1");
        assert_eq!((decision.scores.len(), decision.scores[0].role.as_str()), (1, "backend"));
    }

    #[test]
    fn the_weight_of_skills_can_be_set_and_misspelt_settings_are_an_error() {
        let title = "Draw a button, a form and a page for payment";
        assert_eq!(route(title, &[], &team(), "").instance, "backend_spirit_1");
        assert_eq!(route(title, &[], &team(), r#"{"skill_points":1}"#).instance, "frontend_spirit_1");
        let issue = Issue { id: "1".into(), title: title.into(), text: String::new(), labels: vec![], priority: 0 };
        assert!(SkillMatch::route(&issue, &team(), &Settings::new(r#"{"points":1}"#), "").is_err());
        assert!(SkillMatch::route(&issue, &[], &Settings::default(), "").is_err());
    }
}
