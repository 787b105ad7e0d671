//! What must go on working in the sandbox.

use std::sync::Arc;

use necro_host::clock::SystemClock;
use necro_host::sandbox::{Confinement, HostEnv, Sandbox, SandboxError};

use crate::place::{Place, confinement};

fn sandbox(on: Confinement) -> Sandbox {
    Sandbox::new(HostEnv::from_process(), Arc::new(SystemClock::default()), on)
}

#[tokio::test]
async fn a_crate_is_built_and_tested_in_the_sandbox() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let work = place.path("slot/work");
    std::fs::create_dir(work.join("src")).unwrap();
    std::fs::write(work.join("Cargo.toml"), "[package]\nname = \"a\"\nedition = \"2021\"\n[workspace]\n").unwrap();
    std::fs::write(work.join("src/lib.rs"), "#[test]\nfn it_works() { assert!(std::env::temp_dir().is_dir()); }\n")
        .unwrap();
    let finished = place.run(&sandbox(on), place.spec(&["cargo", "test", "--offline"])).await;
    assert_eq!(finished.outcome.exit_code, Some(0), "{finished:?}");
    assert!(finished.outcome.stdout.contains("1 passed"), "{finished:?}");
}

#[tokio::test]
async fn pipes_pairs_of_sockets_links_and_programs_of_its_own_work() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let script = "set -e; mkdir -p a/b c; echo x > a/b/f; mv a/b/f c/f; ln c/f c/g; ln -s f c/h; cat c/h | cat; mkfifo p; \
                  printf '#!/bin/sh\\necho ran\\n' > own; chmod +x own; ./own; echo t > $TMPDIR/t; echo h > $HOME/h; \
                  cp own $TMPDIR/own; $TMPDIR/own; : > /dev/null; head -c 1 /dev/urandom > /dev/null";
    let finished = place.run(&sandbox(on.clone()), place.spec(&["sh", "-c", script])).await;
    assert_eq!(
        (finished.outcome.exit_code, finished.outcome.stdout.as_str()),
        (Some(0), "x\nran\nran\n"),
        "{finished:?}"
    );
    if std::path::Path::new("/usr/bin/python3").exists() {
        let pair = "import socket, subprocess; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1)); \
                    print(subprocess.run(['echo', 'child'], capture_output=True, start_new_session=True).stdout)";
        let finished = place.run(&sandbox(on), place.spec(&["python3", "-c", pair])).await;
        assert_eq!(finished.outcome.stdout, "b'x'\nb'child\\n'\n", "{finished:?}");
    }
}

#[tokio::test]
async fn an_entry_with_a_network_has_the_internet_and_no_other_sockets() {
    let Some(on) = confinement() else { return };
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return eprintln!("skipped: sockets need /usr/bin/python3");
    }
    let place = Place::new();
    let text = "import os, socket\nsocket.create_connection(('127.0.0.1', int(os.environ['PORT']))); print('connected')\n\
                try:\n socket.socket(socket.AF_UNIX); print('ESCAPED')\nexcept OSError as e: print(e)";
    let mut spec = place.spec(&["python3", "-S", "-c", text]);
    spec.network = true;
    let finished = place.run(&sandbox(on), spec).await;
    assert_eq!(finished.outcome.stdout, "connected\n[Errno 1] Operation not permitted\n", "{finished:?}");
}

#[tokio::test]
async fn a_program_without_its_interpreter_is_named_and_a_launcher_that_is_none_is_refused() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let script = place.path("slot/work/lost");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = sandbox(on).run(place.spec(&["./lost"]), std::future::pending()).await.unwrap_err();
    assert!(matches!(&error, SandboxError::MissingProgram { program } if program.contains("interpreter")), "{error}");
    for other in ["/bin/true", "/bin/cat", "/no/such/launcher"] {
        let error = Confinement::by(other.into()).unwrap_err().to_string();
        assert!(error.contains("sandbox = \"off\"") && error.contains(other), "{error}");
    }
}
