//! Every input that keeps a run from starting: a clear sentence, the right exit code, and nothing
//! written into the user's repository.

use std::fs::{self, File};

use crate::guests;
use crate::place::{Ended, Place};

/// Replies that nobody gets to ask for.
const SCRIPT: &str = "version = 1\n";

/// A place with a repository `r`, a job and a script.
fn ready(files: &[(&str, &str)]) -> Place {
    let place = Place::new();
    place.repository("r", files);
    place.write("job.md", "Add a greeting\n");
    place.write("replies.toml", SCRIPT);
    place
}

/// Runs the job of [`ready`] with more arguments.
fn run(place: &Place, more: &[&str]) -> Ended {
    let args: Vec<&str> =
        ["run", "../job.md", "--llm", "scripted:../replies.toml"].into_iter().chain(more.iter().copied()).collect();
    place.run("r", &args)
}

/// Runs something that must be refused before anything is written.
#[track_caller]
fn refused(place: &Place, args: &[&str], code: i32, parts: &[&str]) {
    let before = place.fingerprint("r");
    place.run("r", args).refused(code, parts);
    assert_eq!(place.fingerprint("r"), before, "something was written into the repository");
}

#[test]
fn without_key_and_model_one_sentence_names_both_ways_out() {
    let place = ready(&[]);
    let before = place.fingerprint("r");
    for variables in [&[][..], &[("OPENAI_API_KEY", "")][..], &[("OPENAI_API_KEY", " \t\n")][..]] {
        let ended = place.run_with("r", &["run", "../job.md"], variables);
        ended.refused(3, &["OPENAI_API_KEY", "--llm"]);
        let errors: Vec<&str> = ended.err.lines().filter(|line| line.starts_with("error:")).collect();
        assert_eq!(errors.len(), 1, "{ended:?}");
        assert_eq!(ended.out, "");
    }
    assert_eq!(place.fingerprint("r"), before);
}

#[test]
fn a_key_that_cannot_be_sent_is_refused_first_and_never_shown() {
    let place = ready(&[]);
    let before = place.fingerprint("r");
    for key in ["hunter2hunter2\nx", "hunter2hunter2\u{1b}[31m", "hunter2 hunter2", "hunter2hünter2"] {
        let ended = place.run_with("r", &["run", "../job.md"], &[("OPENAI_API_KEY", key)]);
        ended.refused(2, &["OPENAI_API_KEY", "the API key has white space"]);
        assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    }
    assert_eq!(place.fingerprint("r"), before);
}

#[test]
fn a_job_has_to_be_a_text_of_some_size() {
    let place = ready(&[]);
    place.write("empty.md", "");
    place.write("blank.md", " \n\t\n");
    place.write("mark.md", "\u{feff} \r\n");
    fs::create_dir(place.path("folder.md")).unwrap();
    place.write("latin.md", b"Gr\xfc\xdfe");
    place.write("large.md", vec![b'x'; (1 << 20) + 1]);
    for (job, parts) in [
        ("../empty.md", ["empty.md", "is empty"]),
        ("../blank.md", ["blank.md", "is empty"]),
        ("../mark.md", ["mark.md", "is empty"]),
        ("../folder.md", ["the job ../folder.md is a directory", ""]),
        ("../latin.md", ["latin.md", "is not UTF-8"]),
        ("../large.md", ["large.md", "1 MiB"]),
        ("../gone.md", ["gone.md", "there is no job file"]),
    ] {
        refused(&place, &["run", job, "--llm", "scripted:../replies.toml"], 2, &parts);
    }
    refused(&place, &["run"], 2, &["nothing to work on", "--spec", "--demo"]);
    place.run_on("r", &["run", "-"], b"").refused(2, &["the job in standard input is empty"]);
    place.run_on("r", &["run", "-"], &vec![b'x'; 2 << 20]).refused(2, &["standard input", "1 MiB"]);
    refused(&place, &["run", "../job.md", "--demo"], 2, &["cannot be used with"]);
}

#[test]
fn the_demo_has_a_repository_of_its_own() {
    let place = ready(&[]);
    for (flag, value) in [("--repo", "."), ("--base", "main")] {
        refused(&place, &["run", "--demo", flag, value], 2, &["--demo", flag, "cannot be used with"]);
    }
}

#[test]
fn a_repository_that_cannot_be_worked_with_is_named() {
    let place = ready(&[]);
    fs::create_dir_all(place.path("plain")).unwrap();
    place.git("", &["init", "-q", "--bare", "bare.git"]);
    place.git("", &["init", "-q", "empty"]);
    for (name, parts) in [
        ("../gone", ["gone", "does not exist"]),
        ("../plain", ["plain", "is not a git repository"]),
        ("../bare.git", ["bare.git", "is a bare repository"]),
        ("../empty", ["empty", "has no commits"]),
        ("ext::sh -c id", ["remote helpers are not allowed", ""]),
    ] {
        run(&place, &["--repo", name]).refused(2, &parts);
    }
    assert!(!place.path("empty/.necro").exists() && !place.path("plain/.necro").exists());
    refused(
        &place,
        &["run", "../job.md", "--llm", "scripted:../replies.toml", "--base", "trunk"],
        2,
        &["has no branch `trunk`", "`main`"],
    );
}

