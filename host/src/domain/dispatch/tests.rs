//! Tables for each decision, and a whole run simulated over them.

use proptest::prelude::*;

use super::*;
use crate::domain::graph::Graph;
use crate::domain::id::SpecName;
use crate::domain::policy::Score;
use crate::domain::task::Facts;

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn task(number: &str, state: TaskState, depends: &[&str]) -> Task {
    Task {
        key: TaskKey { spec: SpecName::new("demo").unwrap(), task: id(number) },
        definition: Facts {
            title: format!("task {number}"),
            text: String::new(),
            optional: false,
            depends: depends.iter().map(|d| id(d)).collect(),
            skill: None,
            requirements: Vec::new(),
            priority: 0,
            metadata: std::collections::BTreeMap::new(),
            container: false,
        },
        set: crate::domain::task::Attributes::default(),
        state,
        version: 1,
        attempts: 0,
        assigned: None,
        last_failure: None,
        merged_commit: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

fn ready(number: &str, skill: Option<&str>) -> ReadyTask {
    let mut task = task(number, TaskState::Ready, &[]);
    task.definition.skill = skill.map(str::to_owned);
    ready_tasks([&task], &HashMap::new(), at(0)).remove(0)
}

fn pool(name: &str, capacity: u32, running: u32, skills: &[&str]) -> Pool {
    Pool { name: name.into(), capacity, running, skills: skills.iter().map(|&s| s.into()).collect() }
}

fn place(number: &str, pool: &str) -> Placement {
    Placement { spec: SpecName::new("demo").unwrap(), task: id(number), pool: pool.into() }
}

fn ids<'a>(placements: impl IntoIterator<Item = &'a Placement>) -> Vec<&'a str> {
    placements.into_iter().map(|p| p.task.as_str()).collect()
}

#[test]
fn ready_tasks_carry_weight_and_waiting_time() {
    let mut tasks = [
        task("1", TaskState::Ready, &[]),
        task("2", TaskState::Blocked, &["1"]),
        task("3", TaskState::Blocked, &["2"]),
        task("4", TaskState::Ready, &[]),
    ];
    tasks[0].attempts = 2;
    tasks[0].updated_at = at(1_000);
    tasks[3].definition.container = true;
    let weights = Graph::new(&tasks).unwrap().weights();
    let shown = ready_tasks(&tasks, &weights, at(1_250));
    assert_eq!(shown.len(), 1, "neither blocked tasks nor containers are shown");
    let first = &shown[0];
    assert_eq!((first.waiting_ms, first.dependents, first.remaining_path, first.attempt), (250, 2, 3, 3));
    assert_eq!(ready_tasks(&tasks, &weights, at(0))[0].waiting_ms, 0, "a clock that went backwards");
}

#[test]
fn optional_tasks_are_wanted_when_asked_for_or_waited_for() {
    let mut tasks =
        [task("1", TaskState::Ready, &[]), task("2", TaskState::Ready, &[]), task("3", TaskState::Blocked, &["1"])];
    tasks[0].definition.optional = true;
    tasks[1].definition.optional = true;
    assert_eq!(wanted(&tasks, false), HashSet::from([id("1"), id("3")]));
    assert_eq!(wanted(&tasks, true).len(), 3);
}

#[test]
fn containers_are_finished_by_their_parts() {
    let mut tasks = [
        task("1", TaskState::Blocked, &["1.1"]),
        task("1.1", TaskState::Done, &[]),
        task("2", TaskState::Blocked, &["1.1", "2.1"]),
        task("2.1", TaskState::Running, &[]),
        task("3", TaskState::Ready, &["1.1"]),
    ];
    tasks[0].definition.container = true;
    tasks[2].definition.container = true;
    assert_eq!(finished_containers(&tasks), [tasks[0].key.clone()]);
}

