//! What is loaded, and in which words everything else is refused.

use necro_host::plugin::{Engine, EngineOptions, Expectation, LoadError, PluginKind, builtin};

use crate::fakes::{candidates, context, engine, issue, load};
use crate::guests::guest_bytes;

async fn refused(name: &str, bytes: Vec<u8>, expectation: Expectation) -> LoadError {
    engine().load(name, bytes, expectation).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_what_it_is() {
    let mut truncated = guest_bytes("last-candidate");
    truncated.truncate(truncated.len() / 2);
    let cases: [(Vec<u8>, &str); 7] = [
        (vec![], "it is empty"),
        (b"#!/bin/sh\n".to_vec(), "it does not begin like WebAssembly"),
        (b"\0asm\x01\0\0\0".to_vec(), "it is a core module"),
        (b"\0asm\x0d\0".to_vec(), "its header is broken off"),
        (b"(component)".to_vec(), "it is WebAssembly text"),
        (b"\x7fELF\x02\x01\x01\0".to_vec(), "it is native or precompiled code"),
        (truncated, "its sections are broken at byte"),
    ];
    for (bytes, words) in cases {
        let error = refused("odd", bytes, Expectation::Any).await.to_string();
        assert!(error.starts_with("plugin `odd`: not a WebAssembly component: "), "{error}");
        assert!(error.contains(words), "{error} does not say {words:?}");
    }
}

#[tokio::test]
async fn every_truncation_is_an_error_and_no_panic() {
    let engine = engine();
    let bytes = guest_bytes("last-candidate");
    for length in (0..bytes.len()).step_by(bytes.len() / 16) {
        engine.load("cut", bytes[..length].to_vec(), Expectation::Any).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_plugin_of_another_kind_is_refused_by_both_names() {
    let asked = Expectation::Kind(PluginKind::Scheduling);
    let error = refused("picker", guest_bytes("last-candidate"), asked).await;
    assert_eq!(error.to_string(), "plugin `picker`: is a routing plugin, but a scheduling plugin is asked for");
}

#[tokio::test]
async fn a_component_without_a_world_is_refused_with_what_it_exports() {
    let empty = b"\0asm\x0d\0\x01\0".to_vec();
    let error = refused("empty", empty, Expectation::Any).await;
    assert!(matches!(error, LoadError::NoWorld { .. }), "{error}");
    assert!(error.to_string().ends_with("it exports nothing"), "{error}");
}

#[tokio::test]
async fn another_version_of_the_contract_is_named_with_ours() {
    let error = refused("ahead", guest_bytes("next-contract"), Expectation::Kind(PluginKind::Routing)).await;
    assert_eq!(error.to_string(), "plugin `ahead`: needs necro:plugin@0.2, this host has 0.1");
}

#[tokio::test]
async fn a_record_that_changed_within_a_version_is_found_when_loading() {
    let error = refused("changed", guest_bytes("changed-record"), Expectation::Any).await;
    assert!(matches!(error, LoadError::Instantiate { .. }), "{error}");
}

#[tokio::test]
async fn imports_beyond_the_world_are_all_named_at_once() {
    let error = refused("greedy", guest_bytes("over-reaching"), Expectation::Any).await.to_string();
    for part in ["a routing plugin", "`necro:plugin/workspace-edit@0.1.0`", "`necro:plugin/command@0.1.0`"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
    assert!(error.ends_with("it may import log"), "{error}");
}

#[tokio::test]
async fn a_plugin_knows_its_kind_digest_and_imports() {
    let plugin = load("slow-host-wait").await;
    assert_eq!((plugin.name.as_str(), plugin.kind), ("slow-host-wait", PluginKind::Spirit));
    assert_eq!(plugin.capabilities().collect::<Vec<_>>(), ["llm"]);
    assert_eq!(plugin.bytes, guest_bytes("slow-host-wait"));
    let info = plugin.describe_role().await.result.unwrap();
    assert_eq!((info.role.as_str(), info.title.as_str()), ("waiter", "Waiter"));
}

#[tokio::test]
async fn a_function_of_another_world_is_an_error() {
    let plugin = load("last-candidate").await;
    let error = plugin.describe_role().await.result.unwrap_err();
    assert_eq!(error.to_string(), "plugin `last-candidate` is a routing plugin and has no `describe`");
}

#[tokio::test]
async fn every_built_in_plugin_loads_as_its_kind() {
    let engine = engine();
    for builtin in builtin::ALL {
        engine.load(builtin.name, builtin.bytes, Expectation::Kind(builtin.kind)).await.unwrap();
    }
}

fn cached(directory: &std::path::Path) -> Engine {
    let cache_dir = Some(directory.to_owned());
    Engine::new(EngineOptions { cache_dir, max_instances: 4, ..EngineOptions::default() }).unwrap()
}

async fn decide(engine: &Engine) -> String {
    let plugin = engine.load("picker", guest_bytes("last-candidate"), Expectation::Any).await.unwrap();
    let (context, _) = context(plugin.kind);
    plugin.route(context, &issue(), &candidates(2), "", "").await.result.unwrap().instance.to_string()
}

fn only_file(directory: &std::path::Path) -> std::path::PathBuf {
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[tokio::test]
async fn a_damaged_cache_entry_is_compiled_again_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("cache");
    assert_eq!(decide(&cached(&directory)).await, "backend_spirit_2");
    let file = only_file(&directory);
    let good = std::fs::read(&file).unwrap();
    for damage in [0, 40, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[damage] ^= 1;
        std::fs::write(&file, &bad).unwrap();
        assert_eq!(decide(&cached(&directory)).await, "backend_spirit_2");
        assert_ne!(std::fs::read(only_file(&directory)).unwrap(), bad, "the damaged entry stayed");
    }
    std::fs::write(&file, &good[..good.len() / 3]).unwrap();
    assert_eq!(decide(&cached(&directory)).await, "backend_spirit_2");
}

#[tokio::test]
async fn a_warm_cache_is_used_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("cache");
    decide(&cached(&directory)).await;
    let written = std::fs::metadata(only_file(&directory)).unwrap().modified().unwrap();
    decide(&cached(&directory)).await;
    assert_eq!(std::fs::metadata(only_file(&directory)).unwrap().modified().unwrap(), written);
}

#[tokio::test]
async fn a_full_cache_drops_what_was_not_used_for_longest() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("cache");
    let sizes = |names: &[&str]| {
        let (directory, names) = (directory.clone(), names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        async move {
            for name in names {
                cached(&directory).load(&name, guest_bytes(&name), Expectation::Any).await.unwrap();
            }
            let files = std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap());
            let mut files: Vec<_> = files.map(|file| (file.file_name(), file.metadata().unwrap().len())).collect();
            files.sort();
            files
        }
    };
    let two = sizes(&["last-candidate", "panic"]).await;
    let old = std::fs::File::open(directory.join(&two[0].0)).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    // What a process left that died while it wrote goes as well.
    let left = directory.join(".tmpXXXX");
    std::fs::File::create(&left).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();

    let max_cache_bytes = two.iter().map(|(_, bytes)| bytes).sum::<u64>() + 1;
    let options = EngineOptions { cache_dir: Some(directory.clone()), max_cache_bytes, ..EngineOptions::default() };
    let engine = Engine::new(EngineOptions { max_instances: 4, ..options }).unwrap();
    engine.load("hog", guest_bytes("memory-hog"), Expectation::Any).await.unwrap();
    let kept: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap()).collect();
    assert!(!kept.iter().any(|file| file.file_name() == two[0].0), "the oldest stayed");
    assert!(!left.exists(), "what was left behind stayed");
    let total: u64 = kept.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(total <= max_cache_bytes, "{total} > {max_cache_bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_compile_the_same_component_at_once_all_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("cache");
    let deciding = (0..8).map(|_| {
        let directory = directory.clone();
        tokio::spawn(async move { decide(&cached(&directory)).await })
    });
    for decided in deciding.collect::<Vec<_>>() {
        assert_eq!(decided.await.unwrap(), "backend_spirit_2");
    }
    only_file(&directory);
}

#[tokio::test]
async fn a_cache_that_others_may_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("cache");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    decide(&cached(&directory)).await;
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

/// Set for the process in which address space is limited.
const LIMITED: &str = "NECRO_TEST_LIMITED_ADDRESS_SPACE";

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a limit of its own needs a process of its own")]
async fn without_address_space_for_a_pool_instances_are_allocated_on_demand() {
    if std::env::var_os(LIMITED).is_some() {
        let engine = engine();
        assert!(!engine.is_pooled());
        assert_eq!(decide(&engine).await, "backend_spirit_2");
        return;
    }
    assert!(engine().is_pooled());
    guest_bytes("last-candidate");
    let test = "load::without_address_space_for_a_pool_instances_are_allocated_on_demand";
    let mut shell = std::process::Command::new("sh");
    // 16 GiB in units of 1,024 bytes: less than eight memories of the pool need.
    shell.args(["-c", "ulimit -v 16777216 && exec \"$0\" --exact \"$1\""]).env(LIMITED, "1");
    let output = shell.arg(std::env::current_exe().unwrap()).arg(test).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
