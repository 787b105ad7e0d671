//! Routing by price: among the instances that fit an issue's labels and words and have room, the one whose
//! model is the cheapest. One whose price nobody knows counts as the dearest.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue, fit, instance_number};
use necro_sdk::{Failure, RoutingPolicy, Settings};
use serde::Deserialize;

const MICROUSD_PER_USD: u64 = 1_000_000;

/// What an operator may set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// What each running attempt adds to a candidate's price, in millionths of a US dollar for a million
    /// tokens; 0: load decides only between equal prices.
    load_microusd: u64,
}

/// The policy. It keeps no state.
#[derive(Debug)]
pub struct CostAware;

impl RoutingPolicy for CostAware {
    fn route(issue: &Issue, candidates: &[Candidate], settings: &Settings, _: &str) -> Result<Decision, Failure> {
        let options: Options = settings.read()?;
        let fit = fit(issue, candidates);
        let dearest = fit.candidates.iter().filter_map(|c| c.price_microusd).max().unwrap_or(0);
        let weighed = |c: &&Candidate| {
            let price = c.price_microusd.unwrap_or(dearest);
            let with_load = price.saturating_add(options.load_microusd.saturating_mul(u64::from(c.load)));
            let is_unknown = c.price_microusd.is_none();
            let last = (instance_number(&c.instance), c.instance.clone());
            (c.load >= c.capacity, with_load, is_unknown, c.load, last)
        };
        let cheapest = fit.candidates.iter().copied().min_by_key(weighed);
        let chosen = cheapest.ok_or_else(|| Failure::Invalid("there are no candidates".to_owned()))?;
        let price = match chosen.price_microusd {
            Some(price) => format!("costs {} a million tokens", dollars(price)),
            None => "has no known price".to_owned(),
        };
        let among = fit.candidates.len();
        let reason =
            format!("{}; {} {price} and has {} running, best of {among}", fit.reason, chosen.instance, chosen.load);
        Ok(Decision { instance: chosen.instance.clone(), scores: fit.scores, reason, state: String::new() })
    }
}

fn dollars(microusd: u64) -> String {
    let fraction = format!("{:06}", microusd % MICROUSD_PER_USD);
    let fraction = fraction.trim_end_matches('0');
    format!("${}.{fraction:0<2}", microusd / MICROUSD_PER_USD)
}

necro_sdk::export_routing!(CostAware);

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(instance: &str, load: u32, price_microusd: Option<u64>) -> Candidate {
        Candidate {
            instance: instance.into(),
            role: instance.split("_spirit_").next().unwrap().into(),
            skills: Vec::new(),
            load,
            capacity: 2,
            last_assigned: 0,
            price_microusd,
        }
    }

    fn decide(label: &str, candidates: &[Candidate], settings: &str) -> Decision {
        let labels = vec![label.to_owned()];
        let issue = Issue { id: "1".into(), title: String::new(), text: String::new(), labels, priority: 0 };
        CostAware::route(&issue, candidates, &Settings::new(settings), "").unwrap()
    }

    #[test]
    fn the_cheapest_that_fits_and_has_room_takes_it() {
        type Row<'a> = (&'a [(u32, Option<u64>)], &'a str, u64);
        let table: [Row; 8] = [
            (&[(0, Some(15_000_000)), (1, Some(600_000))], "", 2),
            (&[(0, Some(15_000_000)), (2, Some(600_000))], "", 1),
            (&[(2, Some(15_000_000)), (2, Some(600_000))], "", 2),
            (&[(0, None), (1, Some(9))], "", 2),
            (&[(1, None), (0, None)], "", 2),
            (&[(1, Some(9)), (0, Some(9))], "", 2),
            (&[(0, None), (1, Some(9_000_000))], r#"{"load_microusd":1}"#, 1),
            (&[(1, Some(u64::MAX)), (0, Some(u64::MAX))], r#"{"load_microusd":18446744073709551615}"#, 2),
        ];
        for (team, settings, expected) in table {
            let team: Vec<Candidate> = (1..)
                .zip(team)
                .map(|(number, (load, price))| candidate(&format!("qa_spirit_{number}"), *load, *price))
                .collect();
            let chosen = decide("qa", &team, settings).instance;
            assert_eq!(instance_number(&chosen), expected, "{team:?} {settings}");
        }
    }

    #[test]
    fn load_outweighs_price_as_far_as_the_setting_says() {
        let team = [candidate("qa_spirit_1", 1, Some(1_000_000)), candidate("qa_spirit_2", 0, Some(3_000_000))];
        assert_eq!(decide("qa", &team, r#"{"load_microusd":1999999}"#).instance, "qa_spirit_1");
        assert_eq!(decide("qa", &team, r#"{"load_microusd":2000001}"#).instance, "qa_spirit_2");
    }

    #[test]
    fn a_cheap_one_of_another_role_does_not_take_it() {
        let team = [candidate("qa_spirit_1", 1, Some(15_000_000)), candidate("backend_spirit_1", 0, Some(1))];
        let decision = decide("qa", &team, "");
        let expected = "role qa by 100 points (label qa); qa_spirit_1 costs $15.00 a million tokens and has 1 running, \
                        best of 1";
        assert_eq!(decision.reason, expected);
    }

    #[test]
    fn prices_are_shown_exactly() {
        let table = [(0, "$0.00"), (600_000, "$0.60"), (1, "$0.000001"), (15_000_000, "$15.00"), (1_234_000, "$1.234")];
        for (microusd, text) in table {
            assert_eq!(dollars(microusd), text);
        }
    }

    #[test]
    fn misspelt_settings_and_no_candidates_are_errors() {
        let issue = Issue { id: "1".into(), title: String::new(), text: String::new(), labels: vec![], priority: 0 };
        assert!(CostAware::route(&issue, &[], &Settings::default(), "").is_err());
        assert!(CostAware::route(&issue, &[], &Settings::new(r#"{"load":1}"#), "").is_err());
        assert!(CostAware::route(&issue, &[], &Settings::new(r#"{"load_microusd":-1}"#), "").is_err());
    }
}
