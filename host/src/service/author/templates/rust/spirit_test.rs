//! The component works in a temporary repository, with a model whose replies are written here. Run these with
//! `necro-host plugin test`.

use necro_sdk::Failure;
use necro_sdk::harness::{Harness, assignment, json, reply, tool};

#[test]
fn what_the_model_writes_is_in_the_work_tree() {
    let worked = Harness::new()
        .file("src/a.rs", "fn a() {}\n")
        .reply(reply("I write it.").call(tool("write", json!({ "path": "src/b.rs", "text": "fn b() {}\n" }))))
        .reply(reply("Done.").call(tool("finish", json!({ "title": "Add b", "summary": "b is there." }))))
        .perform(assignment("Write b"));
    assert_eq!(worked.result().title, "Add b");
    assert_eq!(worked.file("src/b.rs"), Some("fn b() {}\n"));
    worked.assert_called_with("workspace-edit.write", &json!({ "path": "src/b.rs" }));
    worked.assert_not_called("command.run");
}

#[test]
fn without_a_model_it_fails_and_says_so() {
    let worked = Harness::new().deny("llm").perform(assignment("Write b"));
    assert!(matches!(worked.failure(), Failure::Host(error) if error.is_denied()));
}