#[test]
fn without_a_branch_the_flag_that_names_one_is_told() {
    let place = ready(&[]);
    place.git("r", &["checkout", "-q", "--detach"]);
    refused(&place, &["run", "../job.md", "--llm", "scripted:../replies.toml"], 2, &["no branch", "--base BRANCH"]);
}

#[test]
fn a_history_that_is_cut_off_is_refused_by_path_and_by_address() {
    let place = ready(&[]);
    place.write("r/README.md", "changed\n");
    place.git("r", &["commit", "-qam", "Second"]);
    let from = format!("file://{}", place.path("r").display());
    place.git("", &["clone", "-q", "--depth", "1", &from, "shallow"]);
    let address = format!("file://{}", place.path("shallow").display());
    for repository in ["../shallow", &address] {
        let ended = run(&place, &["--repo", repository, "--state", "../state"]);
        ended.refused(2, &["shallow is a shallow clone, which is not supported", "--unshallow"]);
    }
}

#[test]
fn a_repository_of_another_user_is_used_once_its_owner_is_trusted() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a repository to another user");
        return;
    }
    let place = ready(&[(".kiro/specs/none/tasks.md", "no task\n")]);
    let mut all: Vec<_> = place.fingerprint("r").into_keys().collect();
    all.push(place.path("r"));
    for path in all {
        std::os::unix::fs::lchown(path, Some(12_345), Some(12_345)).unwrap();
    }
    let args = ["run", "--spec", "none", "--llm", "scripted:../replies.toml", "--state", "../state"];
    refused(&place, &args, 2, &["belongs to another user", "safe.directory"]);
    let root = place.path("r").canonicalize().unwrap();
    place.write("home/.gitconfig", format!("[safe]\n\tdirectory = {}\n", root.display()));
    // The copy was made: what is wrong now is the spec.
    refused(&place, &args, 2, &[".kiro/specs/none/tasks.md"]);
}

#[test]
fn changes_that_are_in_no_commit_are_listed() {
    let place = ready(&[]);
    place.write("r/README.md", "changed\n");
    place.write("r/new.txt", "new\n");
    refused(
        &place,
        &["run", "../job.md", "--llm", "scripted:../replies.toml"],
        2,
        &["has changes that are in no commit", "README.md", "new.txt", "--allow-dirty"],
    );
}

#[test]
fn a_branch_in_the_way_is_named_before_anything_is_written() {
    for branch in ["necro", "feature"] {
        let place = ready(&[]);
        place.git("r", &["branch", branch]);
        let named = format!("the branch `{branch}`");
        refused(&place, &["run", "../job.md", "--llm", "scripted:../replies.toml"], 2, &[&named, "rename it"]);
    }
}

#[test]
fn plugins_that_do_not_fit_are_named_before_anything_is_written() {
    let place = ready(&[]);
    place.write("garbage.wasm", "hello");
    place.write("core.wasm", [0, b'a', b's', b'm', 1, 0, 0, 0]);
    let routing = guests::guest("last-candidate");
    let wrong_kind = format!("scheduling={}", routing.display());
    let newer = format!("routing={}", guests::guest("next-contract").display());
    for (choice, parts) in [
        ("routing=nobody", &["no built-in or installed routing plugin `nobody`", "least-busy"][..]),
        ("router=least-busy", &["is no plugin choice", "routing"]),
        ("routing", &["is no plugin choice"]),
        ("routing=gone.wasm", &["there is no plugin file `gone.wasm`"]),
        ("routing=..", &["`..`"]),
        ("routing=../garbage.wasm", &["plugin `garbage`", "not a WebAssembly component"]),
        ("routing=../core.wasm", &["plugin `core`", "it is a core module"]),
        (&wrong_kind, &["is a routing plugin, but a scheduling plugin is asked for"]),
        (&newer, &["needs necro:plugin@0.2, this host has 0.1"]),
    ] {
        let args = ["run", "../job.md", "--llm", "scripted:../replies.toml", "--plugin", choice];
        refused(&place, &args, 2, parts);
    }
}

#[test]
fn a_model_that_makes_no_sense_is_refused() {
    let place = ready(&[]);
    refused(&place, &["run", "../job.md", "--llm", "gpt"], 2, &["`gpt` names no LLM", "chat:MODEL"]);
    place.run("r", &["run", "../job.md", "--llm", "scripted:../gone.toml"]).refused(2, &["gone.toml"]);
    place.write("broken.toml", "version = 1\n[[reply]]\nrole = 3\n");
    place.run("r", &["run", "../job.md", "--llm", "scripted:../broken.toml"]).refused(2, &["broken.toml"]);
}

#[test]
fn settings_that_are_not_known_are_named_with_their_line() {
    let place = ready(&[("necro.toml", "[run]\n\nmax_paralel = 2\n")]);
    let args = ["run", "../job.md", "--llm", "scripted:../replies.toml"];
    refused(&place, &args, 2, &["necro.toml:3:", "max_paralel"]);
}

