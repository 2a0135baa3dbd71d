//! The folders that are granted to a guest. What it adds counts against the quota. Only files and
//! folders are opened: a read of a pipe or a device could block for ever.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, DirectoryEntryStream, ErrorCode, Host as _,
    HostDescriptor, HostDirectoryEntryStream, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsResult, OutputStream, Pollable, StreamResult};
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::streams::StreamError;

use super::quota::Quota;
use super::store::Host;
use super::store::VERSION;

type Fd = Resource<Descriptor>;
type Listing = Resource<DirectoryEntryStream>;
type Store<'a> = StoreContextMut<'a, Host>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// Converts a result for the guest. Errors that must trap become a trap.
fn answer<T>(store: &mut Store<'_>, result: FsResult<T>) -> Answer<T> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(store.data_mut().filesystem().convert_error_code(error)?),
    },))
}

const FULL: ErrorCode = ErrorCode::InsufficientSpace;

/// Reserves room for one file or folder.
async fn new_file(store: &mut Store<'_>) -> Result<(), ErrorCode> {
    let quota = store.data().quota.clone();
    if quota.files(1).await { Ok(()) } else { Err(FULL) }
}

pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut preopens = linker.instance(&format!("wasi:filesystem/preopens@{VERSION}"))?;
    preopens.func_wrap("get-directories", |mut store: Store<'_>, (): ()| {
        store.data_mut().asked_for_folders = true;
        Ok((store.data_mut().filesystem().get_directories()?,))
    })?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{VERSION}"))?;
    types.func_wrap_async(
        "[method]descriptor.read",
        |mut store: Store<'_>, (fd, len, offset): (Fd, u64, u64)| {
            Box::new(async move {
                let result = store.data_mut().filesystem().read(fd, len, offset).await;
                if let Ok((bytes, _)) = &result {
                    store.data_mut().turn.charge(bytes.len());
                }
                answer(&mut store, result)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.write",
        |mut store: Store<'_>, (fd, bytes, offset): (Fd, Vec<u8>, u64)| {
            Box::new(async move {
                store.data_mut().turn.charge(bytes.len());
                // A write beyond the end extends the file up to its last byte.
                let end = offset.saturating_add(bytes.len() as u64);
                if !room_up_to(&mut store, &fd, end).await? {
                    return Ok((Err(FULL),));
                }
                let result = store.data_mut().filesystem().write(fd, bytes, offset).await;
                answer(&mut store, result)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-size",
        |mut store: Store<'_>, (fd, size): (Fd, u64)| {
            Box::new(async move {
                if !room_up_to(&mut store, &fd, size).await? {
                    return Ok((Err(FULL),));
                }
                let result = store.data_mut().filesystem().set_size(fd, size).await;
                answer(&mut store, result)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (fd, offset): (Fd, u64)| {
            Box::new(async move {
                // Reserves the gap before `offset` now; the stream reserves its bytes as they are
                // written.
                if !room_up_to(&mut store, &fd, offset).await? {
                    return Ok((Err(FULL),));
                }
                let stream = store.data_mut().filesystem().write_via_stream(fd, offset);
                let stream = stream.and_then(|stream| limited(&mut store, stream));
                answer(&mut store, stream)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.append-via-stream",
        |mut store: Store<'_>, (fd,): (Fd,)| {
            Box::new(async move {
                let stream = store.data_mut().filesystem().append_via_stream(fd);
                let stream = stream.and_then(|stream| limited(&mut store, stream));
                store.data().quota.clone().renew(MOST_AT_ONCE).await;
                answer(&mut store, stream)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |store: Store<'_>,
         (fd, how, path, open, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags)| {
            Box::new(open_at(store, fd, how, path, open, flags))
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.read-directory",
        |store: Store<'_>, (fd,): (Fd,)| Box::new(read_directory(store, fd)),
    )?;
    let stream = ResourceType::host::<DirectoryEntryStream>();
    types.resource("directory-entry-stream", stream, |mut store: Store<'_>, rep| {
        let host = store.data_mut();
        if let Some(bytes) = host.listings.remove(&rep) {
            host.memory.give(bytes);
        }
        HostDirectoryEntryStream::drop(&mut host.filesystem(), Resource::new_own(rep))
    })?;
    types.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            Box::new(async move {
                if let Err(full) = new_file(&mut store).await {
                    return Ok((Err(full),));
                }
                let result = store.data_mut().filesystem().create_directory_at(fd, path).await;
                answer(&mut store, result)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.symlink-at",
        |mut store: Store<'_>, (fd, to, path): (Fd, String, String)| {
            Box::new(async move {
                if let Err(full) = new_file(&mut store).await {
                    return Ok((Err(full),));
                }
                let result = store.data_mut().filesystem().symlink_at(fd, to, path).await;
                answer(&mut store, result)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.link-at",
        |mut store: Store<'_>, (fd, how, old, to, new): (Fd, PathFlags, String, Fd, String)| {
            Box::new(async move {
                if let Err(full) = new_file(&mut store).await {
                    return Ok((Err(full),));
                }
                let result = store.data_mut().filesystem().link_at(fd, how, old, to, new).await;
                answer(&mut store, result)
            })
        },
    )?;
    Ok(())
}

/// Memory of an entry of a listing besides its name, in bytes.
const ENTRY: usize = 64;
/// Entries after which other guests get a turn.
const ENTRIES_A_TURN: usize = 1000;

/// Lists a folder. The host holds the whole listing until its handle is dropped, so it counts as
/// memory of the guest. Its size is known only by reading it, so it is read once for that.
async fn read_directory(mut store: Store<'_>, fd: Fd) -> Answer<Listing> {
    let borrowed = Resource::new_borrow(fd.rep());
    let listed = store.data_mut().filesystem().read_directory(borrowed).await;
    let listing = match answer(&mut store, listed)?.0 {
        Ok(listing) => listing,
        Err(code) => return Ok((Err(code),)),
    };
    let (mut bytes, mut entries) = (0, 0);
    loop {
        let borrowed = Resource::new_borrow(listing.rep());
        let entry = store.data_mut().filesystem().read_directory_entry(borrowed).await;
        match answer(&mut store, entry)?.0 {
            Ok(Some(entry)) => bytes += ENTRY + entry.name.len(),
            Ok(None) => break,
            Err(_) => bytes += ENTRY,
        }
        entries += 1;
        if entries % ENTRIES_A_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    HostDirectoryEntryStream::drop(&mut store.data_mut().filesystem(), listing)?;
    let host = store.data_mut();
    host.turn.charge(bytes);
    host.memory.take(bytes)?;
    let listed = host.filesystem().read_directory(fd).await;
    let answered = answer(&mut store, listed)?;
    let host = store.data_mut();
    match &answered.0 {
        Ok(listing) => drop(host.listings.insert(listing.rep(), bytes)),
        Err(_) => host.memory.give(bytes),
    }
    Ok(answered)
}

/// Opens a file or a folder. Nothing else: a pipe or a device could block a thread for ever.
async fn open_at(
    mut store: Store<'_>,
    fd: Fd,
    how: PathFlags,
    path: String,
    open: OpenFlags,
    flags: DescriptorFlags,
) -> Answer<Fd> {
    let borrowed = |fd: &Fd| Resource::new_borrow(fd.rep());
    let there = store.data_mut().filesystem().stat_at(borrowed(&fd), how, path.clone()).await;
    match answer(&mut store, there)?.0 {
        Ok(stat) => match stat.type_ {
            DescriptorType::RegularFile
            | DescriptorType::Directory
            | DescriptorType::SymbolicLink => {}
            _ => return Ok((Err(ErrorCode::NotPermitted),)),
        },
        Err(ErrorCode::NoEntry) if open.contains(OpenFlags::CREATE) => {
            if let Err(full) = new_file(&mut store).await {
                return Ok((Err(full),));
            }
        }
        Err(code) => return Ok((Err(code),)),
    }
    let result = store.data_mut().filesystem().open_at(fd, how, path, open, flags).await;
    answer(&mut store, result)
}

/// Reserves room to extend a file up to `end`.
async fn room_up_to(store: &mut Store<'_>, fd: &Fd, end: u64) -> wasmtime::Result<bool> {
    let borrowed = Resource::new_borrow(fd.rep());
    let stat = store.data_mut().filesystem().stat(borrowed).await;
    let length = match answer(store, stat)?.0 {
        Ok(stat) => stat.size,
        Err(_) => 0, // The write itself reports this.
    };
    let quota = store.data().quota.clone();
    Ok(quota.bytes(end.saturating_sub(length)).await)
}

/// A stream into a file, under the quota. Every write is charged, whether it extends the file or
/// not: the file may have been truncated since the stream was opened.
fn limited(
    store: &mut Store<'_>,
    stream: Resource<DynOutputStream>,
) -> FsResult<Resource<DynOutputStream>> {
    let host = store.data_mut();
    let inner = host.table.delete(stream)?;
    let limited: DynOutputStream = Box::new(Limited { inner, quota: host.quota.clone() });
    Ok(host.table.push(limited)?)
}

/// Maximum bytes of one write to a stream: wasmtime's own limit.
const MOST_AT_ONCE: u64 = 64 << 10;

struct Limited {
    inner: DynOutputStream,
    quota: Arc<Quota>,
}

#[async_trait]
impl Pollable for Limited {
    async fn ready(&mut self) {
        self.quota.renew(MOST_AT_ONCE).await;
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Limited {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !self.quota.take(bytes.len() as u64) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(StreamError::LastOperationFailed(full.into()));
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
