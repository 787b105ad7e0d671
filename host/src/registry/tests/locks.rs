//! Locks of spirits: circles among those who wait, the order in which they get them, and when a lock is
//! taken from somebody. Time stands still but where a test moves it.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::domain::call::{CallRequest, Function, HostError, LocalAnswer, LocalEffect};
use crate::domain::event::Body;
use crate::domain::id::ExecutionId;
use crate::domain::task::TaskState;
use crate::registry::{Execution, ExecutionKind, Lease, LeaseKind, LocalContext, NewExecution};

type Answer = Result<LocalAnswer, HostError>;

/// A spirit at an attempt, with the journal of its calls.
#[derive(Clone)]
struct Spirit {
    execution: Execution,
    context: LocalContext,
}

impl Spirit {
    async fn at(fixture: &Fixture, task: &str) -> Self {
        let attempt = attempt(task, 1);
        let new = NewExecution {
            id: ExecutionId::new(format!("execution-{task}")).unwrap(),
            run: Some(run()),
            kind: ExecutionKind::Spirit,
            spec: Some(spec()),
            attempt: Some(attempt.clone()),
            plugin: "backend".to_owned(),
            component: digest(),
            engine: "test".to_owned(),
            limits: json!({}),
            settings: json!({}),
            input: json!({}),
        };
        let execution = fixture.registry.begin_execution(new).await.unwrap();
        Self { execution, context: LocalContext { attempt, instance: spirit(), workspace: "demo".to_owned() } }
    }

    async fn acquire(&self, name: &str, ttl_s: u64, wait_s: u64) -> Answer {
        let request = CallRequest { function: Function::LockAcquire, arguments: json!({ "name": name }), effect: None };
        let effect = LocalEffect::Acquire { name: name.to_owned(), ttl_ms: ttl_s * 1000, wait_ms: wait_s * 1000 };
        self.execution.local(request, effect, &self.context).await.unwrap()
    }

    /// Its lease.
    async fn take(&self, name: &str) -> String {
        let Ok(LocalAnswer::Lease(lease)) = self.acquire(name, 60, 0).await else { panic!("{name} is taken") };
        lease
    }

    async fn release(&self, lease: &str) {
        let request = CallRequest { function: Function::LockRelease, arguments: json!({}), effect: None };
        let effect = LocalEffect::Release { lease: lease.to_owned() };
        self.execution.local(request, effect, &self.context).await.unwrap().unwrap();
    }

    /// Begins to wait, and gives it time to stand in the list.
    async fn wait(&self, fixture: &Fixture, name: &str) -> JoinHandle<Answer> {
        let (spirit, name) = (self.clone(), name.to_owned());
        let listed = fixture.registry.shared.waiting.len() + 1;
        let waiting = tokio::spawn(async move { spirit.acquire(&name, 60, 60).await });
        while fixture.registry.shared.waiting.len() < listed {
            assert!(!waiting.is_finished(), "it does not wait");
            tokio::task::yield_now().await;
        }
        waiting
    }
}

async fn spirits<const N: usize>(fixture: &Fixture) -> [Spirit; N] {
    let mut all = Vec::new();
    for number in 1..=N {
        all.push(Spirit::at(fixture, &number.to_string()).await);
    }
    all.try_into().ok().unwrap()
}

fn refusal(answer: &Answer) -> &str {
    let Err(HostError::Conflict(text)) = answer else { panic!("{answer:?}") };
    text
}

fn got(answer: &Answer) -> &str {
    let Ok(LocalAnswer::Lease(lease)) = answer else { panic!("{answer:?}") };
    lease
}

