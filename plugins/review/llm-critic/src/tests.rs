//! A host that answers what a test says.

use std::cell::RefCell;

use necro_sdk::review::change_of;

use super::*;

const DIFF: &str =
    "--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1,1 +1,1 @@\n-let a = 1;\n+let a = 2;\n--- a/old.rs\n+++ /dev/null\n-x\n";

struct Told {
    answer: Result<&'static str, HostError>,
    finish_reason: llm::FinishReason,
    asked: RefCell<Option<llm::Request>>,
}

impl Host for Told {
    fn complete(&self, request: &llm::Request) -> Result<llm::Completion, HostError> {
        *self.asked.borrow_mut() = Some(request.clone());
        self.answer.clone().map(|text| llm::Completion {
            text: text.to_owned(),
            tool_calls: Vec::new(),
            finish_reason: self.finish_reason,
            usage: llm::Usage { input_tokens: 1, cached_input_tokens: 0, output_tokens: 1, estimated: false },
            model: "small-one".to_owned(),
            provider_state: None,
        })
    }

    fn read(&self, path: &str) -> Option<workspace::FileText> {
        let text = (path == "src/a.rs").then(|| "the whole of a".to_owned())?;
        Some(workspace::FileText { text, total_lines: 1, truncated: false })
    }
}

fn told(answer: Result<&'static str, HostError>) -> Told {
    Told { answer, finish_reason: llm::FinishReason::Stop, asked: RefCell::default() }
}

fn findings(answer: &'static str, options: &Options) -> Vec<(String, Severity, Option<String>, Option<u32>)> {
    let found = judge(&told(Ok(answer)), &change_of("backend", DIFF), options);
    found.into_iter().map(|f| (f.rule, f.severity, f.file, f.line)).collect()
}

const ONE: &str =
    r#"{"findings":[{"category":"bug","severity":"block","file":"src/a.rs","line":1,"message":"wrong"}]}"#;

#[test]
fn an_answer_becomes_findings_that_warn_at_most() {
    let at = || (Some("src/a.rs".to_owned()), Some(1));
    let (file, line) = at();
    assert_eq!(findings(ONE, &Options::default()), [("llm-critic/bug".into(), Severity::Warn, file, line)]);
    for (max_severity, expected) in [(Grade::Note, Severity::Note), (Grade::Block, Severity::Block)] {
        assert_eq!(findings(ONE, &Options { max_severity, ..Options::default() })[0].1, expected);
    }
    assert_eq!(findings(r#"{"findings":[]}"#, &Options::default()), []);
    assert_eq!(findings("```json\n{\"findings\":[]}\n```", &Options::default()), []);
}

#[test]
fn the_gravest_are_kept_and_odd_lines_left_out() {
    let many = r#"{"findings":[
        {"category":"task","severity":"note","file":null,"line":7,"message":"a"},
        {"category":"tests","severity":"warn","file":"old.rs","line":3,"message":"b"},
        {"category":"security","severity":"block","file":"src/a.rs","line":0,"message":"c"}]}"#;
    let options = Options { max_findings: 2, max_severity: Grade::Block, ..Options::default() };
    let expected = [
        ("llm-critic/security".to_owned(), Severity::Block, Some("src/a.rs".to_owned()), None),
        ("llm-critic/tests".to_owned(), Severity::Warn, Some("old.rs".to_owned()), None),
    ];
    assert_eq!(findings(many, &options), expected);
}

#[test]
fn an_answer_of_another_form_is_one_note() {
    for answer in [
        "",
        "Looks good to me!",
        "[]",
        r#"{"findings":[{"category":"style","severity":"note","file":null,"line":null,"message":"x"}]}"#,
        r#"{"findings":[{"category":"bug","severity":"fatal","file":null,"line":null,"message":"x"}]}"#,
        r#"{"findings":[{"category":"bug","severity":"warn","file":"/etc/passwd","line":1,"message":"x"}]}"#,
        r#"{"findings":[{"category":"bug","severity":"warn","file":null,"line":-1,"message":"x"}]}"#,
        r#"{"findings":[{"category":"bug","severity":"warn","file":null,"line":null,"message":"  "}]}"#,
        r#"{"findings":[],"verdict":"merge"}"#,
        r#"{"findings":[]} {"findings":[]}"#,
    ] {
        let found = findings(answer, &Options::default());
        assert_eq!(found, [(UNUSABLE.to_owned(), Severity::Note, None, None)], "{answer}");
    }
    let cut = Told { finish_reason: llm::FinishReason::Length, ..told(Ok(ONE)) };
    assert_eq!(judge(&cut, &change_of("qa", DIFF), &Options::default())[0].rule, UNUSABLE);
}

#[test]
fn a_model_that_is_not_granted_or_not_there_is_one_note() {
    for (error, rule) in [
        (HostError::Denied("type `necro-host plugin grant llm-critic`".into()), NOT_GRANTED),
        (HostError::BudgetExceeded("nothing is left".into()), NOT_ASKED),
        (HostError::TimedOut("too slow".into()), NOT_ASKED),
        (HostError::Other("broken".into()), NOT_ASKED),
    ] {
        let found = judge(&told(Err(error)), &change_of("qa", DIFF), &Options::default());
        assert_eq!((found.len(), found[0].rule.as_str(), found[0].severity), (1, rule, Severity::Note));
    }
    let denied = judge(&told(Err(HostError::Denied("type this".into()))), &change_of("qa", DIFF), &Options::default());
    assert_eq!(denied[0].message, "no model was asked: type this");
}

#[test]
fn the_model_is_shown_task_diff_and_files_within_the_bound() {
    let host = told(Ok(ONE));
    let change = Change { text: "Make it two.".into(), ..change_of("backend", DIFF) };
    judge(&host, &change, &Options::default());
    let asked = host.asked.take().unwrap();
    assert_eq!((asked.model.as_str(), asked.max_output_tokens), ("fast", Some(MAX_ANSWER_TOKENS)));
    for part in ["Make it two.", "-let a = 1;\n+let a = 2;", "the whole of a"] {
        assert!(asked.messages[1].text.contains(part), "{part}");
    }
    let large = "+one more line of code\n".repeat(10_000);
    let diff = format!("--- a/b.rs\n+++ b/b.rs\n{large}--- a/src/a.rs\n+++ b/src/a.rs\n{large}");
    let host = told(Ok(ONE));
    judge(&host, &change_of("qa", &diff), &Options { max_chars: 5_000, ..Options::default() });
    let shown = host.asked.take().unwrap().messages[1].text.chars().count();
    assert!((3_000..5_500).contains(&shown), "{shown}");
    assert!(judge(&told(Err(HostError::Other("asked".into()))), &change_of("qa", ""), &Options::default()).is_empty());
}

#[test]
fn the_schema_is_json_and_misspelt_settings_are_an_error() {
    assert!(serde_json::from_str::<serde_json::Value>(answer::SCHEMA).is_ok());
    assert!(LlmCritic::review(&change_of("qa", ""), &Settings::new(r#"{"models":"fast"}"#)).is_err());
}
