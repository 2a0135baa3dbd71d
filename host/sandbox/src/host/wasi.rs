//! WASI 0.2 for guests: wasmtime's implementation, with charges for streams and folders.
//!
//! wasmtime's functions cost no fuel. Those that move bytes are redefined here: each charges its
//! bytes to the turn and then calls wasmtime's. Those that create or extend files check the quota.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi_io::bindings::wasi::io::streams::{
    Host as _, HostInputStream, HostOutputStream, StreamError,
};
use wasmtime_wasi_io::streams::StreamResult;

use super::store::{Host, VERSION};
use super::{files, http, metrics, names, stand_ins};

/// Defines every WASI function that a guest may import.
///
/// # Errors
/// If wasmtime lacks a function that is redefined here.
pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    streams(linker)?;
    files::add_to_linker(linker)?;
    names::add_to_linker(linker)?;
    stand_ins::add_to_linker(linker)?;
    http::add_to_linker(linker)?;
    metrics::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Converts a result for the guest. Errors that must trap become a trap.
fn answer<T>(
    mut store: StoreContextMut<'_, Host>,
    result: StreamResult<T>,
) -> wasmtime::Result<(Result<T, StreamError>,)> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(store.data_mut().table.convert_stream_error(error)?),
    },))
}

/// As [`answer`], for a read: charges the bytes that were read.
fn read(
    mut store: StoreContextMut<'_, Host>,
    result: StreamResult<Vec<u8>>,
) -> wasmtime::Result<(Result<Vec<u8>, StreamError>,)> {
    if let Ok(bytes) = &result {
        store.data_mut().turn.charge(bytes.len());
    }
    answer(store, result)
}

type Out = Resource<DynOutputStream>;
type In = Resource<DynInputStream>;

fn streams(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut io = linker.instance(&format!("wasi:io/streams@{VERSION}"))?;
    io.func_wrap(
        "[method]output-stream.write",
        |mut store: StoreContextMut<'_, Host>, (stream, bytes): (Out, Vec<u8>)| {
            store.data_mut().turn.charge(bytes.len());
            let result = HostOutputStream::write(&mut store.data_mut().table, stream, bytes);
            answer(store, result)
        },
    )?;
    io.func_wrap_async(
        "[method]output-stream.blocking-write-and-flush",
        |mut store: StoreContextMut<'_, Host>, (stream, bytes): (Out, Vec<u8>)| {
            Box::new(async move {
                store.data_mut().turn.charge(bytes.len());
                let table = &mut store.data_mut().table;
                let result = table.blocking_write_and_flush(stream, bytes).await;
                answer(store, result)
            })
        },
    )?;
    io.func_wrap(
        "[method]output-stream.write-zeroes",
        |mut store: StoreContextMut<'_, Host>, (stream, len): (Out, u64)| {
            store.data_mut().turn.charge(len as usize);
            let result = HostOutputStream::write_zeroes(&mut store.data_mut().table, stream, len);
            answer(store, result)
        },
    )?;
    io.func_wrap(
        "[method]input-stream.read",
        |mut store: StoreContextMut<'_, Host>, (stream, len): (In, u64)| {
            let result = HostInputStream::read(&mut store.data_mut().table, stream, len);
            read(store, result)
        },
    )?;
    io.func_wrap_async(
        "[method]input-stream.blocking-read",
        |mut store: StoreContextMut<'_, Host>, (stream, len): (In, u64)| {
            Box::new(async move {
                let result = store.data_mut().table.blocking_read(stream, len).await;
                read(store, result)
            })
        },
    )?;
    Ok(())
}
