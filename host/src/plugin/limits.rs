//! What one execution may use, how it is measured, and what stops it. Limits hold for a whole
//! execution; each has a name, an own error and a setting.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PluginKind;
use super::capability::JournalError;

/// How many core instances, tables and memories one component may have; a Rust component has six, two
/// and one.
const MAX_PARTS: usize = 64;

/// What one execution may use; in JSON by the names of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wasm instructions, roughly. Deterministic; `None`: counted, not limited.
    pub fuel: Option<u64>,
    /// All linear memories together. The engine's own bound for one memory holds as well.
    pub memory_bytes: u64,
    /// Elements of all tables together.
    pub table_elements: u64,
    /// Processor time of the guest and of converting its calls; waiting for the host is free.
    #[serde(rename = "guest_time_ms", serialize_with = "milliseconds", deserialize_with = "from_milliseconds")]
    pub guest_time: Duration,
    /// From the start to the end, waiting included.
    #[serde(rename = "wall_ms", serialize_with = "milliseconds", deserialize_with = "from_milliseconds")]
    pub wall: Duration,
    /// Bytes in one call from the guest to the host, or in its result.
    pub host_call_bytes: u64,
    /// Calls from the guest to the host.
    pub host_calls: u64,
    /// What the journal keeps of all calls and answers together, in bytes, before equal parts are stored
    /// once.
    pub journal_bytes: u64,
}

impl Limits {
    /// The defaults of a kind: policies and heuristics are small and quick, spirits wait for models.
    #[must_use]
    pub const fn for_kind(kind: PluginKind) -> Self {
        const MIB: u64 = 1 << 20;
        match kind {
            PluginKind::Spirit => Self {
                fuel: Some(2_000_000_000_000),
                memory_bytes: 256 * MIB,
                table_elements: 16_384,
                guest_time: Duration::from_secs(120),
                wall: Duration::from_secs(30 * 60),
                host_call_bytes: 16 * MIB,
                host_calls: 10_000,
                journal_bytes: 1024 * MIB,
            },
            PluginKind::Scheduling | PluginKind::Routing => Self {
                fuel: Some(20_000_000_000),
                memory_bytes: 64 * MIB,
                table_elements: 16_384,
                guest_time: Duration::from_secs(5),
                wall: Duration::from_secs(30),
                host_call_bytes: MIB,
                host_calls: 1_000,
                journal_bytes: 16 * MIB,
            },
            PluginKind::Review => Self {
                fuel: Some(100_000_000_000),
                memory_bytes: 128 * MIB,
                table_elements: 16_384,
                guest_time: Duration::from_secs(20),
                wall: Duration::from_secs(5 * 60),
                host_call_bytes: 4 * MIB,
                host_calls: 5_000,
                journal_bytes: 64 * MIB,
            },
        }
    }
}

/// Which limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Limits::fuel`]
    Fuel,
    /// [`Limits::memory_bytes`]
    Memory,
    /// [`Limits::table_elements`]
    Tables,
    /// [`Limits::guest_time`]
    GuestTime,
    /// [`Limits::wall`]
    Wall,
    /// [`Limits::host_call_bytes`]
    HostCallBytes,
    /// [`Limits::host_calls`]
    HostCalls,
    /// [`Limits::journal_bytes`]
    JournalBytes,
}

