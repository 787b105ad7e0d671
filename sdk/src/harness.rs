//! Tests of a plugin against the real host, under plain `cargo test`.
//!
//! Each call runs the plugin's *component* by `necro-host plugin exec`: the real linker, limits, journal and
//! grants, around it a temporary repository, a fresh registry and a model whose replies the test writes. The
//! component is built once for a test binary, by `necro-host plugin build`.
//!
//! ```no_run
//! use necro_sdk::harness::{Harness, candidate, issue};
//!
//! let decided = Harness::new().route(issue("Fix the login"), [candidate("qa_spirit_1")]);
//! assert_eq!(decided.result().instance, "qa_spirit_1");
//! decided.assert_not_called("llm.complete");
//! ```
//!
//! The host is found by the variable `NECRO_HOST`, then on the PATH; `necro-host plugin test` sets the variable.
//! Whatever is wrong with the set-up panics with one sentence: in a test, that is its failure.

mod fixture;
mod host;
mod inputs;
mod json;
mod outcome;

use std::path::PathBuf;

use serde_json::Map;
/// JSON for arguments and settings, so that tests need no dependency for it.
pub use serde_json::{Value, json};

use crate::review::{Change, Finding, HeuristicInfo};
use crate::routing::{Candidate, Decision, Issue};
use crate::scheduling::{Plan, Pool, ReadyTask};
use crate::spirit::{Assignment, Report, RoleInfo};

pub use fixture::{Fixture, Replayed};
pub use inputs::{
    Output, Reply, ToolUse, added, assignment, candidate, change, edited, issue, output, pool, ready, reply, tool,
};
pub use outcome::{Call, Ended, LogLine, Outcome, Usage};

/// What is around a call: grants, settings, files, replies, commands. One can be used for several calls; each
/// has a place of its own.
#[derive(Debug, Clone, Default)]
pub struct Harness {
    component: Option<PathBuf>,
    request: Map<String, Value>,
    denied: Vec<String>,
}

impl Harness {
    /// With the component of the crate under test, everything granted that it asks for, and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this component in place of the crate's own.
    #[must_use]
    pub fn of(component: impl Into<PathBuf>) -> Self {
        Self { component: Some(component.into()), ..Self::default() }
    }

    /// The plugin's settings, a JSON object.
    #[must_use]
    pub fn settings(mut self, settings: Value) -> Self {
        self.request.insert("settings".to_owned(), settings);
        self
    }

    /// Grants this interface, without bounds. The first grant takes the place of "everything that it asks for".
    #[must_use]
    pub fn grant(self, interface: &str) -> Self {
        self.grant_within(interface, json!({}))
    }

    /// Grants this interface within bounds, as in `necro.lock`: `json!({ "read": ["src/**"] })`.
    #[must_use]
    pub fn grant_within(mut self, interface: &str, scope: Value) -> Self {
        self.object("grant").insert(interface.to_owned(), scope);
        self
    }

    /// Grants everything that it asks for but this interface.
    #[must_use]
    pub fn deny(mut self, interface: &str) -> Self {
        self.denied.push(interface.to_owned());
        self
    }

    /// A limit in place of the kind's own, by its name in `necro.toml`, such as `fuel` or `memory_bytes`.
    #[must_use]
    pub fn limit(mut self, name: &str, value: u64) -> Self {
        self.object("limits").insert(name.to_owned(), value.into());
        self
    }

    /// A file of the repository's one commit.
    #[must_use]
    pub fn file(mut self, path: &str, text: impl Into<String>) -> Self {
        self.object("files").insert(path.to_owned(), text.into().into());
        self
    }

    /// A file of the work tree that is in no commit, or other than in it. A review without files of its own sees
    /// these changes.
    #[must_use]
    pub fn changed(mut self, path: &str, text: impl Into<String>) -> Self {
        self.object("changes").insert(path.to_owned(), text.into().into());
        self
    }

    /// A file of the commit that is gone from the work tree.
    #[must_use]
    pub fn removed(mut self, path: &str) -> Self {
        self.object("changes").insert(path.to_owned(), Value::Null);
        self
    }

    /// What the model answers next: a text, or [`reply`] with tools that it calls.
    #[must_use]
    pub fn reply(mut self, reply: impl Into<Reply>) -> Self {
        self.list("replies").push(reply.into().0);
        self
    }

