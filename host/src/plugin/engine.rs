//! The one wasmtime engine of a process: settings that make executions deterministic, the pool that
//! makes instances cheap, the thread that interrupts, and the bound on concurrent instances.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails, WasmFeatures};

use super::bindings::imports::necro::plugin as wit;
use super::error::EngineError;
use super::host::Guest;
use super::precompiled::{Cache, MAX_CACHE_BYTES};
use super::wasi;

/// How often running guests are interrupted to check their processor time and to let other work run.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// Stack of a guest's wasm code.
const WASM_STACK_BYTES: usize = 1 << 20;
/// Stack of the fiber that carries a guest and the host code it calls.
const FIBER_STACK_BYTES: usize = 2 << 20;
/// Core instances of one component; a Rust component has about five.
const CORE_INSTANCES: u32 = 8;
/// Elements of one table in the pool; components of interpreted languages need nearly 8,000.
const POOL_TABLE_ELEMENTS: usize = 10_000;
/// Kernel mappings that one instance takes at most, with room to spare.
const MAPS_PER_INSTANCE: usize = 8;
/// The kernel's default number of mappings, for where it cannot be read.
const DEFAULT_MAX_MAPS: usize = 65_530;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where compiled components are kept; `None`: they are compiled each time.
    pub cache_dir: Option<PathBuf>,
    /// The most that compiled components may take there together.
    pub max_cache_bytes: u64,
    /// Who is told when a large component is compiled, which takes seconds.
    pub compiling: Compiling,
    /// Instances at the same time; more executions wait. Capped well below the kernel's number of memory
    /// mappings, which ends the whole process when it runs out.
    pub max_instances: usize,
    /// The most that one linear memory may grow to, whatever the limits of an execution say.
    pub max_memory_bytes: usize,
}

/// Hears that a component is compiled: its name, and its size in bytes. Called from a thread that may block.
#[derive(Clone, Default)]
pub struct Compiling(Option<Arc<Hearing>>);

/// What is called with a component's name and size.
type Hearing = dyn Fn(&str, usize) + Send + Sync;

impl Compiling {
    /// Components of this size take a second or more.
    const LARGE_BYTES: usize = 2 << 20;

    /// Tells `hear`.
    #[must_use]
    pub fn telling(hear: impl Fn(&str, usize) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    pub(super) fn begins(&self, plugin: &str, size_bytes: usize) {
        tracing::debug!(plugin, size_bytes, "compiling");
        if let Some(hear) = self.0.as_ref().filter(|_| size_bytes >= Self::LARGE_BYTES) {
            hear(plugin, size_bytes);
        }
    }
}

impl std::fmt::Debug for Compiling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Compiling").field(&self.0.is_some()).finish()
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            max_cache_bytes: MAX_CACHE_BYTES,
            compiling: Compiling::default(),
            max_instances: 1_000,
            max_memory_bytes: 256 << 20,
        }
    }
}

/// Compiles and runs components. Cheap to clone; the last clone (plugins hold one) stops its thread.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<Inner>);

pub(super) struct Inner {
    // Declared before the engine, so that the thread has ended before the engine goes.
    _ticker: Ticker,
    pub(super) wasmtime: wasmtime::Engine,
    pub(super) linker: Linker<Guest>,
    pub(super) cache: Option<Cache>,
    pub(super) compiling: Compiling,
    pub(super) instances: Arc<Semaphore>,
    pub(super) max_memory_bytes: usize,
    pooled: bool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("pooled", &self.0.pooled).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the engine and its ticking thread.
    ///
    /// # Errors
    /// [`EngineError`] when neither the pool nor allocation on demand works on this machine.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let EngineOptions { cache_dir, max_cache_bytes, compiling, max_instances, max_memory_bytes } = options;
        let max_instances = max_instances.clamp(1, max_maps() / MAPS_PER_INSTANCE);
        let (wasmtime, pooled) = match wasmtime::Engine::new(&pooling(max_instances, max_memory_bytes)) {
            Ok(engine) => (engine, true),
            // Address space may be limited: then without reservations, and a little slower.
            Err(pool) => match wasmtime::Engine::new(&on_demand()) {
                Ok(engine) => (engine, false),
                Err(error) => {
                    return Err(EngineError::Start { reason: format!("{error:#}; with a pool: {pool:#}") });
                }
            },
        };
        let linker = linker(&wasmtime).map_err(|e| EngineError::Start { reason: format!("{e:#}") })?;
        let cache = cache_dir.and_then(|directory| Cache::open(&directory, &wasmtime, max_cache_bytes));
        Ok(Self(Arc::new(Inner {
            _ticker: Ticker::start(&wasmtime)?,
            wasmtime,
            linker,
            cache,
            compiling,
            instances: Arc::new(Semaphore::new(max_instances)),
            max_memory_bytes,
            pooled,
        })))
    }

    /// What compiles and runs components, for the record: fuel compares only under the same one.
    #[must_use]
    pub const fn version() -> &'static str {
        concat!("wasmtime ", env!("NECRO_WASMTIME_VERSION"))
    }

    /// Whether instances come from a pool; false where address space is limited.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.0.pooled
    }

    /// How many more instances may start before others end.
    #[must_use]
    pub fn free_instances(&self) -> usize {
        self.0.instances.available_permits()
    }
}

/// Settings that decide about determinism and interruption, the same for both ways of allocation. What
/// differs from machine to machine is off: bits of NaN, the free choices of relaxed SIMD, and memory that
/// threads share.
fn base() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_features(WasmFeatures::THREADS | WasmFeatures::SHARED_EVERYTHING_THREADS, false)
        .wasm_component_model(true)
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

fn pooling(max_instances: usize, max_memory_bytes: usize) -> Config {
    let count = u32::try_from(max_instances).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count)
        .total_core_instances(count.saturating_mul(CORE_INSTANCES))
        .total_memories(count)
        .total_tables(count.saturating_mul(4))
        .total_stacks(count)
        .max_memories_per_component(2)
        .max_tables_per_component(4)
        .max_memory_size(max_memory_bytes)
        .table_elements(POOL_TABLE_ELEMENTS);
    let mut config = base();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn on_demand() -> Config {
    let mut config = base();
    config.memory_reservation(0).memory_reservation_for_growth(1 << 20);
    config
}

/// One linker for all worlds: what a world may not import is refused by name before linking.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    use wasmtime::component::HasSelf;
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker)?;
    wit::types::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::llm::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::workspace::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::workspace_edit::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::command::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::registry::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::mailbox::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::lock::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::artifact::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    wit::log::add_to_linker::<_, HasSelf<_>>(&mut linker, |g| g)?;
    Ok(linker)
}

fn max_maps() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_MAX_MAPS)
}

/// The thread that counts epochs. It ends, and is waited for, when this is dropped.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let engine = engine.weak();
        let thread = std::thread::Builder::new()
            .name("plugin-epochs".to_owned())
            .spawn(move || {
                while matches!(stopped.recv_timeout(TICK), Err(mpsc::RecvTimeoutError::Timeout)) {
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            })
            .map_err(|e| EngineError::Ticker(Arc::new(e)))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked; if it had, there would be nothing left to stop.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
