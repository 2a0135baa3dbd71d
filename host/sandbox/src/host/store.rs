//! What the host keeps for each instance: WASI, its memory, the log.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use wasmtime::component::ResourceTable;
use wasmtime::error::Context as _;
use wasmtime::{CallHook, ResourceLimiterAsync};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView, async_trait};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::fixed;
use super::guest_log::GuestLog;
use super::http::{self, Server};
use super::quota::Quota;
use super::turn::{HEAVY, Turn, Turns};
use crate::compile::Metering;
use pipehost_config::grants::{Clock, Grants, Random};
use pipehost_config::limits::Limits;
use pipehost_observe::own::OfCall;

/// The version of WASI that wasmtime defines. Functions of another version would be added, and
/// would not replace wasmtime's.
pub(crate) const VERSION: &str = "0.2.12";
/// Handles that a guest may hold at a time: open files, pollables, streams.
const HANDLES: usize = 1000;

/// Maximum random bytes of one call.
const RANDOM_BYTES: u64 = 4096;

/// The data of a store.
pub(crate) struct Host {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) turn: Turn,
    /// Of the folders that the stage may write.
    pub(crate) quota: Arc<Quota>,
    /// Bytes of the folder listings that the guest holds, by their handles.
    pub(crate) listings: HashMap<u32, usize>,
    /// Whether the guest has asked for its folders, as before it opens a file.
    pub(crate) asked_for_folders: bool,
    pub(crate) memory: Memory,
    pub(crate) log: GuestLog,
    pub(crate) stopwatch: Stopwatch,
    /// Metrics that the current call has told.
    pub(crate) told: OfCall,
    /// Where connections go in a test.
    pub(crate) stand_ins: HashMap<SocketAddr, SocketAddr>,
    http: WasiHttpCtx,
    http_hooks: http::Hooks,
}

/// Measures the time in the guest, without the time to enter and leave it, for sampled calls.
#[derive(Default)]
pub(crate) struct Stopwatch {
    pub(crate) runs: bool,
    since: Option<Instant>,
    pub(crate) in_guest: Duration,
}

impl Stopwatch {
    /// Called when control switches between host and guest.
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
        servers: Arc<[Server]>,
        log: GuestLog,
    ) -> wasmtime::Result<Self> {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(log.stdout()).stderr(log.stderr()).envs(&grants.env);
        for folder in &grants.folders {
            let perms = if folder.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            wasi.preopened_dir(&folder.host.value, &folder.guest, perms).with_context(|| {
                format!("cannot grant the folder {}", folder.host.value.display())
            })?;
        }
        // Making random bytes is work of the host, which neither fuel nor a yield can interrupt.
        wasi.max_random_size(RANDOM_BYTES);
        let stand_ins = grants.stand_ins.iter().map(|(_, place)| *place);
        let allowed: Vec<SocketAddr> = grants.network.iter().copied().chain(stand_ins).collect();
        wasi.allow_tcp(!allowed.is_empty());
        // Only of addresses that are written as names: see `names`.
        wasi.allow_ip_name_lookup(true);
        wasi.allow_udp(false).socket_addr_check(move |address, usage| {
            let granted = match usage {
                SocketAddrUse::TcpConnect => allowed.contains(&address),
                // wasmtime checks this before it connects: any port of any local address.
                SocketAddrUse::TcpBind => address.port() == 0 && address.ip().is_unspecified(),
                _ => false,
            };
            Box::pin(async move { granted })
        });
        if let Clock::Fixed(nanoseconds) = grants.clock {
            wasi.wall_clock(fixed::WallClock(nanoseconds));
            wasi.monotonic_clock(fixed::MonotonicClock::default());
        }
        if grants.random == Random::Fixed {
            wasi.secure_random(fixed::random()).insecure_random(fixed::random());
            wasi.insecure_random_seed(0);
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let turn = Turn::new(metering, limits.output_bytes);
        let memory = Memory { used: 0, limit: limits.memory_bytes, turns: turn.turns() };
        Ok(Self {
            wasi: wasi.build(),
            table,
            turn,
            quota,
            listings: HashMap::new(),
            asked_for_folders: false,
            memory,
            log,
            stopwatch: Stopwatch::default(),
            told: OfCall::default(),
            stand_ins: grants.stand_ins.iter().copied().collect(),
            http: http::context(),
            http_hooks: http::Hooks::new(
                servers,
                grants.http_answers.clone().map(Into::into),
                limits.http.clone(),
            ),
        })
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.http_hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// The memory of an instance: all memories and tables of its store, and what the host holds for it.
pub(crate) struct Memory {
    pub(crate) used: usize,
    limit: usize,
    turns: Turns,
}

/// The error that stops a guest that exceeds its memory limit.
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
    /// Charges memory of the host, such as a folder listing.
    pub(crate) fn take(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.grow(0, bytes).map(drop)
    }

    /// Releases charged memory.
    pub(crate) fn give(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// An error instead of a refusal: a guest cannot go on without memory, and the type of the
    /// error tells the cause.
    fn grow(&mut self, current: usize, desired: usize) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.limit {
            return Err(MemoryExceeded { wanted, limit: self.limit }.into());
        }
        self.used = wanted;
        Ok(true)
    }

    /// As [`Memory::grow`]. Where the instance becomes a heavy one, its turn ends: what it does to
    /// all of its new memory is in the next one, which keeps no other task waiting.
    async fn grow_in_turns(&mut self, current: usize, desired: usize) -> wasmtime::Result<bool> {
        let before = self.used;
        let grown = self.grow(current, desired)?;
        if before <= HEAVY && self.used > HEAVY {
            self.turns.has_memory(self.used);
            tokio::task::yield_now().await;
        }
        Ok(grown)
    }
}

#[async_trait]
impl ResourceLimiterAsync for Memory {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow_in_turns(current, desired).await
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow_in_turns(
            current.saturating_mul(size_of::<usize>()),
            desired.saturating_mul(size_of::<usize>()),
        )
        .await
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }
}