impl Limit {
    /// The last part of the setting's name.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Memory => "memory_bytes",
            Self::Tables => "table_elements",
            Self::GuestTime => "guest_time_ms",
            Self::Wall => "wall_ms",
            Self::HostCallBytes => "host_call_bytes",
            Self::HostCalls => "host_calls",
            Self::JournalBytes => "journal_bytes",
        }
    }

    /// Its value in `limits`, with its unit.
    #[must_use]
    pub fn value(self, limits: &Limits) -> String {
        match self {
            Self::Fuel => format!("{} units", limits.fuel.unwrap_or(u64::MAX)),
            Self::Memory => format!("{} bytes", limits.memory_bytes),
            Self::Tables => format!("{} elements", limits.table_elements),
            Self::GuestTime => format!("{} ms", limits.guest_time.as_millis()),
            Self::Wall => format!("{} ms", limits.wall.as_millis()),
            Self::HostCallBytes => format!("{} bytes", limits.host_call_bytes),
            Self::HostCalls => format!("{} calls", limits.host_calls),
            Self::JournalBytes => format!("{} bytes", limits.journal_bytes),
        }
    }

    /// Whether the same component with the same answers exceeds it again on any machine.
    #[must_use]
    pub const fn is_deterministic(self) -> bool {
        !matches!(self, Self::GuestTime | Self::Wall)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Tables => "table",
            Self::GuestTime => "guest time",
            Self::Wall => "wall time",
            Self::HostCallBytes => "host call size",
            Self::HostCalls => "host call",
            Self::JournalBytes => "journal size",
        })
    }
}

/// What an execution used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GuestUsage {
    /// Fuel; equal for equal inputs and answers under one engine version.
    pub fuel: u64,
    /// Processor time, as [`Limits::guest_time`] counts it; recorded in microseconds.
    #[serde(rename = "guest_time_us", serialize_with = "microseconds")]
    pub guest_time: Duration,
    /// The most memory that it had at once.
    pub peak_memory_bytes: u64,
    /// Calls to the host.
    pub host_calls: u64,
}

fn from_milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn microseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Why the host ends a guest from inside a host call or a growth of memory.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Stop {
    #[error("{0} limit exceeded")]
    Limit(Limit),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Counts memory and tables, and refuses growth beyond the limits.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_allowed: u64,
    memory: u64,
    pub(crate) peak_memory: u64,
    tables_allowed: u64,
    tables: u64,
}

impl Limiter {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            memory_allowed: limits.memory_bytes,
            memory: 0,
            peak_memory: 0,
            tables_allowed: limits.table_elements,
            tables: 0,
        }
    }
}

impl wasmtime::ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|m| desired > m) {
            return Ok(false);
        }
        let total = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        if total > self.memory_allowed {
            return Err(Stop::Limit(Limit::Memory).into());
        }
        self.memory = total;
        self.peak_memory = self.peak_memory.max(total);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|m| desired > m) {
            return Ok(false);
        }
        let total = self.tables.saturating_add(desired.saturating_sub(current) as u64);
        if total > self.tables_allowed {
            return Err(Stop::Limit(Limit::Tables).into());
        }
        self.tables = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_PARTS
    }

    fn tables(&self) -> usize {
        MAX_PARTS
    }

    fn memories(&self) -> usize {
        MAX_PARTS
    }
}

/// Processor time of an execution: what its thread used while the execution was being polled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<MeterState>);

#[derive(Debug, Default)]
struct MeterState {
    /// Of finished polls, in nanoseconds.
    used: AtomicU64,
    /// The thread's processor time when the current poll began, in nanoseconds; 0 between polls.
    poll_began: AtomicU64,
}

impl Meter {
    /// Runs `future` under this meter.
    pub(crate) async fn measure<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            self.0.poll_began.store(thread_time(), Ordering::Relaxed);
            let poll = future.as_mut().poll(context);
            let used = self.now();
            self.0.poll_began.store(0, Ordering::Relaxed);
            self.0.used.store(used, Ordering::Relaxed);
            poll
        })
        .await
    }

    /// Time used so far, the current poll included when asked on its thread.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.now())
    }

    fn now(&self) -> u64 {
        let used = self.0.used.load(Ordering::Relaxed);
        match self.0.poll_began.load(Ordering::Relaxed) {
            0 => used,
            began => used.saturating_add(thread_time().saturating_sub(began)),
        }
    }
}

/// Processor time of the calling thread, in nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos).max(1)
}
