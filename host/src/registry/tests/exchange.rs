//! Whatever a task set of the original says, it comes out as it came in, and the projections are what the log
//! says.

use jiff::tz::Offset;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::domain::exchange::{read_event, read_set};
use crate::registry::SpecImport;

/// Times as people's clocks and programs write them.
const TIMES: [&str; 4] =
    ["2025-12-01T09:00:00", "2025-12-01T09:00:00.5", "2025-12-01T09:00:00.123456Z", "2025-12-01T09:00:00+09:00"];

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z._]{0,6}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn fields() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map("[a-z_.]{1,8}", json_value(), 0..4).prop_map(|map| {
        // Names of fields with a meaning are not among those that have none.
        map.into_iter()
            .filter(|(key, _)| key != "necro" && !["id", "title", "state", "tasks"].contains(&&**key))
            .collect()
    })
}

/// A task without its state and needs: what is over, or not; what it needs of those before it.
type Draft = (Map<String, Value>, Option<&'static str>, Vec<prop::sample::Index>, (usize, usize));

fn draft() -> impl Strategy<Value = Draft> {
    let fixed = (
        ("\\PC{0,12}", "\\PC{0,12}", proptest::option::of("[a-z]{1,8}"), -5_i32..5, any::<bool>()),
        (fields(), fields(), proptest::option::of("[a-z0-9]{1,8}"), 0_usize..3),
    );
    let task = fixed.prop_map(|((title, text, skill, priority, optional), (metadata, others, slot, artifacts))| {
        let artifact = json!({ "type": "diff", "uri": "file:///a", "size_bytes": null, "metadata": {} });
        let known = json!({
            "title": title, "description": text, "required_skill": skill, "priority": priority,
            "is_optional": optional, "metadata": metadata, "assigned_slot": slot, "reserved_branch": null,
            "runner_id": null, "artifacts": vec![artifact; artifacts]
        });
        let mut task = others;
        task.extend(known.as_object().cloned().unwrap_or_default());
        task
    });
    let over = proptest::option::of(proptest::sample::select(vec!["done", "done", "failed", "cancelled"]));
    (task, over, proptest::collection::vec(any::<prop::sample::Index>(), 0..3), (0..TIMES.len(), 0..TIMES.len()))
}

/// Puts drafts together to a set whose states agree with its needs.
fn assembled(drafts: Vec<Draft>, others: Map<String, Value>) -> Value {
    let mut states: Vec<&str> = Vec::new();
    let mut tasks = Vec::new();
    for (number, (mut task, over, needs, times)) in drafts.into_iter().enumerate() {
        let needs: Vec<usize> = if number == 0 { Vec::new() } else { needs.iter().map(|n| n.index(number)).collect() };
        let waits = needs.iter().any(|need| states[*need] != "done");
        let state = over.unwrap_or(if waits { "blocked" } else { "ready" });
        states.push(state);
        task.insert("id".to_owned(), format!("{}", number + 1).into());
        task.insert("state".to_owned(), state.into());
        let needs = needs.iter().map(|need| Value::from((need + 1).to_string())).collect();
        task.insert("dependencies".to_owned(), needs);
        task.insert("created_at".to_owned(), TIMES[times.0].into());
        task.insert("updated_at".to_owned(), TIMES[times.1].into());
        tasks.push(Value::Object(task));
    }
    let mut set = others;
    set.extend([
        ("spec_name".to_owned(), "demo".into()),
        ("version".to_owned(), 7.into()),
        ("created_at".to_owned(), TIMES[0].into()),
        ("updated_at".to_owned(), TIMES[1].into()),
        ("tasks".to_owned(), tasks.into()),
    ]);
    set.entry("metadata").or_insert_with(|| json!({}));
    Value::Object(set)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_goes_out_the_same(
        drafts in proptest::collection::vec(draft(), 0..7),
        others in fields(),
        lines in proptest::collection::vec((fields(), fields(), "[0-9a-z.]{0,4}"), 0..5),
    ) {
        let set = assembled(drafts, others);
        let lines: Vec<Value> = lines
            .into_iter()
            .map(|(details, mut line, task)| {
                let known = json!({ "event_type": "TaskUpdated", "spec_name": "demo", "task_id": task,
                                    "timestamp": TIMES[task.len() % TIMES.len()], "details": details });
                line.extend(known.as_object().cloned().unwrap_or_default());
                Value::Object(line)
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new();
            let read = SpecImport {
                set: read_set(set.to_string().as_bytes(), Offset::UTC).unwrap(),
                events: lines.iter().map(|l| read_event(l.to_string().as_bytes(), Offset::UTC).unwrap()).collect(),
            };
            let has_tasks = !read.set.tasks.is_empty();
            let imported = fixture.registry.import(vec![read]).await.unwrap();
            prop_assert_eq!(&imported[0].adjusted, &[]);
            fixture.verified().await;
            let again = fixture.registry.import(vec![]).await.unwrap();
            prop_assert!(again.is_empty());
            let reader = crate::registry::Reader::open(&fixture.path(), fixture.registry.blobs().clone()).unwrap();
            let mut written = Vec::new();
            let exported = reader.export(&spec(), |line| { written.push(line); Ok::<_, RegistryError>(()) }).unwrap();
            let Some((report, value)) = exported else {
                prop_assert!(!has_tasks, "a spec with tasks is gone");
                return Ok(());
            };
            prop_assert_eq!(&value, &set);
            prop_assert_eq!(&written, &lines);
            prop_assert_eq!(report.events, lines.len());
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn what_changes_after_an_import_shows_in_an_export_beside_what_was_imported() {
    let fixture = Fixture::new();
    let draft = |title: &str| {
        let task = json!({ "title": title, "description": "", "metadata": { "type": "qa" }, "runner_id": "theirs",
                           "color": "red" });
        (task.as_object().cloned().unwrap(), None, Vec::new(), (0, 0))
    };
    let set = assembled(vec![draft("a"), draft("b")], Map::new());
    let read = read_set(set.to_string().as_bytes(), Offset::UTC).unwrap();
    fixture.registry.import(vec![SpecImport { set: read, events: Vec::new() }]).await.unwrap();
    fixture.claim("1").await.unwrap();
    let reader = crate::registry::Reader::open(&fixture.path(), fixture.registry.blobs().clone()).unwrap();
    let mut lines = Vec::new();
    let exported = reader.export(&spec(), |line| {
        lines.push(line);
        Ok::<_, RegistryError>(())
    });
    let (_, value) = exported.unwrap().unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["event_type"], &lines[0]["details"]["runner_id"]),
        (&json!("TaskAssigned"), &json!("runner"))
    );
    let (one, two) = (&value["tasks"][0], &value["tasks"][1]);
    assert_eq!((&one["state"], &one["runner_id"], &one["color"]), (&json!("running"), &json!("runner"), &json!("red")));
    assert_eq!((&two["state"], &two["runner_id"]), (&json!("ready"), &json!("theirs")));
    assert_eq!((&one["created_at"], &two["updated_at"]), (&json!(TIMES[0]), &json!(TIMES[0])));
    assert_eq!(one["updated_at"], "2026-01-02T03:04:05.123456Z");
    assert_eq!((&value["version"], &value["updated_at"]), (&json!(8), &json!("2026-01-02T03:04:05.123456Z")));
}
