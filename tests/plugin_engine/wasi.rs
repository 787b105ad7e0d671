//! What a guest sees of the system: nothing, and the same nothing each time.

use necro_host::domain::id::ExecutionId;
use necro_host::plugin::{GuestUsage, PluginKind};

use crate::fakes::{TIME, assignment, context, load};

async fn look(execution: &str) -> (Vec<String>, Vec<String>, GuestUsage) {
    let plugin = load("inert-wasi").await;
    let (mut context, fake) = context(PluginKind::Spirit);
    context.id = ExecutionId::new(execution).unwrap();
    let ended = plugin.perform(context, assignment(), "").await;
    let summary = ended.result.unwrap().summary;
    (summary.lines().map(ToOwned::to_owned).collect(), fake.logged(), ended.usage)
}

#[tokio::test]
async fn no_files_sockets_arguments_or_environment() {
    let (seen, ..) = look("one").await;
    let expected = [
        "arguments: 0",
        "environment: 0",
        "stdin: 0 bytes, true",
        "file: false",
        "folder: false",
        "write: false",
        "connect: false",
        "listen: false",
        "udp: false",
    ];
    assert_eq!(seen[..expected.len()], expected);
}

#[tokio::test]
async fn sleeping_takes_no_time_and_moves_the_clock() {
    let (seen, ..) = look("one").await;
    assert!(seen.contains(&"slept an hour: true".to_owned()), "{seen:?}");
    let time = TIME.as_second() + 3600;
    assert!(seen.contains(&format!("time: {time}")), "{seen:?}");
}

#[tokio::test]
async fn randomness_is_a_function_of_the_execution() {
    let (first, _, usage) = look("one").await;
    let (again, _, usage_again) = look("one").await;
    let (other, ..) = look("two").await;
    assert_eq!(first, again);
    assert_eq!(usage.fuel, usage_again.fuel);
    assert_ne!(first.last(), other.last());
}

#[tokio::test]
async fn output_becomes_log_lines() {
    let (_, logged, _) = look("one").await;
    assert_eq!(
        logged,
        ["info a line on standard output []", "warn a line on standard error []", "info a line without an end []"]
    );
}