#[test]
fn a_plan_is_followed_as_far_as_it_can_be() {
    let shown = [ready("1", None), ready("2", Some("qa")), ready("3", Some("backend")), ready("4", None)];
    let pools = [pool("a", 3, 1, &[]), pool("tests", 1, 0, &["qa"])];
    let proposed = [
        place("9", "a"),
        place("2", "nowhere"),
        place("2", "tests"),
        place("2", "a"),
        place("3", "tests"),
        place("3", "a"),
        place("4", "a"),
        place("1", "a"),
    ];
    let checked = check_plan(proposed.to_vec(), &shown, &pools);
    assert_eq!(ids(&checked.placements), ["2", "3", "4"]);
    assert_eq!(ids(&checked.waiting), ["1"]);
    let refused: Vec<String> = checked.refused.iter().map(Refused::to_string).collect();
    assert_eq!(
        refused,
        [
            "task 9 in pool `a` is left out: the task is not ready",
            "task 2 in pool `nowhere` is left out: there is no such pool",
            "task 2 in pool `a` is left out: the task is placed twice",
            "task 3 in pool `tests` is left out: the pool does not take the task's skill",
        ]
    );
    let mut other_spec = place("1", "a");
    other_spec.spec = SpecName::new("other").unwrap();
    let endless = check_plan(vec![other_spec; 10_000], &shown, &pools);
    assert!(endless.placements.is_empty() && endless.refused.len() <= shown.len() + 1);
    let waiting = check_plan(vec![place("1", "a"); 10_000], &shown, &[pool("a", 1, 1, &[])]);
    assert_eq!(waiting.waiting.len(), 1);
    assert_eq!(check_state(&"x".repeat(MAX_STATE_BYTES)), Ok(()));
    assert_eq!(check_state(&"x".repeat(MAX_STATE_BYTES + 1)), Err(BadAnswer::State { size_bytes: 4097 }));
}

#[test]
fn the_fallback_plan_puts_urgent_then_long_paths_first() {
    let mut shown =
        vec![ready("10", None), ready("2", None), ready("3", None), ready("4", None), ready("5", Some("qa"))];
    shown[2].remaining_path = 5;
    shown[3].priority = 1;
    shown[4].waiting_ms = 7;
    let pools = [pool("a", 4, 2, &[]), pool("b", 2, 0, &["qa"])];
    let plan = fallback_plan(&shown, &pools);
    let order: Vec<(&str, &str)> = plan.iter().map(|p| (p.task.as_str(), p.pool.as_str())).collect();
    assert_eq!(order, [("4", "b"), ("3", "a"), ("5", "b"), ("2", "a")], "10 finds no room");
}

fn spirit(name: &str, skills: &[&str]) -> Spirit {
    Spirit { instance: Instance::new(name).unwrap(), skills: skills.iter().map(|&s| s.into()).collect() }
}

fn team() -> Vec<Candidate> {
    let team = [
        spirit("scrum_master_spirit_1", &["planning"]),
        spirit("backend_spirit_1", &["api", "rust"]),
        spirit("backend_spirit_2", &["api", "rust"]),
        spirit("qa_spirit_1", &["testing"]),
    ];
    let running = [team[1].instance.clone(), team[3].instance.clone(), team[3].instance.clone()];
    let last = HashMap::from([(team[2].instance.clone(), 9)]);
    candidates(&team, &running, &last, 1, &|role| (role.as_str() == "qa").then_some(5))
}

fn issue(labels: &[&str]) -> Issue {
    Issue {
        id: "1".into(),
        title: String::new(),
        text: String::new(),
        labels: labels.iter().map(|&l| l.into()).collect(),
        priority: 0,
    }
}

#[test]
fn candidates_include_the_busy_ones() {
    let shown = team();
    let loads: Vec<u32> = shown.iter().map(|c| c.load).collect();
    assert_eq!(loads, [0, 1, 0, 2]);
    assert_eq!((shown[2].last_assigned, shown[3].price_microusd, shown[0].price_microusd), (9, Some(5), None));
}