async fn held(fixture: &Fixture) -> Vec<Lease> {
    fixture.registry.read(|reader| reader.leases(Some(LeaseKind::Lock))).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn whoever_would_close_a_circle_is_refused_at_once_and_the_others_go_on() {
    let fixture = Fixture::new();
    let [one, two, three] = spirits(&fixture).await;
    let (a, b, c) = (one.take("a").await, two.take("b").await, three.take("c").await);
    let begun = tokio::time::Instant::now();
    let first = one.wait(&fixture, "b").await;
    let second = two.wait(&fixture, "c").await;
    let refused = three.acquire("a", 60, 60).await;
    assert_eq!(
        refusal(&refused),
        "waiting would never end: demo/3#1 waits for demo/a, which demo/1#1 has; demo/1#1 waits for demo/b, which \
         demo/2#1 has; demo/2#1 waits for demo/c, which demo/3#1 has"
    );
    assert!(begun.elapsed() < Duration::from_secs(30), "it is known before the wait is over");
    assert_eq!(fixture.registry.shared.waiting.len(), 2, "nobody else is disturbed");
    three.release(&c).await;
    let c = got(&second.await.unwrap()).to_owned();
    two.release(&b).await;
    two.release(&c).await;
    one.release(got(&first.await.unwrap())).await;
    one.release(&a).await;
    assert_eq!(held(&fixture).await, []);
    assert_eq!(fixture.registry.shared.waiting.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_not_reentrant_and_says_so_at_once() {
    let fixture = Fixture::new();
    let [one] = spirits(&fixture).await;
    let lease = one.take("a").await;
    let begun = tokio::time::Instant::now();
    for wait_s in [0, 60] {
        let refused = one.acquire("a", 60, wait_s).await;
        assert_eq!(refusal(&refused), "waiting would never end: demo/1#1 has demo/a already");
    }
    // Its own time being over does not make it anybody's.
    fixture.clock.advance(Duration::from_secs(61));
    one.release(&lease).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "it is known before the wait is over");
    assert_eq!(fixture.registry.shared.waiting.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_gone_closes_no_circle() {
    let fixture = Fixture::new();
    let [one, two] = spirits(&fixture).await;
    one.take("a").await;
    let b = two.take("b").await;
    let waiting = one.wait(&fixture, "b").await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(fixture.registry.shared.waiting.len(), 0);
    let text = two.acquire("a", 60, 1).await;
    assert!(refusal(&text).contains("demo/a is held by demo/1#1"), "{text:?}");
    // The same after a wait that was over, and after one that was refused.
    let text = one.acquire("b", 60, 1).await;
    assert!(refusal(&text).contains("demo/b is held by demo/2#1"), "{text:?}");
    assert_eq!(fixture.registry.shared.waiting.len(), 0);
    two.release(&b).await;
    one.take("b").await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    let fixture = Fixture::new();
    let [one, two, three, four] = spirits(&fixture).await;
    let mut lease = one.take("a").await;
    let mut before = one;
    let mut waiting = Vec::new();
    for next in [&three, &two, &four] {
        waiting.push((next.clone(), next.wait(&fixture, "a").await));
    }
    for (next, answer) in waiting {
        before.release(&lease).await;
        lease = got(&answer.await.unwrap()).to_owned();
        assert_eq!(held(&fixture).await[0].holder, next.context.attempt.to_string());
        before = next;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_taken_when_its_time_is_over_and_its_holder_is_not_at_work() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &[])]).await;
    let task = fixture.claim("1").await.unwrap();
    let [one, two] = spirits(&fixture).await;
    one.take("a").await;
    let refused = two.acquire("a", 60, 1).await;
    assert!(refusal(&refused).contains("demo/1#1"), "{refused:?}");
    fixture.clock.advance(Duration::from_secs(3600));
    let refused = two.acquire("a", 60, 1).await;
    assert!(refusal(&refused).contains("demo/1#1"), "its holder is at work: {refused:?}");
    let failed = Body::TaskReady { from: TaskState::Running, last_failure: None };
    fixture.registry.transition(&run(), &key("1"), task.version, Some(1), failed).await.unwrap();
    got(&two.acquire("a", 60, 0).await);

    // Another attempt at the same task is somebody else. This one's holder was never at work.
    fixture.clock.advance(Duration::from_secs(30));
    let refused = one.acquire("a", 60, 0).await;
    assert!(refusal(&refused).contains("demo/2#1"), "its time is not over: {refused:?}");
    fixture.clock.advance(Duration::from_secs(31));
    got(&one.acquire("a", 60, 0).await);
    fixture.claim("1").await.unwrap();
    fixture.clock.advance(Duration::from_secs(61));
    got(&two.acquire("a", 60, 0).await);
}

/// Without a search for circles some of these would wait until their minute is over, and hear another reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_take_however_many_locks_in_whatever_order_nobody_waits_in_vain() {
    const SPIRITS: usize = 8;
    let fixture = Fixture::new();
    let all: [Spirit; SPIRITS] = spirits(&fixture).await;
    let mut working = tokio::task::JoinSet::new();
    for (number, spirit) in all.into_iter().enumerate() {
        working.spawn(async move {
            let mut refused = 0;
            for round in 0..12 {
                // Another pair, in another order, for each spirit and round.
                let first = (number * 7 + round * 3) % 5;
                let second = (first + 1 + (number + round) % 4) % 5;
                let Ok(LocalAnswer::Lease(one)) = spirit.acquire(&format!("l{first}"), 3600, 60).await else {
                    panic!("a first lock closes no circle")
                };
                tokio::task::yield_now().await;
                match spirit.acquire(&format!("l{second}"), 3600, 60).await {
                    Ok(LocalAnswer::Lease(two)) => spirit.release(&two).await,
                    Err(HostError::Conflict(text)) => {
                        assert!(text.starts_with("waiting would never end"), "{text}");
                        refused += 1;
                    }
                    other => panic!("{other:?}"),
                }
                spirit.release(&one).await;
            }
            refused
        });
    }
    let refused: usize = working.join_all().await.into_iter().sum();
    assert!(refused > 0, "no circle came up: the test shows nothing");
    assert_eq!(held(&fixture).await, []);
    assert_eq!(fixture.registry.shared.waiting.len(), 0);
}
