//! Inputs with their defaults: an author writes what a test is about, and nothing else. A name that no
//! input has is refused, so that a slip does not become a default.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::request::{Call, ExecRequest};
use crate::domain::assignment::Assignment;
use crate::domain::id::Instance;
use crate::domain::policy::{Candidate, Issue, Pool, ReadyTask};
use crate::domain::review::Change;
use crate::service::error::ServiceError;

/// What a component is given.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Describe,
    Decide(Question),
    Work(Job),
}

/// What a policy decides.
#[derive(Debug, Clone)]
pub(super) enum Question {
    Route { issue: Issue, candidates: Vec<Candidate>, state: String },
    Order { ready: Vec<ReadyTask>, pools: Vec<Pool>, state: String },
}

/// What is done in a work tree.
#[derive(Debug, Clone)]
pub(super) enum Job {
    Review { change: Box<Change>, instance: Instance },
    Perform { assignment: Box<Assignment>, instance: Instance },
}

/// The input of a request, whole.
///
/// # Errors
/// [`ServiceError::Usage`] names the field.
pub(super) fn of(request: &ExecRequest) -> Result<Input, ServiceError> {
    filled(request).map_err(|reason| ServiceError::Usage(format!("the request cannot be used: {reason}")))
}

fn filled(request: &ExecRequest) -> Result<Input, String> {
    let given = if request.input.is_null() { json!({}) } else { request.input.clone() };
    let object = given.as_object().ok_or("`input` is no object")?;
    let allowed: &[&str] = match request.call {
        Call::Route => &["issue", "candidates", "state"],
        Call::Order => &["ready", "pools", "state"],
        Call::Review => &["change"],
        Call::Perform => &["assignment"],
        Call::Describe => &[],
    };
    if let Some(odd) = object.keys().find(|key| !allowed.contains(&key.as_str())) {
        let has = if allowed.is_empty() { "has none".to_owned() } else { format!("has {}", allowed.join(", ")) };
        return Err(format!("`input.{odd}` is nothing that `{}` is given; it {has}", request.call.as_str()));
    }
    let state = || typed(given.get("state").unwrap_or(&json!("")), "input.state");
    Ok(match request.call {
        Call::Route => Input::Decide(Question::Route {
            issue: typed(&merged(issue(), &given["issue"], "input.issue")?, "input.issue")?,
            candidates: each(&given["candidates"], "input.candidates", candidate)?,
            state: state()?,
        }),
        Call::Order => Input::Decide(Question::Order {
            ready: each(&given["ready"], "input.ready", ready)?,
            pools: match &given["pools"] {
                Value::Null => vec![typed(&pool(&Value::Null, 0), "input.pools")?],
                given => each(given, "input.pools", pool)?,
            },
            state: state()?,
        }),
        Call::Review => {
            let mut change = merged(change(), &given["change"], "input.change")?;
            change["files"] = each_value(&change["files"], "input.change.files", changed_file)?;
            change["checks"] = each_value(&change["checks"], "input.change.checks", check)?;
            let change: Change = typed(&change, "input.change")?;
            let instance = Instance::new(&change.instance).map_err(|error| error.to_string())?;
            Input::Work(Job::Review { change: Box::new(change), instance })
        }
        Call::Perform => {
            let mut assignment = merged(assignment(request), &given["assignment"], "input.assignment")?;
            if assignment["commands"].is_null() {
                assignment["commands"] = commands(request);
            }
            let assignment: Assignment = typed(&assignment, "input.assignment")?;
            let instance = Instance::new(&assignment.envelope.agent_instance).map_err(|error| error.to_string())?;
            Input::Work(Job::Perform { assignment: Box::new(assignment), instance })
        }
        Call::Describe => Input::Describe,
    })
}

fn typed<T: DeserializeOwned>(value: &Value, place: &str) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|error| format!("`{place}`: {error}"))
}

/// `given` over `default`, field by field; an empty object as a default stands for anything.
fn merged(default: Value, given: &Value, place: &str) -> Result<Value, String> {
    match (default, given) {
        (default, Value::Null) => Ok(default),
        (Value::Object(mut fields), Value::Object(given)) if !fields.is_empty() => {
            for (key, value) in given {
                let Some(default) = fields.get(key) else {
                    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                    return Err(format!("`{place}` has no field `{key}`; it has {}", known.join(", ")));
                };
                let value = merged(default.clone(), value, &format!("{place}.{key}"))?;
                fields.insert(key.clone(), value);
            }
            Ok(Value::Object(fields))
        }
        (_, given) => Ok(given.clone()),
    }
}

fn each_value(list: &Value, place: &str, default: fn(&Value, usize) -> Value) -> Result<Value, String> {
    let list = match list {
        Value::Null => &[][..],
        list => list.as_array().ok_or_else(|| format!("`{place}` is no list"))?,
    };
    let whole = list.iter().enumerate().map(|(at, given)| {
        let place = format!("{place}[{at}]");
        let (default, mut given) = (default(given, at), given.clone());
        if let Some(fields) = given.as_object_mut() {
            fields.remove(SHORT);
        }
        merged(default, &given, &place)
    });
    Ok(Value::Array(whole.collect::<Result<_, _>>()?))
}

fn each<T: DeserializeOwned>(list: &Value, place: &str, default: fn(&Value, usize) -> Value) -> Result<Vec<T>, String> {
    typed(&each_value(list, place, default)?, place)
}

