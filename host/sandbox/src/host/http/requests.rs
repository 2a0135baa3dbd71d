//! What a guest says of a request before it is sent: each part is refused beyond a length.
//!
//! wasmtime keeps these parts on the host's side for as long as the guest holds the request.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method, Scheme};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

use super::super::store::{Host, VERSION};

/// The longest path with its query, and the longest authority, in bytes.
const LONGEST: usize = 8 << 10;
/// The longest method and scheme, in bytes.
const LONGEST_WORD: usize = 64;

type Request = Resource<HostOutgoingRequest>;

fn len(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

/// Redefines the functions that set a part of a request.
///
/// # Errors
/// If wasmtime lacks one of them.
pub(in crate::host) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut types = linker.instance(&format!("wasi:http/types@{VERSION}"))?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, Host>, (request, method): (Request, Method)| {
            if matches!(&method, Method::Other(name) if name.len() > LONGEST_WORD) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: StoreContextMut<'_, Host>, (request, scheme): (Request, Option<Scheme>)| {
            if matches!(&scheme, Some(Scheme::Other(name)) if name.len() > LONGEST_WORD) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_scheme(request, scheme)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, Host>, (request, text): (Request, Option<String>)| {
            if len(text.as_ref()) > LONGEST {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, text)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, Host>, (request, text): (Request, Option<String>)| {
            if len(text.as_ref()) > LONGEST {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_path_with_query(request, text)?,))
        },
    )?;
    Ok(())
}