#[test]
fn the_fallback_route_goes_by_label_then_skill_then_scrum_master() {
    let rows: [(&[&str], &str); 4] = [
        (&["Backend"], "backend_spirit_2"),
        (&["testing"], "qa_spirit_1"),
        (&["painting"], "scrum_master_spirit_1"),
        (&[], "scrum_master_spirit_1"),
    ];
    for (labels, expected) in rows {
        assert_eq!(fallback_route(&issue(labels), &team()).unwrap().instance.as_str(), expected, "{labels:?}");
    }
    let no_master = &team()[1..];
    assert_eq!(fallback_route(&issue(&[]), no_master).unwrap().instance.as_str(), "backend_spirit_2");
    assert_eq!(fallback_route(&issue(&[]), &[]), None);
}

fn decision(instance: &str) -> Decision {
    Decision {
        instance: Instance::new(instance).unwrap(),
        scores: vec![Score { role: "backend".into(), points: 2.0, matched: vec![] }],
        reason: "because".into(),
        state: String::new(),
    }
}

#[test]
fn a_decision_is_followed_only_to_a_candidate() {
    let shown = team();
    assert_eq!(check_decision(decision("backend_spirit_1"), &shown), Ok(decision("backend_spirit_1")));
    assert!(is_busy(&decision("backend_spirit_1").instance, &shown));
    assert!(!is_busy(&decision("backend_spirit_2").instance, &shown));
    assert!(matches!(check_decision(decision("backend_spirit_3"), &shown), Err(BadAnswer::NoCandidate { .. })));
    let mut odd = decision("qa_spirit_1");
    odd.scores[0].points = f64::NAN;
    assert_eq!(check_decision(odd, &shown), Err(BadAnswer::Score { role: "backend".into() }));
    let mut fat = decision("qa_spirit_1");
    fat.reason = "理".repeat(10_000);
    fat.scores = vec![fat.scores[0].clone(); 1_000];
    let cut = check_decision(fat, &shown).unwrap();
    assert!(cut.reason.len() <= MAX_DECISION_REASON_BYTES && cut.scores.len() == MAX_SCORES);
}

#[test]
fn three_attempts_in_all_and_interruptions_are_free() {
    let failed = |n| after_attempt(n, AttemptEnd::Failed { reason: "red".into() }, 3);
    assert_eq!(failed(0), NextStep::Retry { reason: "red".into() });
    assert_eq!(failed(1), NextStep::Retry { reason: "red".into() });
    assert_eq!(failed(2), NextStep::Fail { reason: "red".into() });
    assert_eq!(after_attempt(2, AttemptEnd::Passed, 3), NextStep::Integrate);
    assert_eq!(after_attempt(2, AttemptEnd::Interrupted, 3), NextStep::Release);
    assert!(
        matches!(after_attempt(0, AttemptEnd::Failed { reason: " ".into() }, 1), NextStep::Fail { reason } if !reason.is_empty())
    );
    assert!(bounded_reason(&"x".repeat(1 << 20)).len() <= MAX_REASON_BYTES);
}

#[test]
fn a_run_ends_when_nothing_more_can_happen() {
    use TaskState::{Blocked, Cancelled, Done, Failed, Ready};
    let tasks = |a, b, c| vec![task("1", a, &[]), task("2", b, &["1"]), task("3", c, &["2"])];
    let all = HashSet::from([id("1"), id("2"), id("3")]);
    let waits = |task: &str, on: &str, state| Waiting { task: id(task), on: vec![(id(on), Some(state))] };
    let rows = [
        (tasks(Done, Done, Done), 1, false, None),
        (tasks(Done, Done, Done), 0, false, Some(RunOutcome::Done)),
        (tasks(Done, Done, Done), 0, true, Some(RunOutcome::Done)),
        (tasks(Done, Done, Cancelled), 0, false, Some(RunOutcome::Done)),
        (tasks(Done, Ready, Blocked), 0, false, None),
        (tasks(Done, Ready, Blocked), 0, true, Some(RunOutcome::Interrupted { open: 2 })),
        (
            tasks(Done, Failed, Blocked),
            0,
            false,
            Some(RunOutcome::Failed { failed: vec![id("2")], waiting: vec![waits("3", "2", Failed)] }),
        ),
        (
            tasks(Done, Cancelled, Blocked),
            0,
            false,
            Some(RunOutcome::Stuck { waiting: vec![waits("3", "2", Cancelled)] }),
        ),
    ];
    for (tasks, active, stopping, expected) in rows {
        assert_eq!(run_outcome(&tasks, &all, active, stopping), expected, "{:?}", tasks.iter().map(|t| t.state));
    }
    let unwanted = run_outcome(&tasks(Done, Done, Ready), &HashSet::from([id("1"), id("2")]), 0, false);
    assert_eq!(unwanted, Some(RunOutcome::Done), "an optional task that nobody asked for");
}

