//! Wasmtime, narrowed to what stages need: its configuration, the clock that interrupts
//! guests, and the way to compiled components.

use anyhow::{Result, anyhow};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::compile::{self, Cache, Compiled, Metering, Source, settings};
use pipehost_files::content_hash;
use pipehost_observe::profile::GuestProfile;

/// How often a guest that is metered by epochs yields.
pub(crate) const EPOCH: Duration = Duration::from_millis(5);

/// Upper bounds for one component: a component of Rust's `wasm32-wasip2` has four core instances,
/// one memory and two tables.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
const MEMORIES_PER_COMPONENT: u32 = 4;
/// Memories beyond one per instance, for components that have several. Each reserves four gibibytes
/// of addresses, and the address space has room for about thirty thousand.
const SPARE_MEMORIES: u32 = 300;
const TABLES_PER_COMPONENT: u32 = 16;
const TABLE_ELEMENTS: usize = 20_000;

/// Compiles components, and holds the slots in which their instances live.
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub metering: Metering,
    /// Samples what guests are doing, if a profile is wanted.
    pub(crate) profile: Option<Arc<GuestProfile>>,
    cache: Option<Cache>,
}

impl Engine {
    /// An engine with room for `instances` instances at a time.
    ///
    /// # Errors
    /// If the machine cannot reserve the address space for them.
    pub fn new(metering: Metering, instances: u32) -> Result<Self> {
        Self::profiled(metering, instances, None)
    }

    /// As [`Engine::new`], and samples the functions that guests are in.
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
        let wasmtime = wasmtime::Engine::new(&config).map_err(|error| {
            anyhow!("cannot reserve memory for {instances} instances: {error:#}")
        })?;
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
        Ok(Self { wasmtime, metering, profile, cache: Cache::of_user() })
    }

    /// The same engine without the cache on disk.
    #[cfg(test)]
    pub(crate) fn without_cache(self) -> Self {
        Self { cache: None, ..self }
    }

    /// The cache of compiled components on disk.
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Compiles a component, or takes it from the cache.
    ///
    /// # Errors
    /// If the component is invalid or exceeds a limit; the message says which.
    pub fn compile(&self, source: &Source, limits: &compile::Limits) -> Result<Loaded> {
        let name = self.cache_name(&content_hash(&source.bytes), source.is_text);
        if let Some(kept) = self.cache.as_ref().and_then(|cache| cache.get(&name)) {
            // SAFETY: this is native code, and wasmtime trusts it. This program has compiled it;
            // the name contains the hash of what was compiled and of all of wasmtime's settings;
            // the directory belongs to this user alone, and the checksum shows that the file is
            // complete.
            match unsafe { Component::deserialize_file(&self.wasmtime, &kept.code) } {
                Ok(component) => {
                    let (hash, size) = (kept.hash, kept.size);
                    return Ok(Loaded { component, hash, size, new: None });
                }
                Err(error) => tracing::debug!("not using {name}: {error:#}"),
            }
        }
        let compiled = source.clone().compile(self.metering, self.has_epochs(), limits)?;
        // SAFETY: as above; it was compiled just now.
        let component = unsafe { Component::deserialize(&self.wasmtime, &compiled.code) }
            .map_err(|error| anyhow!("it does not fit the limits of a stage: {error:#}"))?;
        let (hash, size) = (compiled.hash.clone(), compiled.size);
        Ok(Loaded { component, hash, size, new: Some((name, compiled)) })
    }

    /// Stores newly compiled code in the cache. Call it once the component is known to be a stage.
    pub fn keep(&self, new: Option<(String, Compiled)>) {
        if let (Some(cache), Some((name, compiled))) = (&self.cache, new) {
            cache.put(&name, &compiled);
        }
    }

    fn has_epochs(&self) -> bool {
        self.metering == Metering::Epochs || self.profile.is_some()
    }

    fn cache_name(&self, hash: &str, is_text: bool) -> String {
        let mut settings = DefaultHasher::new();
        self.wasmtime.precompile_compatibility_hash().hash(&mut settings);
        // A core module is wrapped with the contract of this version, and this adapter.
        (is_text, crate::contract::bindings::VERSION, compile::ADAPTER).hash(&mut settings);
        format!("{hash}-{:016x}", settings.finish())
    }
}

/// A compiled component.
pub struct Loaded {
    pub component: Component,
    /// SHA-256, in hexadecimal.
    pub hash: String,
    /// In bytes.
    pub size: u64,
    /// Code to be cached with [`Engine::keep`]; `None` if it came from the cache.
    pub new: Option<(String, Compiled)>,
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
        // Clears only the pages that the guest has touched.
        .pagemap_scan(Enabled::Auto);
    let mut config = settings(metering);
    // Interpreters nest deeply: QuickJS takes about 700 bytes for each call of a JavaScript function.
    config.max_wasm_stack(1 << 20);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
