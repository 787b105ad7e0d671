//! Installing plugins and deciding what they may do, as an operator types it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use necro_host::store::digest_of;
use serde_json::{Value, json};

use crate::guests::{guest, guest_bytes};
use crate::place::Place;

fn place() -> Place {
    let place = Place::new();
    place.repository("r", &[]);
    place
}

fn clerk() -> String {
    guest("clerk").display().to_string()
}

/// Serves `bytes` to so many clients, under any path.
fn serve(bytes: Vec<u8>, times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(times) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            // A client that has seen enough hangs up.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
        }
    });
    format!("http://{address}/last-candidate.wasm")
}

#[test]
fn a_file_is_installed_by_its_digest_used_by_name_updated_and_removed() {
    let place = place();
    fs::copy(guest("last-candidate"), place.path("r/last_candidate.wasm")).unwrap();
    let digest = digest_of(&guest_bytes("last-candidate")).to_string();
    let installed = place.run("r", &["plugin", "install", "last_candidate.wasm", "--json"]).json();
    assert_eq!(
        (&installed["name"], &installed["kind"], &installed["digest"], &installed["source"], &installed["needs_grant"]),
        (&json!("last-candidate"), &json!("routing"), &json!(digest), &json!("last_candidate.wasm"), &json!(false))
    );
    let listed = place.run("r", &["plugin", "list", "--json"]).json();
    let entry = listed.as_array().unwrap().iter().find(|plugin| plugin["name"] == "last-candidate").unwrap();
    assert_eq!((&entry["here"], &entry["source"]), (&json!(true), &json!("last_candidate.wasm")));
    place.run("r", &["plugin", "inspect", "last-candidate"]).done();
    let again = place.run("r", &["plugin", "install", "last_candidate.wasm"]).done();
    assert!(again.contains("is up to date"), "{again}");

    fs::copy(guest("bad-output"), place.path("r/last_candidate.wasm")).unwrap();
    let updated = place.run("r", &["plugin", "update", "last-candidate", "--json"]).json();
    assert_eq!(updated["before"], json!(digest));
    assert_ne!(updated["digest"], json!(digest));
    fs::copy(guest("clerk"), place.path("r/last_candidate.wasm")).unwrap();
    let other = place.run("r", &["plugin", "update", "last-candidate"]);
    other.refused(2, &["is a spirit plugin, but a routing plugin is asked for"]);
    place.run("r", &["plugin", "remove", "last-candidate"]).done();
    place.run("r", &["plugin", "remove", "last-candidate"]).refused(2, &["no plugin `last-candidate` is installed"]);
    place.run("r", &["plugin", "inspect", "last-candidate"]).refused(2, &["there is no built-in or installed plugin"]);
}

#[test]
fn what_comes_from_a_url_is_what_was_expected_or_nothing() {
    let place = place();
    let bytes = guest_bytes("last-candidate");
    let (url, digest) = (serve(bytes.clone(), 4), digest_of(&bytes).to_string());
    place.run("r", &["plugin", "install", &url]).refused(2, &["give its SHA-256 by --sha256"]);
    let wrong = "0".repeat(64);
    place
        .run("r", &["plugin", "install", &url, "--sha256", &wrong])
        .refused(2, &["gives other bytes", &digest, &wrong]);
    assert!(!place.path("r/necro.lock").exists(), "a refused plugin left something");
    place.run("r", &["plugin", "install", &url, "--sha256", &digest]).done();

    // Another machine has the lock file and nothing else.
    fs::remove_dir_all(place.path("r/.necro")).unwrap();
    place.run("r", &["plugin", "inspect", "last-candidate"]).refused(2, &["not installed here yet", "plugin install"]);
    let restored = place.run("r", &["plugin", "install", "--json"]).json();
    assert_eq!((&restored[0]["fetched"], &restored[0]["digest"]), (&json!(true), &json!(digest)));
    let stored = place.path(&format!("r/.necro/plugins/{digest}.wasm"));
    fs::write(&stored, "something else").unwrap();
    place.run("r", &["plugin", "inspect", "last-candidate"]).refused(2, &["its stored file is damaged"]);
    place.run("r", &["plugin", "install"]).done();
    assert_eq!(fs::read(&stored).unwrap(), bytes);
    let plain = "http://plugins.example/x.wasm";
    place.run("r", &["plugin", "install", plain, "--sha256", &wrong]).refused(2, &["only https is"]);
}

#[test]
fn names_of_the_built_in_set_are_not_taken_and_broken_files_change_nothing() {
    let place = place();
    fs::copy(guest("last-candidate"), place.path("r/least-busy.wasm")).unwrap();
    place.run("r", &["plugin", "install", "least-busy.wasm"]).refused(2, &["built-in routing plugin", "--name"]);
    place.run("r", &["plugin", "install", "least-busy.wasm", "--name", "../x"]).refused(2, &["is no plugin name"]);
    place.run("r", &["plugin", "install", "least-busy.wasm", "--name", "mine"]).done();
    let before = fs::read(place.path("r/necro.lock")).unwrap();
    place.write("r/broken.wasm", b"\0asm\x0d\0\x01\0\x01\xff\xff");
    place.run("r", &["plugin", "install", "broken.wasm"]).refused(2, &["not a WebAssembly component"]);
    assert_eq!(fs::read(place.path("r/necro.lock")).unwrap(), before);
    place.write("r/necro.lock", "version = 1\n[[plugins]]\n");
    for command in [&["plugin", "ls"][..], &["plugin", "install", "least-busy.wasm", "--name", "other"]] {
        place.run("r", command).refused(2, &["necro.lock:2: unknown field `plugins`", "nothing is run"]);
    }
}

