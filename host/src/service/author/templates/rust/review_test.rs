//! The component reviews changes, in the real host. Run these with `necro-host plugin test`.

use necro_sdk::harness::{Harness, added, change};

#[test]
fn a_line_that_was_left_for_later_is_found() {
    let reviewed = Harness::new().review(change([added("src/a.rs", "fn a() {}\n// FIXME: and b\n")]));
    let findings = reviewed.result();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].file.as_deref(), findings[0].line), (Some("src/a.rs"), Some(2)));
}

#[test]
fn what_is_done_is_not() {
    let reviewed = Harness::new().review(change([added("src/a.rs", "fn a() {}\n")]));
    assert_eq!(reviewed.result(), &[]);
}
