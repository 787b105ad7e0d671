//! A guest that is run again with the id and the start time of its execution does the same again, to the
//! last unit of fuel, whatever language it is written in; time and chance are functions of these two.

use necro_host::domain::id::ExecutionId;
use necro_host::plugin::{Expectation, PluginKind};

use crate::fakes::{TIME, assignment, context, engine};
use crate::guests::guest_bytes;
use crate::python_guests::python_guest;

/// What an execution left: its report, what it logged, every call as the journal has it, and its fuel.
#[derive(Debug, PartialEq)]
struct Trace {
    lines: Vec<String>,
    logged: Vec<String>,
    calls: Vec<String>,
    fuel: u64,
}

impl Trace {
    /// What a line says after its name.
    fn says(&self, name: &str) -> &str {
        let said = self.lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        said.unwrap_or_else(|| panic!("no line `{name}` in {:?}", self.lines))
    }

    /// The names of the lines that the other one has otherwise.
    fn differs_from(&self, other: &Self) -> Vec<&str> {
        assert_eq!(self.lines.len(), other.lines.len());
        let pairs = self.lines.iter().zip(&other.lines);
        pairs.filter(|(a, b)| a != b).map(|(line, _)| line.split(": ").next().unwrap()).collect()
    }
}

/// In an engine of its own, as in another process.
async fn run(bytes: &[u8], execution: &str, time: jiff::Timestamp) -> Trace {
    let plugin = engine().load("observer", bytes.to_vec(), Expectation::Kind(PluginKind::Spirit)).await.unwrap();
    let (mut context, fake) = context(PluginKind::Spirit);
    (context.id, context.time) = (ExecutionId::new(execution).unwrap(), time);
    let ended = plugin.perform(context, assignment(), "").await;
    let summary = ended.result.unwrap().summary;
    Trace {
        lines: summary.lines().map(ToOwned::to_owned).collect(),
        logged: fake.logged(),
        calls: fake.steps(),
        fuel: ended.usage.fuel,
    }
}

/// Twice the same execution, another one at the same time, and the same one at another time.
async fn repeated(bytes: &[u8]) -> [Trace; 3] {
    let later = TIME + jiff::SignedDuration::from_hours(1_000);
    let first = run(bytes, "one", TIME).await;
    let again = run(bytes, "one", TIME).await;
    assert_eq!(first, again);
    [first, run(bytes, "two", TIME).await, run(bytes, "one", later).await]
}

#[tokio::test]
async fn a_rust_guest_is_repeated_exactly() {
    let [first, other, later] = repeated(&guest_bytes("inert-wasi")).await;
    assert_eq!(first.differs_from(&other), ["order"]);
    assert_eq!(first.differs_from(&later), ["time"]);
    assert_eq!(first.says("slept an hour"), "true");
}

#[tokio::test]
async fn a_python_guest_is_repeated_exactly() {
    let test = "plugin_engine::repeated::a_python_guest_is_repeated_exactly";
    let Some(bytes) = python_guest(test, "observer", "spirit") else { return };
    let [first, other, later] = repeated(&bytes).await;
    assert_eq!(first.says("slept an hour"), "True");
    let now: f64 = first.says("time.time").parse().unwrap();
    let expected = TIME.as_second() as f64 + 3600.0;
    assert!((expected..expected + 1.0).contains(&now), "the clock is the execution's, an hour later: {now}");
    assert_eq!((first.says("environment"), first.says("file")), ("0", "False"));
    assert!(first.calls[0].starts_with("observed log.emit"), "{:?}", first.calls);
    // `hash` and the order of a set are part of the component: Python draws their seed when it is built.
    let chance = ["os.urandom", "secrets.token_hex", "uuid.uuid4", "uuid.uuid1", "random.random", "random.Random"];
    assert_eq!(first.differs_from(&other), [&chance[..], &["random.SystemRandom", "random.shuffle"]].concat());
    assert_eq!(first.differs_from(&later), ["time.time", "datetime.now", "local time", "uuid.uuid1"]);
}