#[test]
fn only_what_needs_more_than_its_kind_has_asks() {
    let place = place();
    let decided = |name: &str| {
        let listed = place.run("r", &["plugin", "ls", "--json"]).json();
        let found = listed.as_array().unwrap().iter().find(|entry| entry["name"] == name);
        found.map(|entry| entry["decided"].clone())
    };
    for name in ["last-candidate", "clerk"] {
        place.run("r", &["plugin", "install", &guest(name).display().to_string(), "--name", name]).done();
    }
    let table = [
        ("least-busy", true),
        ("licence-headers", true),
        ("llm-critic", false),
        ("last-candidate", true),
        ("clerk", false),
    ];
    for (name, expected) in table {
        assert_eq!(decided(name), Some(json!(expected)), "{name}");
        assert_eq!(place.run("r", &["plugin", "diff", name, "--json"]).json()["decided"], json!(expected), "{name}");
        assert_eq!(place.run("r", &["plugin", "inspect", name, "--json"]).json()["decided"], json!(expected), "{name}");
    }
    place.run("r", &["plugin", "grant", "llm-critic", "--all"]).done();
    assert_eq!(decided("llm-critic"), Some(json!(true)));
}

#[test]
fn without_a_terminal_the_exact_command_is_named_and_nothing_granted() {
    let place = place();
    let asked = place.run("r", &["plugin", "grant", &clerk()]);
    asked.refused(2, &["workspace-edit: write and remove", "it has no manifest", &format!("grant {} --all`", clerk())]);
    assert!(!place.path("r/necro.lock").exists());
    place.run("r", &["plugin", "grant", &clerk(), "--allow", "llm"]).refused(2, &["does not ask for llm"]);
    let bounds = place.run("r", &["plugin", "grant", &clerk(), "--allow", "lock", "--read", "src/**"]);
    bounds.refused(2, &["--read bounds workspace, which is not allowed here"]);
    place.run("r", &["plugin", "grant", &clerk(), "--all", "--read", "a["]).refused(2, &["is no glob"]);
}

#[test]
fn a_grant_is_for_one_digest_and_can_be_looked_at_compared_and_taken_back() {
    let place = place();
    fs::copy(guest("clerk"), place.path("r/clerk.wasm")).unwrap();
    let some =
        ["plugin", "grant", "clerk.wasm", "--allow", "lock", "--allow", "workspace-edit", "--locks", "desk", "--json"];
    let decided = place.run("r", &some).json();
    assert_eq!(decided["granted"], json!({ "lock": { "prefixes": ["desk"] }, "workspace-edit": {} }));
    assert_eq!(decided["withheld"], json!(["workspace", "registry", "mailbox", "artifact"]));
    let standing = place.run("r", &["plugin", "inspect", "clerk.wasm", "--json"]).json();
    assert_eq!(standing["granted"], json!({ "lock": "locks desk", "workspace-edit": "" }));

    // The next version has another digest: nothing is granted to it.
    let mut newer = fs::read(place.path("r/clerk.wasm")).unwrap();
    newer.extend([0, 2, 1, b'x']);
    fs::write(place.path("r/clerk.wasm"), newer).unwrap();
    let standing = place.run("r", &["plugin", "inspect", "clerk.wasm", "--json"]).json();
    assert_eq!((&standing["decided"], &standing["granted"]), (&json!(false), &json!({})));
    let diff = place.run("r", &["plugin", "diff", "clerk.wasm", "--json"]).json();
    assert_eq!((&diff["decided"], &diff["against"]), (&json!(false), &decided["digest"]));
    let line = |interface: &str| {
        let lines = diff["lines"].as_array().unwrap();
        lines.iter().find(|line| line["interface"] == interface).cloned().unwrap_or(Value::Null)
    };
    assert_eq!(line("lock"), json!({ "interface": "lock", "granted": "locks desk", "asked": "" }));
    assert_eq!(line("mailbox"), json!({ "interface": "mailbox", "granted": null, "asked": "" }));
    place.run("r", &["plugin", "grant", "clerk.wasm", "--all"]).done();
    let taken = place.run("r", &["plugin", "revoke", "clerk", "--interface", "lock", "--json"]).json();
    assert_eq!(taken.as_array().unwrap().len(), 2, "both digests: {taken}");
    let standing = place.run("r", &["plugin", "inspect", "clerk.wasm", "--json"]).json();
    assert!(standing["granted"].get("lock").is_none() && standing["granted"].get("mailbox").is_some(), "{standing}");
    place.run("r", &["plugin", "revoke", "nobody"]).refused(2, &["nothing is granted to `nobody`"]);
}

#[test]
fn the_built_in_set_has_what_its_kind_works_with_until_it_is_taken_back() {
    let place = place();
    let granted = |name: &str| place.run("r", &["plugin", "inspect", name, "--json"]).json()["granted"].clone();
    assert!(granted("backend").get("command").is_some());
    place.run("r", &["plugin", "revoke", "backend", "--interface", "command"]).done();
    let left = granted("backend");
    assert!(left.get("command").is_none() && left.get("llm").is_some(), "{left}");
}