    /// A command of the repository whose outputs are given; the last one comes again and again.
    #[must_use]
    pub fn command(mut self, name: &str, outputs: impl IntoIterator<Item = Output>) -> Self {
        let answers: Vec<Value> = outputs.into_iter().map(|output| output.0).collect();
        self.object("commands").insert(name.to_owned(), json!({ "answers": answers }));
        self
    }

    /// A command that is really run, in the temporary repository.
    #[must_use]
    pub fn command_run(mut self, name: &str, argv: &[&str]) -> Self {
        self.object("commands").insert(name.to_owned(), json!({ "run": argv }));
        self
    }

    /// When the call starts, such as `2026-01-01T00:00:00Z`: what a spirit's clock shows.
    #[must_use]
    pub fn time(mut self, time: &str) -> Self {
        self.request.insert("time".to_owned(), time.into());
        self
    }

    /// Routes an issue, with no state of an earlier decision.
    #[track_caller]
    pub fn route(&self, issue: Issue, candidates: impl IntoIterator<Item = Candidate>) -> Outcome<Decision> {
        self.route_again(issue, candidates, "")
    }

    /// Routes an issue, with the state that an earlier decision returned.
    #[track_caller]
    pub fn route_again(
        &self,
        issue: Issue,
        candidates: impl IntoIterator<Item = Candidate>,
        state: &str,
    ) -> Outcome<Decision> {
        let candidates: Vec<Value> = candidates.into_iter().map(json::candidate).collect();
        let input = json!({ "issue": json::issue(issue), "candidates": candidates, "state": state });
        self.run("route", input, json::decision)
    }

    /// Orders tasks, with no state of an earlier plan.
    #[track_caller]
    pub fn order(
        &self,
        ready: impl IntoIterator<Item = ReadyTask>,
        pools: impl IntoIterator<Item = Pool>,
    ) -> Outcome<Plan> {
        self.order_again(ready, pools, "")
    }

    /// Orders tasks, with the state that an earlier plan returned.
    #[track_caller]
    pub fn order_again(
        &self,
        ready: impl IntoIterator<Item = ReadyTask>,
        pools: impl IntoIterator<Item = Pool>,
        state: &str,
    ) -> Outcome<Plan> {
        let ready: Vec<Value> = ready.into_iter().map(json::ready).collect();
        let pools: Vec<Value> = pools.into_iter().map(json::pool).collect();
        self.run("order", json!({ "ready": ready, "pools": pools, "state": state }), json::plan)
    }

    /// Reviews a change.
    #[track_caller]
    pub fn review(&self, change: Change) -> Outcome<Vec<Finding>> {
        self.run("review", json!({ "change": json::change(change) }), json::findings)
    }

    /// Does an assignment.
    #[track_caller]
    pub fn perform(&self, assignment: Assignment) -> Outcome<Report> {
        self.run("perform", json!({ "assignment": json::assignment(assignment) }), json::report)
    }

    /// Asks a spirit who it is.
    #[track_caller]
    pub fn describe_role(&self) -> Outcome<RoleInfo> {
        self.run("describe", json!({}), json::role_info)
    }

    /// Asks a heuristic which it is.
    #[track_caller]
    pub fn describe_heuristic(&self) -> Outcome<HeuristicInfo> {
        self.run("describe", json!({}), json::heuristic_info)
    }

    #[track_caller]
    fn run<T>(&self, call: &str, input: Value, read: fn(&Value) -> Result<T, String>) -> Outcome<T> {
        let mut request = self.request.clone();
        request.insert("call".to_owned(), call.into());
        request.insert("input".to_owned(), input);
        let component = self.component.clone().unwrap_or_else(host::component);
        if !self.denied.is_empty() {
            let granted = request.remove("grant").unwrap_or_else(|| host::asks(&component));
            let mut granted = granted.as_object().cloned().unwrap_or_default();
            granted.retain(|interface, _| !self.denied.contains(interface));
            request.insert("grant".to_owned(), Value::Object(granted));
        }
        Outcome::read(&host::exec(&component, &Value::Object(request)), read)
    }

    fn object(&mut self, name: &str) -> &mut Map<String, Value> {
        let entry = self.request.entry(name).or_insert_with(|| json!({}));
        entry.as_object_mut().expect("only objects are put here")
    }

    fn list(&mut self, name: &str) -> &mut Vec<Value> {
        let entry = self.request.entry(name).or_insert_with(|| json!([]));
        entry.as_array_mut().expect("only lists are put here")
    }
}
