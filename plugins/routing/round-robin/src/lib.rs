//! Routing in turn: among the instances that fit an issue's labels and words, the one whose last assignment
//! is the longest ago. The host counts assignments, so nothing has to be remembered here.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue, fit, instance_number};
use necro_sdk::{Failure, RoutingPolicy, Settings};
use serde::Deserialize;

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Whether an instance without room is passed over while another one has some.
    skip_full: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { skip_full: true }
    }
}

/// The policy. It keeps no state.
#[derive(Debug)]
pub struct RoundRobin;

impl RoutingPolicy for RoundRobin {
    fn route(issue: &Issue, candidates: &[Candidate], settings: &Settings, _: &str) -> Result<Decision, Failure> {
        let options: Options = settings.read()?;
        let fit = fit(issue, candidates);
        let turn = |c: &&Candidate| {
            let passed_over = options.skip_full && c.load >= c.capacity;
            (passed_over, c.last_assigned, instance_number(&c.instance), c.instance.clone())
        };
        let next = fit.candidates.iter().copied().min_by_key(turn);
        let chosen = next.ok_or_else(|| Failure::Invalid("there are no candidates".to_owned()))?;
        let when = match chosen.last_assigned {
            0 => "has had nothing yet".to_owned(),
            sequence => format!("had its last assignment at {sequence}"),
        };
        let reason = format!("{}; {} {when}, the next of {}", fit.reason, chosen.instance, fit.candidates.len());
        Ok(Decision { instance: chosen.instance.clone(), scores: fit.scores, reason, state: String::new() })
    }
}

necro_sdk::export_routing!(RoundRobin);

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(instance: &str, load: u32, last_assigned: u64) -> Candidate {
        Candidate {
            instance: instance.into(),
            role: instance.split("_spirit_").next().unwrap().into(),
            skills: Vec::new(),
            load,
            capacity: 1,
            last_assigned,
            price_microusd: None,
        }
    }

    fn decide(labels: &[&str], candidates: &[Candidate], settings: &str) -> Decision {
        let labels = labels.iter().map(|l| (*l).to_owned()).collect();
        let issue = Issue { id: "1".into(), title: "work".into(), text: String::new(), labels, priority: 0 };
        RoundRobin::route(&issue, candidates, &Settings::new(settings), "").unwrap()
    }

    #[test]
    fn everyone_has_a_turn_before_anyone_has_a_second() {
        let mut team: Vec<Candidate> = [10, 9, 2].map(|n| candidate(&format!("qa_spirit_{n}"), 0, 0)).to_vec();
        let mut order = Vec::new();
        for sequence in 1..=6 {
            let chosen = decide(&["qa"], &team, "").instance;
            order.push(instance_number(&chosen));
            team.iter_mut().find(|c| c.instance == chosen).unwrap().last_assigned = sequence;
        }
        assert_eq!(order, [2, 9, 10, 2, 9, 10]);
    }

    #[test]
    fn an_issue_goes_round_only_among_those_who_fit() {
        let mut team = vec![candidate("backend_spirit_1", 0, 7), candidate("backend_spirit_2", 0, 8)];
        team.extend([candidate("frontend_spirit_1", 0, 0), candidate("scrum_master_spirit_1", 0, 0)]);
        team[1].skills = vec!["payment".into()];
        for (labels, expected) in [
            (&["backend"][..], "backend_spirit_1"),
            (&["payment"], "backend_spirit_2"),
            (&["frontend"], "frontend_spirit_1"),
            (&[], "scrum_master_spirit_1"),
        ] {
            assert_eq!(decide(labels, &team, "").instance, expected, "{labels:?}");
        }
        let reason = decide(&["backend"], &team, "").reason;
        let expected =
            "role backend by 100 points (label backend); backend_spirit_1 had its last assignment at 7, the next of 2";
        assert_eq!(reason, expected);
    }

    #[test]
    fn a_full_one_is_passed_over_unless_all_are() {
        let team = [candidate("qa_spirit_1", 1, 0), candidate("qa_spirit_2", 0, 5)];
        assert_eq!(decide(&["qa"], &team, "").instance, "qa_spirit_2");
        assert_eq!(decide(&["qa"], &team, r#"{"skip_full":false}"#).instance, "qa_spirit_1");
        assert_eq!(decide(&["qa"], &team[..1], "").instance, "qa_spirit_1");
    }

    #[test]
    fn misspelt_settings_and_no_candidates_are_errors() {
        let issue = Issue { id: "1".into(), title: String::new(), text: String::new(), labels: vec![], priority: 0 };
        assert!(RoundRobin::route(&issue, &[], &Settings::default(), "").is_err());
        assert!(RoundRobin::route(&issue, &[], &Settings::new(r#"{"skip":true}"#), "").is_err());
    }
}
