//! Remotes that take a push, refuse it, ask who this is, do not answer, or are gone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Mutex;
use std::time::Duration;

use super::git::{Operator, Wait};
use super::*;

const LONG: Duration = Duration::from_secs(60);

fn bare(path: &Path) -> Source {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false);
    Repository::init_opts(path, &options).unwrap();
    Source::Path(path.to_owned())
}

/// A git that never waits, and how long it would have.
fn unhurried(git: &Git, home: &Path) -> (Git, Arc<Mutex<Vec<u128>>>) {
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&pauses);
    let wait = Wait::told(move |pause| told.lock().unwrap().push(pause.as_millis()));
    (git.of(Operator::at(home), wait), pauses)
}

async fn mirror_with(fixture: &Fixture, git: Git) -> Arc<Mirror> {
    let repos = fixture.root.path().join("state/repos");
    let mirror = Mirror::open(git, &repos, Source::Path(fixture.user())).await.unwrap();
    mirror.fetch().await.unwrap();
    mirror
}

#[tokio::test]
async fn a_push_brings_one_branch_and_never_puts_another_aside() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let remote = fixture.root.path().join("remote.git");
    let to = bare(&remote);
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let tree = tree_of(&mirror, &base).await;
    let (one, two) = (commit(&mirror, &tree, &[&base], "one").await, commit(&mirror, &tree, &[&base], "two").await);
    for _ in 0..2 {
        assert_eq!(mirror.push(&to, &one, "feature/呪文", LONG).await.unwrap(), Pushed::There);
    }
    assert_eq!(mirror.push(&to, &two, "feature/呪文", LONG).await.unwrap(), Pushed::NotFastForward);
    let refs: Vec<String> = Repository::open(&remote)
        .unwrap()
        .references()
        .unwrap()
        .map(|found| {
            let found = found.unwrap();
            format!("{} {}", found.name().unwrap(), found.target().unwrap())
        })
        .collect();
    assert_eq!(refs, [format!("refs/heads/feature/呪文 {one}")]);
    let hook = remote.join("hooks/pre-receive");
    put(&hook, "#!/bin/sh\necho not on a Friday >&2\nexit 1\n");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = mirror.push(&to, &two, "other", LONG).await.unwrap();
    assert!(matches!(&refused, Pushed::Refused { detail } if detail.contains("pre-receive")), "{refused:?}");
}

#[tokio::test]
async fn a_remote_that_is_gone_is_tried_again_where_that_can_help_and_one_that_hangs_is_given_up() {
    let fixture = Fixture::new().await;
    let (git, pauses) = unhurried(&fixture.git, fixture.root.path());
    let mirror = mirror_with(&fixture, git).await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let nowhere = Source::Path(fixture.root.path().join("none"));
    let gone = mirror.push(&nowhere, &base, "x", LONG).await.unwrap_err();
    assert!(matches!(gone, WorkspaceError::Git(GitError::NotFound { .. })), "{gone}");
    assert!(pauses.lock().unwrap().is_empty());
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = Source::Url(format!("http://127.0.0.1:{port}/x.git"));
    let gone = mirror.push(&closed, &base, "x", LONG).await.unwrap_err();
    assert!(matches!(gone, WorkspaceError::Git(GitError::Network { .. })), "{gone}");
    assert_eq!(*pauses.lock().unwrap(), [500, 1500]);
    // Connections are accepted by the system, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = Source::Url(format!("http://{}/x.git", silent.local_addr().unwrap()));
    let slow = mirror.push(&silent_url, &base, "x", Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(slow, WorkspaceError::Git(GitError::TimedOut { .. })), "{slow}");
    assert_eq!(pauses.lock().unwrap().len(), 2);
}

/// Answers every request with "who are you", and keeps what was said.
fn asking_server() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/x.git", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(String::new()));
    let keep = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 8192];
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            keep.lock().unwrap().push_str(&String::from_utf8_lossy(&request));
            let _ = stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\
                  Connection: close\r\n\r\n",
            );
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    (address, heard)
}

#[tokio::test]
async fn credentials_come_from_the_operators_own_helper_and_only_when_asked_for() {
    let fixture = Fixture::new().await;
    let home = fixture.root.path().join("home");
    let helper = home.join("helper");
    put(&helper, "#!/bin/sh\necho \"$1\" >> \"$HOME/asked\"\necho username=me\necho password=pw\n");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    // What the repository says, and a file in the home that git itself would read, count for nothing.
    let trap = fixture.root.path().join("trap");
    let planted = format!("[credential]\n\thelper = \"!touch {}; :\"\n", trap.display());
    let config = fixture.user().join(".git/config");
    fs::write(&config, fs::read_to_string(&config).unwrap() + &planted).unwrap();
    put(&home.join(".netrc"), "machine 127.0.0.1 login other password other\n");
    for (asked, opt_in) in [(false, ""), (true, "[necro]\n\tcredentials = true\n")] {
        put(&home.join(".gitconfig"), &format!("{opt_in}[credential]\n\thelper = {}\n", helper.display()));
        let (git, pauses) = unhurried(&fixture.git, &home);
        let mirror = mirror_with(&fixture, git).await;
        let base = mirror.branch_tip("main").await.unwrap().unwrap();
        let (address, heard) = asking_server();
        let refused = mirror.push(&Source::Url(address), &base, "x", LONG).await.unwrap_err();
        assert!(matches!(refused, WorkspaceError::Git(GitError::Auth { .. })), "{refused}");
        assert!(pauses.lock().unwrap().is_empty(), "asking again would only lock an account");
        // me:pw
        assert_eq!(heard.lock().unwrap().contains("Basic bWU6cHc="), asked, "{}", heard.lock().unwrap());
        assert_eq!(home.join("asked").exists(), asked);
    }
    assert!(!trap.exists());
}

#[tokio::test]
async fn a_lock_that_a_killed_git_left_in_the_users_repository_is_named_and_left_alone() {
    let fixture = Fixture::new().await;
    let (git, pauses) = unhurried(&fixture.git, fixture.root.path());
    let mirror = mirror_with(&fixture, git).await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let lock = fixture.user().join(".git/refs/heads/necro/app.lock");
    put(&lock, "");
    let locked = mirror.land(&base, "necro/app").await.unwrap_err().to_string();
    assert!(locked.contains("necro/app.lock") && locked.contains("remove that file"), "{locked}");
    assert!(lock.exists());
    assert_eq!(*pauses.lock().unwrap(), [50, 100, 200, 400]);
    fs::remove_file(&lock).unwrap();
    assert_eq!(mirror.land(&base, "necro/app").await.unwrap(), Landed::Created);
}
