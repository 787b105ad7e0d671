//! Reports what it sees of the system through `wasi:*`: one line for each thing it tries.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use necro_sdk::spirit::{Assignment, Prompt, Report, WorkKind};
use necro_sdk::{Failure, Settings, Spirit};

/// Looks around.
#[derive(Debug)]
pub struct InertWasi;

impl Spirit for InertWasi {
    fn role() -> &'static str {
        "observer"
    }

    fn title() -> &'static str {
        "Observer"
    }

    fn skills() -> &'static [&'static str] {
        &[]
    }

    fn prompt(_: WorkKind) -> Option<Prompt> {
        None
    }

    fn perform(_: &Assignment, _: &Settings) -> Result<Report, Failure> {
        Ok(Report { title: "what there is".to_owned(), summary: look().join("\n") })
    }
}

#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it tries what a guest must not get")]
fn look() -> Vec<String> {
    println!("a line on standard output");
    eprintln!("a line on standard error");
    print!("a line without an end");
    let _ = std::io::stdout().flush();
    let mut input = String::new();
    let read = std::io::stdin().read_to_string(&mut input);
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(3600));
    let slept = began.elapsed();
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let order: HashMap<u32, ()> = (0..20).map(|n| (n, ())).collect();
    vec![
        format!("arguments: {}", std::env::args().count()),
        format!("environment: {}", std::env::vars().count()),
        format!("stdin: {} bytes, {}", input.len(), read.is_ok()),
        format!("file: {}", std::fs::read_to_string("/etc/passwd").is_ok()),
        format!("folder: {}", std::fs::read_dir(".").is_ok()),
        format!("write: {}", std::fs::write("/tmp/necro-guest", "x").is_ok()),
        format!("connect: {}", std::net::TcpStream::connect("127.0.0.1:80").is_ok()),
        format!("listen: {}", std::net::TcpListener::bind("127.0.0.1:0").is_ok()),
        format!("udp: {}", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        format!("slept an hour: {}", slept >= Duration::from_secs(3600)),
        format!("time: {time}"),
        format!("order: {:?}", order.keys().collect::<Vec<_>>()),
    ]
}

necro_sdk::export_spirit!(InertWasi);