#[test]
fn a_repository_cannot_have_the_key_sent_elsewhere() {
    let place = ready(&[("necro.toml", "[llm]\nbase_url = \"http://127.0.0.1:9/v1\"\n")]);
    let key = "sk-proj-notarealkey0123456789";
    let ended = place.run_with("r", &["run", "../job.md"], &[("OPENAI_API_KEY", key)]);
    ended.refused(2, &["http://127.0.0.1:9/v1", "--base-url"]);
    assert!(!ended.err.contains(key));
}

/// The user's own files and everything of git's, without the state directory.
fn own_files(place: &Place) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let state = place.path("r/.necro");
    place.fingerprint("r").into_iter().filter(|(path, _)| !path.starts_with(&state)).collect()
}

#[test]
fn a_spec_that_cannot_be_executed_is_refused_with_file_and_line() {
    let tasks = "# P\n- [ ] 1. a\n  - _Depends: 9_\n";
    let circle = "# P\n- [ ] 1. a\n  - _Depends: 2_\n- [ ] 2. b\n  - _Depends: 1_\n";
    let place = ready(&[(".kiro/specs/unknown/tasks.md", tasks), (".kiro/specs/circle/tasks.md", circle)]);
    let before = own_files(&place);
    let spec = |name: &str| place.run("r", &["run", "--spec", name, "--llm", "scripted:../replies.toml"]);
    spec("unknown").refused(2, &["tasks.md:3:", "9"]);
    spec("circle").refused(2, &["tasks.md:", "1", "2"]);
    spec("nowhere").refused(2, &[".kiro/specs/nowhere/tasks.md", "circle", "unknown"]);
    spec("../x").refused(2, &["`../x` is not a spec name"]);
    assert_eq!(own_files(&place), before);
}

#[test]
fn a_state_directory_has_one_owner() {
    let place = ready(&[]);
    let state = place.path("state");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("owner.lock"), "process 1 since 2026-11-22T10:00:00Z").unwrap();
    let lock = File::options().write(true).open(state.join("owner.lock")).unwrap();
    lock.lock().unwrap();
    let holder = "process 1 since 2026-11-22";
    run(&place, &["--state", "../state"]).refused(2, &["in use by", holder, "necro-host stop", "--state DIR"]);
    // It holds the lock and has no socket.
    let stop = || place.run("r", &["stop", "--state", "../state"]);
    stop().refused(1, &[holder, "does not answer", "kill -INT"]);
    lock.unlock().unwrap();
    assert!(stop().done().contains("nothing to stop"));
    assert_eq!(place.run("r", &["stop", "--state", "../state", "--json"]).json()["stopped"], false);
    place.run("r", &["stop", "--state", "../nowhere"]).refused(2, &["there is no state directory"]);
}

#[test]
fn a_directory_with_other_things_in_it_is_no_state_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = ready(&[]);
    let mode = |path: &str| fs::metadata(place.path(path)).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(place.path("r"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.path("r/.git"), fs::Permissions::from_mode(0o755)).unwrap();
    for state in [".", "../r", ".git"] {
        let args = ["run", "../job.md", "--llm", "scripted:../replies.toml", "--state", state];
        refused(&place, &args, 2, &["cannot be the state directory", "other things are in it", "--state DIR"]);
    }
    assert_eq!((mode("r"), mode("r/.git")), (0o755, 0o755), "it was made private");
    assert!(place.run("r", &["doctor", "--state", "."]).out.contains("other things are in it"));
}

#[test]
fn a_state_directory_that_a_repository_brings_along_is_refused() {
    let place = ready(&[("necro/registry.db", "SQLite format 3\0")]);
    fs::create_dir_all(place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", place.path("r/.necro")).unwrap();
    let run = ["run", "../job.md", "--llm", "scripted:../replies.toml", "--allow-dirty"];
    for args in [&run[..], &["status"], &["land"]] {
        refused(&place, args, 2, &["cannot be the state directory", "a link in the repository"]);
    }
    assert_eq!(fs::read_dir(place.path("elsewhere")).unwrap().count(), 0);
    fs::remove_file(place.path("r/.necro")).unwrap();
    place.git("r", &["mv", "necro", ".necro"]);
    place.git("r", &["commit", "-q", "-m", "Bring it along"]);
    for args in [&run[..], &["status"], &["land"]] {
        refused(&place, args, 2, &["cannot be the state directory", "has it in git"]);
    }
}

#[test]
fn queries_without_a_run_say_so_and_make_nothing() {
    let place = ready(&[]);
    for args in [
        &["status"][..],
        &["tasks"],
        &["show", "1"],
        &["logs"],
        &["logs", "-f"],
        &["events"],
        &["graph"],
        &["artifact", "ls"],
        &["artifact", "get", "artifact:x"],
        &["land"],
    ] {
        refused(&place, args, 2, &["there is no state directory", ".necro", "necro-host run"]);
    }
    place.run("", &["status", "--repo", "gone"]).refused(2, &["gone"]);
    place.run("r", &["status", "--state", "../elsewhere"]).refused(2, &["elsewhere"]);
}
