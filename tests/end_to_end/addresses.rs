//! Repositories that are named by an address: what lets in is shown to nobody, and what was done can be
//! fetched.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};

use necro_host::domain::event::Body;

use crate::replies::Replies;
use crate::world::{Finished, PATIENCE, Running, World, files_below, finish, git};

const PLAN: &str = "# Plan\n\n- [ ] 1. Write a page\n  - _Skill: backend_\n";
/// What the server wants to hear.
const PASSWORD: &str = "tok-0123456789";
/// `me:tok-0123456789` in the form in which HTTP says it.
const BASIC: &str = "Basic bWU6dG9rLTAxMjM0NTY3ODk=";

/// A server on the loopback interface that has a repository's files for whoever knows the password.
struct Server {
    address: String,
    /// Requests whose path begins like this are never answered; empty: all are.
    held: Arc<Mutex<&'static str>>,
    /// Hears when such a request has come, and when the client has gone away.
    heard: mpsc::Receiver<&'static str>,
}

impl Server {
    fn start(repository: &Path) -> Self {
        git(repository, &["update-server-info"]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (folder, held) = (repository.join(".git"), Arc::new(Mutex::new("")));
        let (tell, heard) = mpsc::channel();
        let holding = Arc::clone(&held);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, tell) = (folder.clone(), tell.clone());
                let held = *holding.lock().unwrap();
                std::thread::spawn(move || answer(stream, &folder, held, &tell));
            }
        });
        Self { address, held, heard }
    }

    /// The repository, with what lets in.
    fn repository(&self) -> String {
        format!("http://me:{PASSWORD}@{}/r.git", self.address)
    }

    fn hold(&self, path: &'static str) {
        *self.held.lock().unwrap() = path;
    }

    fn wait(&self, event: &str) {
        assert_eq!(self.heard.recv_timeout(PATIENCE), Ok(event));
    }
}

/// Answers one request. A client that goes away is none of the server's business.
fn answer(mut stream: TcpStream, folder: &Path, held: &str, tell: &mpsc::Sender<&'static str>) -> std::io::Result<()> {
    let lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1)?.split('?').next()).unwrap_or_default();
    let known = head.iter().any(|line| line.to_lowercase().starts_with("authorization:") && line.contains(BASIC));
    let name = path.trim_start_matches("/r.git/");
    if known && !held.is_empty() && name.starts_with(held) {
        let _ = tell.send("held");
        let read = stream.read(&mut [0]);
        let _ = tell.send("gone");
        return read.map(|_| ());
    }
    let (status, body) = match fs::read(folder.join(name)) {
        _ if !known => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"", Vec::new()),
        Ok(bytes) => ("200 OK", bytes),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

/// The binary on an address instead of the world's repository.
fn on(world: &World, address: &str, command: &str, args: &[&str]) -> Command {
    let mut binary = world.binary();
    binary.args([command, "--repo", address, "--state"]).arg(world.state()).args(args);
    binary
}

fn running(world: &World, address: &str) -> Command {
    let replies = Replies::default().writes("backend", "1", None, "page.txt", "text\n");
    let script = format!("scripted:{}", world.file("replies.toml", &replies.text()));
    on(world, address, "run", &["--spec", "pages", "--llm", &script])
}

fn run(world: &World, address: &str) -> Finished {
    finish(&mut running(world, address))
}

fn assert_hidden(what: &str, text: &[u8]) {
    let shown = text.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
    assert!(!shown, "{what} has the password in it:\n{}", String::from_utf8_lossy(text));
}

#[test]
fn the_password_of_an_address_is_in_no_output_and_no_file() {
    if !has_http() {
        return;
    }
    // The gate prints what it must not know; in the file it stands in two parts.
    let settings = "[gate]\ncommands = [\"check\"]\n\n[commands.check]\n\
                    run = [\"sh\", \"-c\", \"printf 'it is tok-%s' 0123456789\"]\n";
    let world = World::new(&[("necro.toml", settings), (".kiro/specs/pages/tasks.md", PLAN)]);
    let server = Server::start(&world.repository());
    let address = server.repository();
    let server = &server.address;

    let done = run(&world, &address);
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(done.stdout.contains(&format!("--repo http://{server}/r.git")), "{done:#?}");
    let wrong = run(&world, &address.replace("/r.git", "/none.git"));
    assert_eq!(wrong.code, Some(2), "{wrong:#?}");
    let garbled = run(&world, &format!("http://me:{PASSWORD}/@{server}/r.git"));
    assert_eq!(garbled.code, Some(2), "{garbled:#?}");
    let mut all = vec![done, wrong, garbled];
    for (command, args) in
        [("status", &[][..]), ("status", &["--json"]), ("show", &["1"]), ("events", &["--json"]), ("land", &[])]
    {
        all.push(finish(&mut on(&world, &address, command, args)));
    }
    for finished in &all {
        assert_hidden("output", format!("{finished:#?}").as_bytes());
    }
    let mut masked = false;
    for path in files_below(&world.state()) {
        let bytes = fs::read(world.state().join(&path)).unwrap_or_default();
        assert_hidden(&path.display().to_string(), &bytes);
        masked |= String::from_utf8_lossy(&bytes).contains("it is «masked»");
    }
    assert!(masked, "the gate's output was not kept");
}

#[test]
fn an_interrupt_is_heard_while_the_repository_is_looked_at_or_copied() {
    if !has_http() {
        return;
    }
    for held in ["info/refs", "objects/"] {
        let world = World::new(&[("necro.toml", "[gate]\ncommands = []\n"), (".kiro/specs/pages/tasks.md", PLAN)]);
        let server = Server::start(&world.repository());
        server.hold(held);
        let stopped = Running::start(&mut running(&world, &server.repository()));
        server.wait("held");
        stopped.interrupt();
        let stopped = stopped.finish();
        assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(130), ""), "{held}: {stopped:#?}");
        assert!(stopped.stderr.contains("interrupted before the run began"), "{held}: {stopped:#?}");
        // Git was not left behind.
        server.wait("gone");
        server.hold("");
        let done = run(&world, &server.repository());
        assert_eq!(done.code, Some(0), "{held}: {done:#?}");
        let begun = |event: &necro_host::domain::event::Event| matches!(event.body, Body::RunStarted { .. });
        assert_eq!(world.records().events().iter().filter(|event| begun(event)).count(), 1, "{held}");
    }
}

#[test]
fn what_was_done_on_an_address_can_be_fetched_as_the_end_says() {
    let settings = "[gate]\ncommands = []\n\n[run]\nland = true\n";
    let world = World::new(&[("necro.toml", settings), (".kiro/specs/pages/tasks.md", PLAN)]);
    let address = format!("file://{}", world.repository().display());
    let done = run(&world, &address);
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(done.stderr.contains("run.land has no effect"), "{done:#?}");
    let told = done.stdout.lines().find_map(|line| line.strip_prefix("get it: ")).unwrap();
    let command = told.split("   (in a clone of ").next().unwrap();
    let words: Vec<&str> = command.strip_prefix("git ").unwrap().split(' ').collect();
    git(&world.repository(), &words);
    assert_eq!(git(&world.repository(), &["show", "necro/pages:page.txt"]), "text");

    let refused = finish(&mut on(&world, &address, "land", &["pages"]));
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains(command), "{refused:#?}");
}

/// Whether git speaks HTTP here.
fn has_http() -> bool {
    let folder = git(Path::new("."), &["--exec-path"]);
    let found = Path::new(&folder).join("git-remote-http").exists();
    if !found {
        eprintln!("skipped: an address with a password needs a git that speaks HTTP");
    }
    found
}