proptest! {
    /// The driver's loop in small: claim what the plan allows, end attempts at random, release
    /// dependents. Every run ends, no task runs twice at once, pools never overflow, attempts are
    /// bounded.
    #[test]
    fn every_run_comes_to_an_end(
        edges in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..40),
        luck in prop::collection::vec(0..10_u8, 200),
        capacity in 1..5_u32,
    ) {
        let mut tasks: Vec<Task> = edges.iter().enumerate().map(|(n, picks)| {
            let depends: Vec<String> = if n == 0 { vec![] } else { picks.iter().map(|p| p.index(n).to_string()).collect() };
            let state = if depends.is_empty() { TaskState::Ready } else { TaskState::Blocked };
            task(&n.to_string(), state, &depends.iter().map(String::as_str).collect::<Vec<_>>())
        }).collect();
        let weights = Graph::new(&tasks).unwrap().weights();
        let all = wanted(&tasks, false);
        let mut luck = luck.into_iter().cycle();
        let mut running: Vec<usize> = Vec::new();
        let mut rounds = 0;
        let outcome = loop {
            rounds += 1;
            prop_assert!(rounds < 1_000, "the run does not end");
            if let Some(outcome) = run_outcome(&tasks, &all, running.len(), false) {
                break outcome;
            }
            let shown = ready_tasks(&tasks, &weights, at(rounds));
            let pools = [pool("all", capacity, u32::try_from(running.len()).unwrap(), &[])];
            let plan = check_plan(fallback_plan(&shown, &pools), &shown, &pools);
            prop_assert!(plan.refused.is_empty() && plan.waiting.is_empty());
            for placement in plan.placements {
                let n = tasks.iter().position(|t| t.key.task == placement.task).unwrap();
                prop_assert!(tasks[n].state.may_become(TaskState::Running));
                prop_assert!(tasks[n].definition.depends.iter().all(|d| tasks.iter().any(|t| t.key.task == *d && t.state == TaskState::Done)));
                tasks[n].state = TaskState::Running;
                running.push(n);
            }
            prop_assert!(running.len() <= capacity as usize);
            let n = running.swap_remove(usize::from(luck.next().unwrap()) % running.len());
            let end = if luck.next().unwrap() < 7 { AttemptEnd::Passed } else { AttemptEnd::Failed { reason: "red".into() } };
            match after_attempt(tasks[n].attempts, end, 3) {
                NextStep::Integrate => tasks[n].state = TaskState::Done,
                NextStep::Retry { .. } => { tasks[n].attempts += 1; tasks[n].state = TaskState::Ready; }
                NextStep::Fail { .. } => { tasks[n].attempts += 1; tasks[n].state = TaskState::Failed; }
                NextStep::Release => unreachable!(),
            }
            prop_assert!(tasks[n].attempts <= 3);
            let done: HashSet<TaskId> = tasks.iter().filter(|t| t.state == TaskState::Done).map(|t| t.key.task.clone()).collect();
            for task in tasks.iter_mut().filter(|t| t.state == TaskState::Blocked) {
                if task.definition.depends.iter().all(|d| done.contains(d)) {
                    task.state = TaskState::Ready;
                }
            }
        };
        let failed = tasks.iter().any(|t| t.state == TaskState::Failed);
        prop_assert_eq!(matches!(outcome, RunOutcome::Failed { .. }), failed);
        prop_assert_eq!(matches!(outcome, RunOutcome::Done), !failed);
    }
}
