//! Plays one row of the table and says in words how it ended.

use std::sync::Arc;
use std::time::Duration;

use necro_host::domain::dispatch;
use necro_host::domain::grant::{Grant, Scopes};
use necro_host::domain::id::{SpecName, TaskId};
use necro_host::domain::policy::{Pool, ReadyTask};
use necro_host::domain::review::{Change, ChangedFile, DiffLine, Hunk, LineKind};
use necro_host::domain::work::ChangeKind;
use necro_host::plugin::{Engine, ExecutionContext, ExecutionError, Expectation, Plugin, PluginKind};

use crate::fakes::{Fake, assignment, candidates, context, engine, issue};
use crate::made;
use crate::rows::{Act, Row};
use crate::slots;

/// Where all rows are played: one engine.
pub(crate) struct Stage {
    engine: Engine,
    calm: Arc<Plugin>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let engine = engine();
        let bytes = made::by_name("last-candidate");
        let calm = engine.load("calm", bytes, Expectation::Kind(PluginKind::Routing)).await.unwrap();
        Self { engine, calm }
    }

    async fn load(&self, bytes: Vec<u8>, kind: PluginKind) -> Arc<Plugin> {
        self.engine.load("hostile", bytes, Expectation::Kind(kind)).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A plugin of the same engine decides as if nothing had happened.
pub(crate) async fn well_behaved(stage: &Stage, after: &str) {
    let (context, _) = context(PluginKind::Routing);
    let decided = stage.calm.route(context, &issue(), &candidates(3), "", "").await.result;
    assert_eq!(decided.unwrap().instance.to_string(), "backend_spirit_3", "after {after}");
}

/// Whatever happens is an error or a decision.
pub(crate) async fn load_and_route(stage: &Stage, bytes: Vec<u8>) {
    if let Ok(plugin) = stage.engine.load("flipped", bytes, Expectation::Kind(PluginKind::Routing)).await {
        let decided = plugin.route(quick(PluginKind::Routing).0, &issue(), &candidates(2), "", "").await.result;
        drop(decided);
    }
}

/// How a row ends: the error with its causes, or what came of it.
pub(crate) async fn outcome(stage: &Stage, row: &Row) -> String {
    match row.act {
        Act::Load(bytes) => refused(stage, bytes(), Expectation::Any).await,
        Act::LoadAs(name, kind) => refused(stage, made::by_name(name), Expectation::Kind(kind)).await,
        Act::Route(name) => route(stage, made::by_name(name), "").await,
        Act::RouteBy(name, settings) => route(stage, made::by_name(name), settings).await,
        Act::Twice(name) => {
            let first = route(stage, made::by_name(name), "").await;
            let again = route(stage, made::by_name(name), "").await;
            if first == again { format!("the same each time: {first}") } else { format!("{first}, then {again}") }
        }
        Act::Order(name) => order(stage, made::by_name(name)).await,
        Act::Review(name) => review(stage, made::by_name(name)).await,
        Act::Perform(name) => perform(stage, made::by_name(name), "", Grant::everything()).await,
        Act::PerformBy(name, settings) => perform(stage, made::by_name(name), settings, Grant::everything()).await,
        Act::Granted(bytes, approved) => {
            let approved: Scopes = toml::from_str(approved).unwrap();
            let plugin = stage.load(bytes(), PluginKind::Spirit).await;
            let grant = Grant::of(&plugin.asks(), &approved);
            perform(stage, bytes(), "", grant).await
        }
        Act::InSlot(name, approved) => {
            let plugin = stage.load(made::by_name(name), PluginKind::Spirit).await;
            slots::play(&plugin, name, approved).await
        }
    }
}

async fn refused(stage: &Stage, bytes: Vec<u8>, expectation: Expectation) -> String {
    match stage.engine.load("hostile", bytes, expectation).await {
        Ok(_) => "it was loaded".to_owned(),
        Err(error) => chain(&error),
    }
}

/// A context with limits that a test can wait for.
fn quick(kind: PluginKind) -> (ExecutionContext, Arc<Fake>) {
    let (mut context, fake) = context(kind);
    context.limits.fuel = Some(500_000_000);
    context.limits.host_calls = context.limits.host_calls.min(2_000);
    context.limits.wall = Duration::from_secs(60);
    context.limits.journal_bytes = context.limits.journal_bytes.min(32 << 20);
    (context, fake)
}

/// However much a component logs, only so much is kept.
fn assert_quiet(fake: &Fake) {
    let kept: usize = fake.logged().iter().map(String::len).sum();
    assert!(kept < 1 << 20, "{kept} bytes of log were kept");
}

async fn route(stage: &Stage, bytes: Vec<u8>, settings: &str) -> String {
    let plugin = stage.load(bytes, PluginKind::Routing).await;
    let candidates = candidates(2);
    let (context, fake) = quick(PluginKind::Routing);
    let ended = plugin.route(context, &issue(), &candidates, settings, "").await;
    assert_quiet(&fake);
    match ended.result {
        // What the component gives back is checked once more against what it was given.
        Ok(decision) => match dispatch::check_decision(decision, &candidates) {
            Ok(decision) => format!("decided: {}", decision.reason),
            Err(error) => chain(&error),
        },
        Err(error) => told(&error),
    }
}

async fn order(stage: &Stage, bytes: Vec<u8>) -> String {
    let plugin = stage.load(bytes, PluginKind::Scheduling).await;
    let ready = [ReadyTask {
        spec: SpecName::new("login").unwrap(),
        task: TaskId::new("1").unwrap(),
        title: "a title".into(),
        skill: None,
        priority: 0,
        waiting_ms: 0,
        dependents: 0,
        remaining_path: 1,
        attempt: 1,
    }];
    let pools = [Pool { name: "all".into(), capacity: 2, running: 0, skills: vec![] }];
    let (context, _) = quick(PluginKind::Scheduling);
    match plugin.order(context, &ready, &pools, "", "").await.result {
        Ok(plan) => {
            let checked = dispatch::check_plan(plan.placements, &ready, &pools);
            let refused: Vec<String> = checked.refused.iter().map(ToString::to_string).collect();
            format!("{} placed; refused: {}", checked.placements.len(), refused.join("; "))
        }
        Err(error) => told(&error),
    }
}

async fn review(stage: &Stage, bytes: Vec<u8>) -> String {
    let plugin = stage.load(bytes, PluginKind::Review).await;
    let line = DiffLine { kind: LineKind::Added, text: "x".into() };
    let file = ChangedFile {
        path: "a.rs".into(),
        change: ChangeKind::Added,
        binary: false,
        size_bytes: 2,
        hunks: vec![Hunk { old_start: 1, new_start: 1, lines: vec![line] }],
    };
    let change = Change {
        spec: SpecName::new("login").unwrap(),
        task: TaskId::new("1").unwrap(),
        title: "a title".into(),
        text: String::new(),
        commit_title: String::new(),
        instance: "qa_spirit_1".into(),
        role: necro_host::domain::id::Role::new("qa").unwrap(),
        attempt: 1,
        files: vec![file],
        checks: vec![],
    };
    let (mut context, _) = quick(PluginKind::Review);
    context.grant = Arc::new(Grant::default());
    match plugin.review(context, &change, "").await.result {
        Ok(found) => found.into_iter().map(|finding| finding.message).collect::<Vec<_>>().join("; "),
        Err(error) => told(&error),
    }
}

async fn perform(stage: &Stage, bytes: Vec<u8>, settings: &str, grant: Grant) -> String {
    let plugin = stage.load(bytes, PluginKind::Spirit).await;
    let (mut context, fake) = quick(PluginKind::Spirit);
    context.grant = Arc::new(grant);
    let ended = plugin.perform(context, assignment(), settings).await;
    assert_quiet(&fake);
    match ended.result {
        Ok(report) => reported(&report.summary),
        Err(error) => told(&error),
    }
}

/// A report of lines; `every call is denied` where that is all that they say.
pub(crate) fn reported(summary: &str) -> String {
    let denied = summary.lines().filter(|line| line.contains("denied: ")).count();
    let all = summary.lines().count();
    if all > 0 && denied == all { format!("every call is denied: {summary}") } else { summary.to_owned() }
}

/// An error of an execution with what it says about itself.
pub(crate) fn told(error: &ExecutionError) -> String {
    assert!(!error.to_string().is_empty());
    chain(error)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
