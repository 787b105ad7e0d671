//! The loop against a fake host: what it sends, what it answers, when it ends.

use std::collections::VecDeque;

use super::*;
use crate::host::llm::{Message, Request, Speaker, ToolCall, Usage};
use crate::host::{command, workspace, workspace_edit};
use crate::spirit::{Budget, Criterion, DependencyReport, Document, Envelope, NamedCommand, WorkKind};

/// Plays answers back and records every call. Host functions answer from `fail`, or with something fixed.
#[derive(Default)]
struct Fake {
    answers: VecDeque<Result<Completion, HostError>>,
    requests: Vec<Request>,
    done: Vec<String>,
    notes: Vec<String>,
    fail: Option<(&'static str, HostError)>,
    file: String,
}

impl Fake {
    fn new(answers: Vec<Completion>) -> Self {
        Self { answers: answers.into_iter().map(Ok).collect(), ..Self::default() }
    }

    fn act(&mut self, function: &str, what: String) -> Result<(), HostError> {
        self.done.push(format!("{function} {what}"));
        match &self.fail {
            Some((name, error)) if *name == function => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn perform(&mut self, settings: &str) -> Result<Report, Failure> {
        perform(self, &PROMPT, &assignment_for("en"), &Settings::new(settings))
    }

    /// Messages of the last request: all but those after the last answer.
    fn last(&self) -> &[Message] {
        &self.requests.last().unwrap().messages
    }
}

impl Host for Fake {
    fn complete(&mut self, request: &Request) -> Result<Completion, HostError> {
        self.requests.push(request.clone());
        self.answers.pop_front().unwrap_or_else(|| Err(HostError::Other("no more answers".into())))
    }
    fn list(&mut self, path: &str, recursive: bool) -> Result<Vec<workspace::Entry>, HostError> {
        self.act("list", format!("{path} {recursive}"))?;
        let entry = |path: &str, kind| workspace::Entry { path: path.into(), kind, size_bytes: 1 };
        Ok(vec![entry("src", workspace::EntryKind::Directory), entry("a.rs", workspace::EntryKind::File)])
    }
    fn read(&mut self, path: &str, lines: Option<workspace::LineRange>) -> Result<workspace::FileText, HostError> {
        self.act("read", format!("{path} {:?}", lines.map(|l| (l.start, l.count))))?;
        let total_lines = u32::try_from(self.file.lines().count()).unwrap();
        Ok(workspace::FileText { text: self.file.clone(), total_lines, truncated: false })
    }
    fn search(&mut self, query: &workspace::SearchQuery) -> Result<Vec<workspace::SearchHit>, HostError> {
        self.act("search", format!("{} {} {:?}", query.pattern, query.regex, query.glob))?;
        Ok(vec![workspace::SearchHit { path: "a.rs".into(), line: 3, text: "fn a()".into() }])
    }
    fn write(&mut self, path: &str, text: &str) -> Result<(), HostError> {
        self.act("write", format!("{path} {text}"))
    }
    fn apply(&mut self, edits: &[workspace_edit::Edit]) -> Result<(), HostError> {
        self.act("apply", edits.iter().map(|e| format!("{}:{}>{}", e.path, e.old_text, e.new_text)).collect())
    }
    fn remove(&mut self, path: &str) -> Result<(), HostError> {
        self.act("remove", path.to_owned())
    }
    fn run(&mut self, name: &str, args: &[String]) -> Result<command::Outcome, HostError> {
        self.act("run", format!("{name} {args:?}"))?;
        Ok(command::Outcome {
            exit_code: Some(101),
            stdout: "1 failed".into(),
            stderr: String::new(),
            elided_bytes: 0,
            timed_out: false,
            duration_ms: 1234,
        })
    }
    fn note(&mut self, text: &str) -> Result<(), HostError> {
        self.notes.push(text.to_owned());
        Err(HostError::Denied("no notes".into()))
    }
}

const PROMPT: Prompt = Prompt { en: "You test.", ja: "あなたはテストします。" };

fn assignment_for(language: &str) -> Assignment {
    let document = |name: &str, text: &str| Document { name: name.into(), text: text.into() };
    Assignment {
        kind: WorkKind::Implement,
        envelope: Envelope {
            kind: "issue_assignment".into(),
            agent_instance: "backend_spirit_1".into(),
            issue_id: None,
            payload: "{}".into(),
            spec_id: None,
            task_id: None,
            sender: None,
            message_id: None,
        },
        spec: "login".into(),
        task: "2.1".into(),
        title: "Add the form".into(),
        text: "THE TEXT".into(),
        language: language.into(),
        acceptance_criteria: vec![Criterion { id: "1.2".into(), text: "THE CRITERION".into() }],
        documents: vec![document("design.md", "THE DESIGN")],
        steering: vec![document("tech.md", "THE RULE")],
        dependency_reports: vec![DependencyReport {
            task: "1".into(),
            title: "Base".into(),
            summary: "THE REPORT".into(),
            files: vec!["a.rs".into()],
        }],
        attempt: 2,
        max_attempts: 3,
        last_failure: Some("THE FAILURE".into()),
        commands: vec![NamedCommand { name: "test".into(), description: "THE COMMAND".into() }],
        budget_left: Budget { tokens: Some(1000), cost_microusd: Some(1_500_000), calls: None },
    }
}

fn answer(text: &str, calls: &[(&str, &str)]) -> Completion {
    let calls = calls.iter().enumerate().map(|(n, (name, arguments))| ToolCall {
        id: format!("c{n}"),
        name: (*name).into(),
        arguments: (*arguments).into(),
    });
    Completion {
        text: text.into(),
        tool_calls: calls.collect(),
        finish_reason: FinishReason::Stop,
        usage: Usage { input_tokens: 1, cached_input_tokens: 0, output_tokens: 1, estimated: false },
        model: "m".into(),
        provider_state: None,
    }
}

const FINISH: (&str, &str) = ("finish", r#"{"title":"add the form","summary":"It is there."}"#);

fn finished() -> Result<Report, Failure> {
    Ok(Report { title: "add the form".into(), summary: "It is there.".into() })
}

/// The replies to the calls of one answer, which the next request carries.
fn replies(calls: &[(&str, &str)], prepare: impl Fn(&mut Fake)) -> Vec<String> {
    let mut fake = Fake::new(vec![answer("", calls), answer("", &[FINISH])]);
    prepare(&mut fake);
    let outcome = fake.perform("");
    if outcome.is_ok() && fake.requests.len() == 2 {
        assert_every_call_answered(fake.last());
        return fake.last().iter().filter(|m| m.speaker == Speaker::Tool).map(|m| m.text.clone()).collect();
    }
    panic!("unexpected end: {outcome:?}");
}

/// After each assistant message stand the replies to its calls, in order, and no others.
fn assert_every_call_answered(messages: &[Message]) {
    let mut open: VecDeque<&str> = VecDeque::new();
    for message in messages {
        match message.speaker {
            Speaker::Tool => assert_eq!(message.tool_call_id.as_deref(), open.pop_front(), "{message:?}"),
            _ => assert!(open.is_empty(), "{open:?} unanswered before {message:?}"),
        }
        open.extend(message.tool_calls.iter().map(|c| c.id.as_str()));
    }
    assert!(open.is_empty(), "{open:?} unanswered");
}

#[test]
fn a_conversation_goes_from_instructions_to_the_report() {
    let mut fake = Fake::new(vec![
        answer("I look.", &[("list", "")]),
        answer("", &[("write", r#"{"path":"a.rs","text":"x"}"#), ("run", r#"{"command":"test"}"#)]),
        answer("", &[FINISH]),
    ]);
    assert_eq!(fake.perform(""), finished());
    assert_eq!(fake.done, ["list . false", "write a.rs x", "run test []"]);
    let speakers: Vec<Speaker> = fake.last().iter().map(|m| m.speaker).collect();
    use Speaker::{Assistant, System, Tool, User};
    assert_eq!(speakers, [System, User, Assistant, Tool, Assistant, Tool, Tool]);
    assert_every_call_answered(fake.last());
    assert_eq!(fake.last()[2].text, "I look.");
    assert_eq!(fake.last()[3].text, "src/\na.rs\n");
    assert_eq!(fake.last()[6].text, "`test` failed with exit code 101.\n--- standard output\n1 failed");
    assert_eq!(fake.requests[0].model, "default");
}

#[test]
fn tools_are_offered_in_a_fixed_order_with_valid_schemas() {
    let offered = Toolbox::for_commands(&assignment_for("en").commands).offered();
    let names: Vec<&str> = offered.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["list", "read", "search", "write", "edit", "remove", "run", "finish"]);
    for tool in &offered {
        let schema: serde_json::Value = serde_json::from_str(&tool.parameters).unwrap();
        assert_eq!(schema["type"], "object", "{}", tool.name);
        assert_eq!(schema["additionalProperties"], false, "{}", tool.name);
    }
    assert!(offered[6].parameters.contains(r#""enum":["test"]"#));
    let without: Vec<String> = Toolbox::for_commands(&[]).offered().into_iter().map(|t| t.name).collect();
    assert!(!without.contains(&"run".to_owned()));
}

#[test]
fn the_assignment_stands_in_a_fixed_order() {
    let parts = [
        "Task 2.1: Add the form",
        ".kiro/specs/login/",
        "backend_spirit_1",
        "THE TEXT",
        "1.2 THE CRITERION",
        "THE DESIGN",
        "THE RULE",
        "THE REPORT",
        "THE COMMAND",
        "THE FAILURE",
        "1000 tokens, 1.500000 USD",
        "2 / 3",
    ];
    let text = prompt::assignment(&assignment_for("en"));
    let places: Vec<usize> = parts.iter().map(|p| text.find(p).unwrap_or_else(|| panic!("no {p}"))).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn sections_without_content_are_left_out_and_long_ones_cut() {
    let mut assignment = assignment_for("en");
    assignment.last_failure = None;
    assignment.steering.clear();
    assignment.documents[0].text = "y".repeat(bounds::MAX_SECTION_CHARS + 7);
    let text = prompt::assignment(&assignment);
    assert!(!text.contains("mend") && !text.contains("Rules of this project"));
    assert!(text.contains("7 characters left out"));
}

#[test]
fn instructions_follow_the_language_and_the_kind_of_work() {
    let mut assignment = assignment_for("en");
    let english = prompt::system(&PROMPT, &assignment);
    assert!(english.starts_with("You test.") && english.contains("How to do a task"));
    assignment.kind = WorkKind::Specify;
    assert!(!prompt::system(&PROMPT, &assignment).contains("How to do a task"));
    let japanese = prompt::system(&PROMPT, &assignment_for("ja"));
    assert!(japanese.starts_with("あなたはテストします。") && japanese.contains("タスクの進め方"));
    assert!(prompt::assignment(&assignment_for("ja")).contains("## 受け入れ基準"));
}

#[test]
fn what_does_not_fit_is_answered_and_not_done() {
    for (name, arguments, expected) in [
        ("fly", "{}", "there is no tool `fly`. The tools are: list, read, search, write, edit, remove, run, finish."),
        ("", "{}", "there is no tool ``"),
        ("read", "{", "the arguments of `read` are not JSON"),
        ("read", "path=a", "the arguments of `read` are not JSON"),
        ("read", r#"{"path":"a"} {"path":"b"}"#, "are not JSON: trailing characters"),
        ("read", r#"["a"]"#, "must be one JSON object"),
        ("read", r#""{\"path\":\"a\"}""#, "must be one JSON object"),
        ("read", "", "missing field `path`"),
        ("read", "{}", "missing field `path`"),
        ("read", r#"{"path":7}"#, "invalid type: integer `7`, expected a string"),
        ("read", r#"{"path":"a","path":"b"}"#, "duplicate field `path`"),
        ("read", r#"{"path":"a","line":3}"#, "unknown field `line`"),
        ("read", r#"{"path":"a","start":0}"#, "begin at 1"),
        ("read", r#"{"path":"a","start":-1}"#, "invalid value: integer `-1`"),
        ("read", r#"{"path":"a","count":1.5}"#, "invalid type: floating point"),
        ("search", r#"{"pattern":""}"#, "is empty"),
        ("write", r#"{"path":"a"}"#, "missing field `text`"),
        ("write", r#"{"path":"a","text":"b","append":true}"#, "unknown field `append`"),
        ("edit", r#"{"edits":[]}"#, "no edits"),
        ("edit", r#"{"edits":[{"path":"a","old":"","new":"b"}]}"#, "`old` of edit 1 is empty"),
        ("edit", r#"{"edits":[{"path":"a","old":"b","new":"b"}]}"#, "are the same"),
        ("run", r#"{"command":"test","args":"-v"}"#, "expected a sequence"),
        ("finish", "{}", "missing field `title`"),
        ("finish", r#"{"title":"a"}"#, "missing field `summary`"),
        ("finish", r#"{"title":" ","summary":"b"}"#, "must both say something"),
        ("finish", r#"{"title":"a\nb","summary":"b"}"#, "must be one line"),
    ] {
        let mut fake = Fake::new(vec![answer("", &[(name, arguments)]), answer("", &[FINISH])]);
        assert_eq!(fake.perform(""), finished(), "{name} {arguments}");
        assert!(fake.done.is_empty(), "{name} {arguments} was done: {:?}", fake.done);
        assert_every_call_answered(fake.last());
        let reply = &fake.last().last().unwrap().text;
        assert!(reply.starts_with("Not ") && reply.contains(expected), "{name} {arguments}: {reply}");
    }
}

#[test]
fn well_formed_calls_reach_the_host_as_they_are() {
    let calls = [
        ("list", r#"{"path":"src","recursive":true}"#, "list src true"),
        ("read", r#"{"path":"a"}"#, "read a None"),
        ("read", r#"{"path":"a","start":5}"#, "read a Some((5, 2000))"),
        ("read", r#"{"path":"a","start":null,"count":9}"#, "read a Some((1, 9))"),
        ("search", r#"{"pattern":"x","regex":true,"glob":"*.rs"}"#, "search x true Some(\"*.rs\")"),
        ("edit", r#"{"edits":[{"path":"a","old":"b","new":""},{"path":"c","old":"d","new":"e"}]}"#, "apply a:b>c:d>e"),
        ("remove", r#"{"path":"a"}"#, "remove a"),
        ("run", r#"{"command":"test","args":["-v"]}"#, "run test [\"-v\"]"),
    ];
    let asked: Vec<(&str, &str)> = calls.iter().map(|(name, arguments, _)| (*name, *arguments)).collect();
    let mut fake = Fake::new(vec![answer("", &asked), answer("", &[FINISH])]);
    assert_eq!(fake.perform(""), finished());
    assert_eq!(fake.done, calls.map(|(_, _, expected)| expected));
    assert_every_call_answered(fake.last());
}

#[test]
fn host_errors_are_told_to_the_model() {
    let wrote = ("write", r#"{"path":".git/x","text":""}"#);
    let told = replies(&[wrote], |fake| fake.fail = Some(("write", HostError::Denied("`.git` is protected".into()))));
    assert_eq!(told, ["denied: `.git` is protected"]);
}

#[test]
fn an_exhausted_budget_or_a_cancellation_ends_the_attempt_at_once() {
    for error in [HostError::BudgetExceeded("none left".into()), HostError::Cancelled("by a person".into())] {
        let calls = [("remove", r#"{"path":"a"}"#), ("remove", r#"{"path":"b"}"#), FINISH];
        let mut fake = Fake::new(vec![answer("", &calls)]);
        fake.fail = Some(("remove", error.clone()));
        assert_eq!(fake.perform(""), Err(Failure::Host(error.clone())));
        assert_eq!(fake.done, ["remove a"]);
        let mut fake = Fake { answers: vec![Err(error.clone())].into(), ..Fake::default() };
        assert_eq!(fake.perform(""), Err(Failure::Host(error)));
    }
}

#[test]
fn calls_after_finish_are_answered_but_not_done() {
    let mut conversation = Conversation::open("default".into(), "s".into(), "a".into(), Vec::new());
    let mut fake = Fake::default();
    let toolbox = Toolbox::for_commands(&[]);
    let calls = [FINISH, ("remove", r#"{"path":"a"}"#), FINISH];
    let end = step(&mut fake, &toolbox, &mut conversation, answer("", &calls), 1).unwrap();
    assert!(matches!(end, Step::Finished(_)));
    assert!(fake.done.is_empty());
    assert_every_call_answered(&conversation.request().messages);
    assert_eq!(conversation.request().messages[4].text, "Not done: the work is already finished.");
}

#[test]
fn finish_waits_when_a_call_before_it_failed() {
    let told = replies(&[("read", "{}"), FINISH], |_| ());
    assert!(told[1].starts_with("Not finished: a call before this one"), "{told:?}");
}

#[test]
fn only_so_many_calls_of_one_answer_are_done() {
    let calls = vec![("remove", r#"{"path":"a"}"#); MAX_CALLS_PER_ANSWER + 2];
    let mut fake = Fake::new(vec![answer("", &calls), answer("", &[FINISH])]);
    assert_eq!(fake.perform(""), finished());
    assert_eq!(fake.done.len(), MAX_CALLS_PER_ANSWER);
    assert_every_call_answered(fake.last());
    assert!(fake.last().last().unwrap().text.contains("too many calls"));
}

#[test]
fn missing_and_double_call_ids_are_replaced() {
    let mut confused = answer("", &[("list", "{}"), ("list", "{}"), ("list", "{}")]);
    confused.tool_calls[0].id.clear();
    confused.tool_calls[2].id = "c1".into();
    let mut fake = Fake::new(vec![confused, answer("", &[FINISH])]);
    assert_eq!(fake.perform(""), finished());
    assert_every_call_answered(fake.last());
    let ids: Vec<&str> = fake.last()[2].tool_calls.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["call_1_1", "c1", "call_1_3"]);
}

#[test]
fn a_malformed_call_goes_back_in_a_form_that_servers_accept() {
    let long = "x".repeat(65);
    for (name, arguments, sent) in [
        ("read", r#"{"path":"#, ("read", "{}")),
        ("read", "", ("read", "{}")),
        ("read", "[1]", ("read", "{}")),
        ("fly", r#"{"to":"x"}"#, ("fly", r#"{"to":"x"}"#)),
        ("", "{}", ("unknown", "{}")),
        ("functions.read now", "{}", ("unknown", "{}")),
        (&long, "{}", ("unknown", "{}")),
    ] {
        let mut fake = Fake::new(vec![answer("", &[(name, arguments)]), answer("", &[FINISH])]);
        assert_eq!(fake.perform(""), finished());
        let call = &fake.last()[2].tool_calls[0];
        assert_eq!((call.name.as_str(), call.arguments.as_str()), sent, "{name} {arguments}");
    }
    let told = replies(&[("write", r#"{"path":"a","te"#)], |_| ());
    assert!(told[0].contains(r#"They were: {"path":"a","te"#), "{told:?}");
}

#[test]
fn three_unusable_answers_in_a_row_end_the_attempt() {
    let talk = || answer("I think.", &[]);
    let broken = || answer("", &[("read", "{"), ("fly", "{}")]);
    let useful = || answer("", &[("list", "{}")]);
    let mut fake = Fake::new(vec![talk(), broken(), useful(), talk(), broken(), answer("", &[])]);
    let why = "3 answers in a row had no usable tool call".to_owned();
    assert_eq!(fake.perform(""), Err(Failure::GaveUp(why.clone())));
    assert_eq!(fake.requests.len(), 6);
    assert_eq!(fake.notes, [format!("Gave up: {why}. Last words: I think.")]);
    let nudges = fake.last().iter().filter(|m| m.text.starts_with("Nothing happens without a tool call")).count();
    assert_eq!(nudges, 2);
}

#[test]
fn an_answer_with_nothing_in_it_is_not_sent_back() {
    let mut fake = Fake::new(vec![answer("", &[]), answer("", &[FINISH])]);
    assert_eq!(fake.perform(""), finished());
    assert!(fake.last().iter().all(|m| m.speaker != Speaker::Assistant));
}

#[test]
fn a_cut_answer_is_told_so() {
    let mut cut = answer("", &[("write", r#"{"path":"a","te"#)]);
    cut.finish_reason = FinishReason::Length;
    let mut silent = answer("So", &[]);
    silent.finish_reason = FinishReason::Length;
    let mut fake = Fake::new(vec![cut, silent, answer("", &[FINISH])]);
    assert_eq!(fake.perform(""), finished());
    let told = fake.last().iter().filter(|m| m.text.contains("cut at the output limit")).count();
    assert_eq!(told, 2);
}

#[test]
fn turns_are_limited_and_the_last_ones_announced() {
    let work = vec![answer("", &[("list", "{}")]); 99];
    let mut fake = Fake::new(work.clone());
    assert_eq!(fake.perform(""), Err(Failure::GaveUp("not finished after 60 turns".into())));
    assert_eq!(fake.requests.len(), 60);
    let mut fake = Fake::new(work);
    assert_eq!(fake.perform(r#"{"max_turns":7}"#), Err(Failure::GaveUp("not finished after 7 turns".into())));
    assert_eq!(fake.requests.len(), 7);
    let warned = |n: usize| fake.requests[n].messages.iter().any(|m| m.text.starts_with("5 turns are left"));
    assert!(!warned(1) && warned(2));
}

#[test]
fn bad_settings_are_an_error_before_any_call() {
    for settings in [r#"{"max_turns":0}"#, r#"{"max_turns":-1}"#, r#"{"turns":3}"#, "x"] {
        let mut fake = Fake::new(vec![answer("", &[FINISH])]);
        assert!(matches!(fake.perform(settings), Err(Failure::Invalid(_))), "{settings}");
        assert!(fake.requests.is_empty());
    }
}

#[test]
fn the_state_of_the_provider_goes_back_unchanged() {
    let mut first = answer("", &[("list", "{}")]);
    first.provider_state = Some("opaque".into());
    let mut fake = Fake::new(vec![first, answer("", &[FINISH])]);
    assert_eq!(fake.perform(""), finished());
    assert_eq!(fake.last()[2].provider_state.as_deref(), Some("opaque"));
}

#[test]
fn what_the_model_is_shown_is_bounded() {
    let long_file = "0123456789\n".repeat(5_000);
    let told = replies(&[("read", r#"{"path":"a"}"#)], |fake| fake.file.clone_from(&long_file));
    assert!(told[0].chars().count() <= bounds::MAX_REPLY_CHARS);
    let next = told[0].rsplit("read on with start ").next().unwrap().trim_end_matches(" …]").parse::<usize>().unwrap();
    assert_eq!(told[0].matches("0123456789\n").count(), next - 1);
    let told = replies(&[("read", r#"{"path":"a"}"#)], |fake| fake.file = "x".repeat(99_999));
    assert!(told[0].contains("characters left out"));
    let long_error = HostError::Other("e".repeat(99_999));
    let told = replies(&[("list", "{}")], |fake| fake.fail = Some(("list", long_error.clone())));
    assert!(told[0].chars().count() < bounds::MAX_REPLY_CHARS + 100);
}
