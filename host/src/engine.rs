//! Wasmtime, narrowed to what stages need: its configuration, the clock that
//! interrupts guests, compiling, and the cache of compiled components.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::error::Context as _;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

use crate::profile::GuestProfile;

/// How a guest that does not return is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metering {
    /// Work is counted, and a guest yields now and then by its own count.
    Fuel,
    /// Nothing is counted; a guest yields at each tick of a clock. Cheaper.
    Epochs,
}

/// How often a guest that is metered by epochs yields.
const EPOCH: Duration = Duration::from_millis(5);

/// What one component may bring: a component of Rust's `wasm32-wasip2` has four core
/// instances, one memory and two tables.
const CORE_INSTANCES_PER_COMPONENT: u32 = 32;
const MEMORIES_PER_COMPONENT: u32 = 4;
/// Memories beside one an instance, for components that have several: each takes four
/// gibibytes of addresses, of which there are no more than for some thirty thousand.
const SPARE_MEMORIES: u32 = 300;
const TABLES_PER_COMPONENT: u32 = 16;
const TABLE_ELEMENTS: usize = 20_000;

/// Compiles components, and holds the slots in which their instances live.
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) metering: Metering,
    /// Who wants to know what guests are doing.
    pub(crate) profile: Option<Arc<GuestProfile>>,
    cache: Option<PathBuf>,
}

impl Engine {
    /// An engine with room for `instances` instances at a time.
    ///
    /// # Errors
    /// If the machine cannot reserve the address space for them.
    pub fn new(metering: Metering, instances: u32) -> Result<Self> {
        Self::profiled(metering, instances, None)
    }

    /// The same, and guests are asked what they do.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn profiled(
        metering: Metering,
        instances: u32,
        profile: Option<Arc<GuestProfile>>,
    ) -> Result<Self> {
        let mut config = config(metering, instances);
        config.epoch_interruption(metering == Metering::Epochs || profile.is_some());
        let wasmtime = wasmtime::Engine::new(&config)
            .with_context(|| format!("cannot reserve memory for {instances} instances"))?;
        if metering == Metering::Epochs || profile.is_some() {
            let tick = if profile.is_some() { GuestProfile::INTERVAL } else { EPOCH };
            let weak = wasmtime.weak();
            // A thread, not a task: guests may keep every thread of the runtime busy.
            std::thread::Builder::new().name("epochs".to_owned()).spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(tick);
                }
            })?;
        }
        Ok(Self { wasmtime, metering, profile, cache: cache_directory() })
    }

    /// The same, with nothing kept on the disk.
    #[cfg(test)]
    pub(crate) fn without_cache(self) -> Self {
        Self { cache: None, ..self }
    }

    /// Compiles a component, or takes it from the cache.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn compile(&self, bytes: &[u8], hash: &str) -> Result<Component> {
        let Some(cached) = self.cache.as_ref().map(|dir| dir.join(self.cache_name(hash))) else {
            return Component::new(&self.wasmtime, bytes);
        };
        if cached.exists() {
            // SAFETY: the file is native code, and wasmtime trusts it. It was written by
            // this program: the directory belongs to this user alone (see
            // `cache_directory`), files appear in it complete, under the hash of the
            // component and of all of wasmtime's settings.
            match unsafe { Component::deserialize_file(&self.wasmtime, &cached) } {
                Ok(component) => return Ok(component),
                Err(error) => tracing::debug!("not using {}: {error:#}", cached.display()),
            }
        }
        let component = Component::new(&self.wasmtime, bytes)?;
        if let Err(error) = store(&cached, &component) {
            tracing::debug!("cannot cache a compiled component: {error:#}");
        }
        Ok(component)
    }

    fn cache_name(&self, hash: &str) -> String {
        let mut settings = DefaultHasher::new();
        self.wasmtime.precompile_compatibility_hash().hash(&mut settings);
        format!("{hash}-{:016x}.cwasm", settings.finish())
    }
}

/// SHA-256 in hexadecimal: what `sha256sum` prints for the same file.
pub fn content_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn config(metering: Metering, instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES_PER_COMPONENT)
        .total_memories(instances + SPARE_MEMORIES.min(instances * (MEMORIES_PER_COMPONENT - 1)))
        .total_tables(instances * TABLES_PER_COMPONENT)
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10)
        // Only what a guest has touched is cleared behind it.
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .consume_fuel(metering == Metering::Fuel)
        // Halves the cost of a call; stages have no use for it.
        .concurrency_support(false)
        // Proposals that stages have no use for are attack surface, no more.
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false);
    config
}

/// `pipehost` in the user's cache directory, readable by the user alone; none if
/// there is no such place.
fn cache_directory() -> Option<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    let dir = base.join("pipehost");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
    let metadata = fs::metadata(&dir).ok()?;
    let mine = metadata.uid() == rustix::process::getuid().as_raw();
    (mine && metadata.mode() & 0o022 == 0).then_some(dir)
}

fn store(path: &Path, component: &Component) -> Result<()> {
    let dir = path.parent().context("a cached file lies in a directory")?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&component.serialize()?)?;
    file.persist(path)?;
    Ok(())
}