fn issue() -> Value {
    json!({ "id": "1", "title": "A task", "text": "", "labels": [], "priority": 0 })
}

fn candidate(given: &Value, at: usize) -> Value {
    let named =
        given["instance"].as_str().and_then(|name| Instance::new(name).ok()).map(|name| name.role().to_string());
    let role = named.or_else(|| given["role"].as_str().map(str::to_owned)).unwrap_or_else(|| "backend".to_owned());
    json!({
        "instance": format!("{role}_spirit_{}", at + 1), "role": role, "skills": [role], "load": 0, "capacity": 1,
        "last_assigned": 0, "price_microusd": null,
    })
}

fn ready(_: &Value, at: usize) -> Value {
    let number = (at + 1).to_string();
    json!({
        "spec": "spec", "task": number, "title": format!("Task {number}"), "skill": null, "priority": 0,
        "waiting_ms": 0, "dependents": 0, "remaining_path": 1, "attempt": 1,
    })
}

fn pool(_: &Value, _: usize) -> Value {
    json!({ "name": "default", "capacity": 1, "running": 0, "skills": [] })
}

fn change() -> Value {
    json!({
        "spec": "spec", "task": "1", "title": "A task", "text": "", "commit_title": "Do it",
        "instance": "backend_spirit_1", "role": "backend", "attempt": 1, "files": [], "checks": [],
    })
}

fn check(_: &Value, _: usize) -> Value {
    json!({ "name": "test", "passed": true, "output": "" })
}

/// The short form of a new file: its whole text, in place of hunks.
const SHORT: &str = "text";

fn changed_file(given: &Value, _: usize) -> Value {
    let text = given[SHORT].as_str().unwrap_or_default();
    let lines: Vec<Value> = text.lines().map(|line| json!({ "kind": "added", "text": line })).collect();
    let hunks = if lines.is_empty() { json!([]) } else { json!([{ "old_start": 0, "new_start": 1, "lines": lines }]) };
    json!({ "path": "file", "change": "added", "binary": false, "size_bytes": text.len(), "hunks": hunks })
}

fn commands(request: &ExecRequest) -> Value {
    request.commands.iter().map(|(name, command)| json!({ "name": name, "description": command.description })).collect()
}

fn assignment(request: &ExecRequest) -> Value {
    json!({
        "kind": "implement",
        "envelope": {
            "type": "issue_assignment", "agent_instance": "backend_spirit_1", "issue_id": "1", "payload": {},
            "spec_id": "spec", "task_id": "1", "sender": null, "message_id": null,
        },
        "spec": "spec", "task": "1", "title": "A task", "text": "", "language": "en", "acceptance_criteria": [],
        "documents": [], "steering": [], "dependency_reports": [], "attempt": 1, "max_attempts": 3,
        "last_failure": null, "commands": commands(request),
        "budget_left": { "tokens": null, "cost_microusd": null, "calls": null },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Input, String> {
        filled(&ExecRequest::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let input = read(r#"{"call": "route", "input": {"candidates": [{"instance": "qa_spirit_4"}, {"load": 2}]}}"#);
        let Ok(Input::Decide(Question::Route { issue, candidates, state })) = input else { panic!("{input:?}") };
        assert_eq!((issue.id.as_str(), state.as_str()), ("1", ""));
        assert_eq!((candidates[0].role.as_str(), candidates[0].skills[0].as_str()), ("qa", "qa"));
        assert_eq!((candidates[1].instance.as_str(), candidates[1].load), ("backend_spirit_2", 2));
        let input = read(r#"{"call": "order", "input": {"ready": [{}, {"priority": 5}]}}"#);
        let Ok(Input::Decide(Question::Order { ready, pools, .. })) = input else { panic!("{input:?}") };
        assert_eq!((ready[1].task.as_str(), ready[1].priority, pools[0].capacity), ("2", 5, 1));
        let input = read(r#"{"call": "perform", "commands": {"test": {"run": ["true"]}}}"#);
        let Ok(Input::Work(Job::Perform { assignment, instance })) = input else { panic!("{input:?}") };
        assert_eq!((assignment.commands[0].name.as_str(), instance.as_str()), ("test", "backend_spirit_1"));
    }

    #[test]
    fn a_new_file_of_a_change_may_be_given_by_its_text() {
        let input = read(r#"{"call": "review", "input": {"change": {"files": [{"path": "a.rs", "text": "x\ny\n"}]}}}"#);
        let Ok(Input::Work(Job::Review { change, .. })) = input else { panic!("{input:?}") };
        let hunk = &change.files[0].hunks[0];
        assert_eq!((hunk.new_start, hunk.lines.len(), hunk.lines[1].text.as_str()), (1, 2, "y"));
    }

    #[test]
    fn a_name_that_no_input_has_is_refused_with_its_place() {
        for (text, part) in [
            (r#"{"call": "route", "input": {"isue": {}}}"#, "`input.isue` is nothing that `route` is given"),
            (r#"{"call": "route", "input": {"issue": {"prio": 1}}}"#, "`input.issue` has no field `prio`"),
            (r#"{"call": "route", "input": {"candidates": [{}, {"x": 1}]}}"#, "`input.candidates[1]` has no field `x`"),
            (r#"{"call": "route", "input": {"candidates": {}}}"#, "`input.candidates` is no list"),
            (r#"{"call": "route", "input": {"issue": {"priority": "high"}}}"#, "`input.issue`: invalid type"),
            (r#"{"call": "describe", "input": {"x": 1}}"#, "it has none"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
