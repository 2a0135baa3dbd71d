//! What the host keeps beside each instance: WASI, the memory account, the log.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use wasmtime::component::ResourceTable;
use wasmtime::error::Context as _;
use wasmtime::{CallHook, ResourceLimiter};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use super::guest_log::GuestLog;
use super::quota::Quota;
use super::turn::Turn;
use crate::compile::Metering;
use pipehost_config::grants::Grants;
use pipehost_config::limits::Limits;

/// The version of WASI that wasmtime defines: definitions of another would stand beside its
/// own, not in their place.
pub(crate) const VERSION: &str = "0.2.12";
/// Handles that a guest may hold at a time: open files, pollables, streams.
const HANDLES: usize = 1000;

/// What one call for random bytes may ask for.
const RANDOM_BYTES: u64 = 4096;

/// The data of a store.
pub(crate) struct Host {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) turn: Turn,
    /// Of the folders that may be written.
    pub(crate) quota: Arc<Quota>,
    /// Bytes of the listings of folders that the guest holds, by their handles.
    pub(crate) listings: HashMap<u32, usize>,
    pub(crate) memory: Memory,
    pub(crate) log: GuestLog,
    pub(crate) stopwatch: Stopwatch,
}

/// Tells the time in the guest from that for the way in and out, on the calls that it is
/// asked to.
#[derive(Default)]
pub(crate) struct Stopwatch {
    pub(crate) runs: bool,
    since: Option<Instant>,
    pub(crate) in_guest: Duration,
}

impl Stopwatch {
    /// Control goes over between host and guest.
    pub(crate) fn cross(&mut self, crossing: CallHook) {
        if !self.runs {
            return;
        }
        match (crossing.entering_host(), self.since.take()) {
            (false, _) => self.since = Some(Instant::now()),
            (true, Some(since)) => self.in_guest += since.elapsed(),
            (true, None) => {}
        }
    }
}

impl Host {
    pub(crate) fn new(
        grants: &Grants,
        limits: &Limits,
        metering: Metering,
        quota: Arc<Quota>,
        log: GuestLog,
    ) -> wasmtime::Result<Self> {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(log.clone()).stderr(log.clone()).envs(&grants.env);
        for folder in &grants.folders {
            let perms = if folder.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            wasi.preopened_dir(&folder.host.value, &folder.guest, perms).with_context(|| {
                format!("cannot grant the folder {}", folder.host.value.display())
            })?;
        }
        // Making random bytes is work of the host, which neither fuel nor a yield interrupts.
        wasi.max_random_size(RANDOM_BYTES);
        let allowed = grants.network.clone();
        wasi.allow_tcp(!grants.network.is_empty());
        wasi.allow_udp(false).socket_addr_check(move |address, usage| {
            let granted = match usage {
                SocketAddrUse::TcpConnect => allowed.contains(&address),
                // What wasmtime asks before it connects: any port of any address of this side.
                SocketAddrUse::TcpBind => address.port() == 0 && address.ip().is_unspecified(),
                _ => false,
            };
            Box::pin(async move { granted })
        });
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Ok(Self {
            wasi: wasi.build(),
            table,
            turn: Turn::new(metering, limits.output_bytes),
            quota,
            listings: HashMap::new(),
            memory: Memory { used: 0, limit: limits.memory_bytes },
            log,
            stopwatch: Stopwatch::default(),
        })
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Adds up all memories and tables of a store, and what the host holds for it.
pub(crate) struct Memory {
    pub(crate) used: usize,
    limit: usize,
}

/// The error that a guest is stopped with when it wants more memory than it may have.
#[derive(Debug)]
pub(crate) struct MemoryExceeded {
    wanted: usize,
    limit: usize,
}

impl fmt::Display for MemoryExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, limit) = (ByteSize::b(self.wanted as u64), ByteSize::b(self.limit as u64));
        write!(f, "it wanted {wanted} of memory and may have {limit} (limits.memory)")
    }
}

impl std::error::Error for MemoryExceeded {}

impl Memory {
    /// Takes memory of the host, such as that of a listing.
    pub(crate) fn take(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.grow(0, bytes).map(drop)
    }

    /// Gives back what was taken.
    pub(crate) fn give(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// An error rather than a refusal: a guest cannot do without memory, and the
    /// error's type tells what happened.
    fn grow(&mut self, current: usize, desired: usize) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.limit {
            return Err(MemoryExceeded { wanted, limit: self.limit }.into());
        }
        self.used = wanted;
        Ok(true)
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow(current, desired)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow(
            current.saturating_mul(size_of::<usize>()),
            desired.saturating_mul(size_of::<usize>()),
        )
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }
}
