//! The `wasi:*` imports that language runtimes bring, made inert: no files, sockets, arguments or
//! environment; closed input; output becomes log lines; clocks and randomness are functions of the
//! execution. There is nothing here to grant.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::{DynPollable, subscribe};

use super::capability::Log;
use super::host::Guest;

/// How far a clock goes on with every reading, in nanoseconds: so that loops that wait for time end.
const NANOS_PER_READING: u64 = 1_000;
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
    random: Random,
    stdout: Lines,
    stderr: Lines,
}

impl Inert {
    pub(crate) fn new(seed: &Seed, log: Option<Arc<dyn Log>>) -> Self {
        let stderr = Lines::new("warn", log.clone());
        let stdout = Lines::new("info", log);
        let context = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self {
            context,
            table: ResourceTable::new(),
            clock: VirtualClock::at(seed.time),
            random: Random::new(seed.random),
            stdout,
            stderr,
        }
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
    // The library's own virtual clock still sleeps in real time, and its randomness is made anew for every
    // store, whether it is used or not.
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<_, HasSelf<Inert>>(linker, |guest| &mut guest.inert)?;
    wall_clock::add_to_linker::<_, HasSelf<Inert>>(linker, |guest| &mut guest.inert)?;
    random::add_to_linker::<_, HasSelf<Inert>>(linker, |guest| &mut guest.inert)?;
    insecure::add_to_linker::<_, HasSelf<Inert>>(linker, |guest| &mut guest.inert)?;
    insecure_seed::add_to_linker::<_, HasSelf<Inert>>(linker, |guest| &mut guest.inert)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.inert.context, table: &mut self.inert.table }
    }
}

impl monotonic_clock::Host for Inert {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.read())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(NANOS_PER_READING)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.clock.passed = self.clock.passed.max(when);
        self.ready()
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.clock.passed = self.clock.passed.saturating_add(duration);
        self.ready()
    }
}

impl wall_clock::Host for Inert {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = self.clock.start.saturating_add(Duration::from_nanos(self.clock.read()));
        Ok(wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000 })
    }
}

impl random::Host for Inert {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random.bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.number())
    }
}

impl insecure::Host for Inert {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random.bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.number())
    }
}

impl insecure_seed::Host for Inert {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.random.number(), self.random.number()))
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
struct VirtualClock {
    /// Since the Unix epoch.
    start: Duration,
    /// Nanoseconds since `start`.
    passed: u64,
}

impl VirtualClock {
    fn at(time: jiff::Timestamp) -> Self {
        let start = Duration::try_from(time.duration_since(jiff::Timestamp::UNIX_EPOCH)).unwrap_or_default();
        Self { start, passed: 0 }
    }

    fn read(&mut self) -> u64 {
        self.passed = self.passed.saturating_add(NANOS_PER_READING);
        self.passed
    }
}

/// The blocks `SHA-256(seed ‖ counter)`, one after the other.
struct Random {
    seed: [u8; 32],
    counter: u64,
    block: [u8; 32],
    /// Bytes of `block` that were given out.
    used: usize,
}

impl Random {
    const fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0, block: [0; 32], used: 32 }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == self.block.len() {
                self.block =
                    Sha256::new_with_prefix(self.seed).chain_update(self.counter.to_le_bytes()).finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        if count > MAX_RANDOM_REQUEST_BYTES {
            return Err(wasmtime::format_err!(
                "{count} random bytes are asked for at once, {MAX_RANDOM_REQUEST_BYTES} are allowed"
            ));
        }
        let mut bytes = vec![0; usize::try_from(count)?];
        self.fill(&mut bytes);
        Ok(bytes)
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
