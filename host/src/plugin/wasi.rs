//! The `wasi:*` imports that language runtimes bring, made inert: no files, sockets, arguments or
//! environment; closed input; output becomes log lines; clocks and randomness are functions of the
//! execution. There is nothing here to grant.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::{DynPollable, subscribe};

use super::capability::Log;
use super::host::Guest;

/// How far a clock goes on with every reading, in nanoseconds: so that loops that wait for time end.
const NANOS_PER_READING: u64 = 1_000;
/// Bytes of a seeded random stream before it repeats.
const RANDOM_BYTES: u64 = 8 * 1024;
/// At most this many random bytes in one call.
const MAX_RANDOM_REQUEST_BYTES: u64 = 64 * 1024;
/// Output that is passed on to the log, for one stream of one execution; the rest is counted and dropped.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// A longer line is cut into several.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// What a guest may write at once.
const WRITE_PERMIT_BYTES: usize = 64 * 1024;
/// Last lines of standard error that are kept for the message of a trap.
const KEPT_LINES: usize = 8;

/// What the inert imports are a function of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed {
    /// Where the clocks start.
    pub(crate) time: jiff::Timestamp,
    /// What randomness is drawn from.
    pub(crate) random: [u8; 32],
}

/// The WASI half of a store.
pub(crate) struct Inert {
    context: WasiCtx,
    pub(crate) table: ResourceTable,
    clock: VirtualClock,
    stdout: Lines,
    stderr: Lines,
}

impl Inert {
    pub(crate) fn new(seed: &Seed, log: Option<Arc<dyn Log>>) -> Self {
        let clock = VirtualClock::at(seed.time);
        let stderr = Lines::new("warn", log.clone());
        let stdout = Lines::new("info", log);
        let random = stream(&seed.random, b"random");
        let mut number = [0; 16];
        number.copy_from_slice(&stream(&seed.random, b"hash seed")[..16]);
        let context = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .secure_random(Deterministic::new(random.clone()))
            .insecure_random(Deterministic::new(random))
            .insecure_random_seed(u128::from_le_bytes(number))
            .max_random_size(MAX_RANDOM_REQUEST_BYTES)
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self { context, table: ResourceTable::new(), clock, stdout, stderr }
    }

    /// Passes unfinished lines on and gives the last lines of standard error; a Rust panic leaves its
    /// message there.
    pub(crate) fn finish(&self) -> String {
        self.stdout.finish();
        self.stderr.finish()
    }
}

/// Links every interface of WASI p2 with its inert version.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // The library virtualises readings only: sleeping would take real time.
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<_, HasSelf<_>>(linker, |guest: &mut Guest| &mut guest.inert)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// `SHA-256(seed ‖ purpose ‖ counter)`, concatenated.
fn stream(seed: &[u8; 32], purpose: &[u8]) -> Vec<u8> {
    (0..RANDOM_BYTES / 32)
        .flat_map(|counter| {
            let mut hash = Sha256::new();
            hash.update(seed);
            hash.update(purpose);
            hash.update(counter.to_le_bytes());
            hash.finalize()
        })
        .collect()
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.inert.context, table: &mut self.inert.table }
    }
}

impl monotonic_clock::Host for Inert {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(HostMonotonicClock::now(&self.clock))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(NANOS_PER_READING)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.clock.0.passed.fetch_max(when, Ordering::Relaxed);
        self.ready()
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.clock.advance(duration);
        self.ready()
    }
}

impl Inert {
    fn ready(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let ready = self.table.push(Ready)?;
        subscribe(&mut self.table, ready)
    }
}

/// A sleep: over at once, because the clock was moved instead.
struct Ready;

#[async_trait::async_trait]
impl Pollable for Ready {
    async fn ready(&mut self) {}
}

/// Goes on only when it is read or slept on.
#[derive(Clone)]
struct VirtualClock(Arc<ClockState>);

struct ClockState {
    start: Duration,
    /// Nanoseconds since `start`.
    passed: AtomicU64,
}

impl VirtualClock {
    fn at(time: jiff::Timestamp) -> Self {
        let start = Duration::try_from(time.duration_since(jiff::Timestamp::UNIX_EPOCH)).unwrap_or_default();
        Self(Arc::new(ClockState { start, passed: AtomicU64::new(0) }))
    }

    fn advance(&self, nanos: u64) -> u64 {
        let step = |passed: u64| Some(passed.saturating_add(nanos));
        let before = self.0.passed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        before.unwrap_or_default().saturating_add(nanos)
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        NANOS_PER_READING
    }

    fn now(&self) -> u64 {
        self.advance(NANOS_PER_READING)
    }
}

impl HostWallClock for VirtualClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(NANOS_PER_READING)
    }

    fn now(&self) -> Duration {
        self.0.start.saturating_add(Duration::from_nanos(self.advance(NANOS_PER_READING)))
    }
}

/// An output stream that becomes log records, one a line. It never fails and never closes: a full pipe
/// would make `println!` panic.
#[derive(Clone)]
struct Lines(Arc<Mutex<LinesState>>);

struct LinesState {
    level: &'static str,
    log: Option<Arc<dyn Log>>,
    line: Vec<u8>,
    passed_on: usize,
    dropped: bool,
    kept: std::collections::VecDeque<String>,
}

impl Lines {
    fn new(level: &'static str, log: Option<Arc<dyn Log>>) -> Self {
        Self(Arc::new(Mutex::new(LinesState {
            level,
            log,
            line: Vec::new(),
            passed_on: 0,
            dropped: false,
            kept: std::collections::VecDeque::new(),
        })))
    }

    fn push(&self, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            for part in piece.chunks(MAX_LINE_BYTES) {
                state.line.extend_from_slice(part);
                if part.ends_with(b"\n") || state.line.len() >= MAX_LINE_BYTES {
                    state.end_line();
                }
            }
        }
    }

    fn finish(&self) -> String {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.end_line();
        let lines: Vec<&str> = state.kept.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}

impl LinesState {
    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        if self.kept.len() == KEPT_LINES {
            self.kept.pop_front();
        }
        self.kept.push_back(text.to_owned());
        self.passed_on = self.passed_on.saturating_add(text.len());
        let Some(log) = &self.log else { return };
        if self.passed_on <= MAX_OUTPUT_BYTES {
            log.emit(self.level, text, &[]);
        } else if !self.dropped {
            self.dropped = true;
            log.emit("warn", "further output of the plugin is dropped", &[]);
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT_BYTES)
    }
}
