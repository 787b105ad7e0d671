//! Makes every host call once, in the order of the contract, and reports what each answered. The
//! settings may ask for something else: `"log-flood"`, `"call-flood"`, `"panic-with-lease"`.
#![forbid(unsafe_code)]

use std::fmt::Debug;

use necro_sdk::host::{artifact, command, llm, lock, log, mailbox, registry, workspace, workspace_edit};
use necro_sdk::spirit::{Assignment, Envelope, Prompt, Report, WorkKind};
use necro_sdk::{Failure, HostError, Settings, Spirit, error_text};

/// Calls.
#[derive(Debug)]
pub struct EveryCall;

impl Spirit for EveryCall {
    fn role() -> &'static str {
        "caller"
    }

    fn title() -> &'static str {
        "Caller"
    }

    fn skills() -> &'static [&'static str] {
        &["calling"]
    }

    fn prompt(_: WorkKind) -> Option<Prompt> {
        None
    }

    fn perform(assignment: &Assignment, settings: &Settings) -> Result<Report, Failure> {
        match settings.read::<String>()?.as_str() {
            "log-flood" => (0..5_000).for_each(|_| log::emit(log::Level::Info, &"long ".repeat(2_000), &[])),
            "call-flood" => loop {
                let _ = workspace::status();
            },
            "panic-with-lease" => {
                let _lease = lock::acquire("deploy", 1_000, 0).map_err(Failure::Host)?;
                panic!("with a lease in its hands");
            }
            _ => {}
        }
        let mut lines = Lines(Vec::new());
        ask(&mut lines);
        look(&mut lines);
        change(&mut lines);
        talk(&mut lines, assignment);
        Ok(Report { title: assignment.title.clone(), summary: lines.0.join("\n") })
    }
}

struct Lines(Vec<String>);

impl Lines {
    fn add<T: Debug>(&mut self, call: &str, answer: Result<T, HostError>) {
        self.0.push(match answer {
            Ok(value) => format!("{call}: {value:?}"),
            Err(error) => format!("{call}: {}", error_text(&error)),
        });
    }
}

fn ask(lines: &mut Lines) {
    let message = |speaker, text: &str| llm::Message {
        speaker,
        text: text.to_owned(),
        tool_calls: Vec::new(),
        tool_call_id: None,
        provider_state: None,
    };
    let request = llm::Request {
        model: "fast".to_owned(),
        messages: vec![message(llm::Speaker::System, "be brief"), message(llm::Speaker::User, "hello")],
        tools: vec![llm::Tool {
            name: "finish".to_owned(),
            description: "end".to_owned(),
            parameters: "{}".to_owned(),
        }],
        tool_choice: llm::ToolChoice::Named("finish".to_owned()),
        response_format: llm::ResponseFormat::JsonSchema(llm::JsonSchema {
            name: "answer".to_owned(),
            schema: "{}".to_owned(),
        }),
        max_output_tokens: None,
    };
    lines.add("llm.complete", llm::complete(&request));
}

fn look(lines: &mut Lines) {
    lines.add("workspace.read", workspace::read("a.txt", Some(workspace::LineRange { start: 1, count: 2 })));
    lines.add("workspace.list", workspace::list(".", true));
    let query =
        workspace::SearchQuery { pattern: "fn".to_owned(), regex: false, glob: Some("*.rs".to_owned()), max_hits: 3 };
    lines.add("workspace.search", workspace::search(&query));
    lines.add("workspace.status", workspace::status());
    lines.add("workspace.diff", workspace::diff());
    lines.add("registry.task", registry::task("1"));
    lines.add("registry.spec-document", registry::spec_document(registry::DocumentKind::Design));
    lines.add("registry.dependency-reports", registry::dependency_reports());
    lines.add("registry.events", registry::events(0, 10));
    lines.add("artifact.get", artifact::get("artifact:1"));
}

fn change(lines: &mut Lines) {
    lines.add("workspace-edit.write", workspace_edit::write("a.txt", &"x".repeat(20_000)));
    let edit = workspace_edit::Edit { path: "a.txt".to_owned(), old_text: "x".to_owned(), new_text: "y".to_owned() };
    lines.add("workspace-edit.apply", workspace_edit::apply(&[edit]));
    lines.add("workspace-edit.remove", workspace_edit::remove("b.txt"));
    lines.add("command.run", command::run("test", &["--quiet".to_owned()]));
}

fn talk(lines: &mut Lines, assignment: &Assignment) {
    lines.add("registry.note", registry::note("a note"));
    let envelope = |payload: &str| Envelope {
        kind: "api_ready".to_owned(),
        agent_instance: "frontend_spirit_1".to_owned(),
        issue_id: None,
        payload: payload.to_owned(),
        spec_id: Some(assignment.spec.clone()),
        task_id: Some(assignment.task.clone()),
        sender: None,
        message_id: None,
    };
    lines.add("mailbox.send", mailbox::send(&envelope(r#"{"path":"/api"}"#)));
    lines.add("mailbox.send", mailbox::send(&envelope("no JSON")));
    lines.add("mailbox.receive", mailbox::receive());
    lines.add("lock.acquire", lock::acquire("deploy", 1_000, 10).map(|lease| lease.name()));
    lines.add("artifact.put", artifact::put("log", "a.log", "text/plain", b"bytes"));
    log::emit(log::Level::Warn, "done", &[("calls".to_owned(), "all".to_owned())]);
}

necro_sdk::export_spirit!(EveryCall);
