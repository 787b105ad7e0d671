//! The component decides, in the real host. Run these with `necro-host plugin test`.

use necro_sdk::Failure;
use necro_sdk::harness::{Harness, candidate, issue};
use necro_sdk::routing::{Candidate, Issue};

#[test]
fn the_one_that_has_waited_longest_is_chosen() {
    let candidates = [
        Candidate { last_assigned: 9, ..candidate("qa_spirit_1") },
        Candidate { last_assigned: 4, ..candidate("qa_spirit_2") },
        Candidate { last_assigned: 1, load: 1, ..candidate("qa_spirit_3") },
    ];
    let decided = Harness::new().route(issue("Test the login"), candidates);
    assert_eq!(decided.result().instance, "qa_spirit_2");
    decided.assert_no_calls();
}

#[test]
fn when_nobody_who_fits_is_free_the_policy_says_so() {
    let busy = Candidate { load: 1, ..candidate("qa_spirit_1") };
    let labelled = Issue { labels: vec!["qa".to_owned()], ..issue("Test the login") };
    let decided = Harness::new().route(labelled, [busy, candidate("backend_spirit_1")]);
    assert_eq!(decided.failure(), &Failure::invalid("nobody who fits is free"));
}
