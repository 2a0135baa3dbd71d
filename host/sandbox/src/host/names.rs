//! Names of hosts: none is looked up for a guest, under any grant. An address that is written as a
//! name is what it says, so that programs which take both can connect to what is granted.

use std::net::IpAddr;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{Host as _, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, Host as _, Network};
use wasmtime_wasi::sockets::WasiSocketsView as _;

use super::store::{Host, VERSION};

type Found = Result<Resource<ResolveAddressStream>, ErrorCode>;

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut lookup = linker.instance(&format!("wasi:sockets/ip-name-lookup@{VERSION}"))?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, Host>, (network, name): (Resource<Network>, String)| {
            Ok((resolve(&mut store, network, name)?,))
        },
    )?;
    Ok(())
}

fn resolve(
    store: &mut StoreContextMut<'_, Host>,
    network: Resource<Network>,
    name: String,
) -> wasmtime::Result<Found> {
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_err() {
        return Ok(Err(ErrorCode::AccessDenied));
    }
    let mut sockets = store.data_mut().sockets();
    match sockets.resolve_addresses(network, name) {
        Ok(found) => Ok(Ok(found)),
        Err(error) => Ok(Err(sockets.convert_error_code(error)?)),
    }
}
