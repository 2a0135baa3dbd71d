//! Servers of a test: a connection to an address that the test stands in for goes to its server.

use std::net::SocketAddr;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, Host as _, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::{HostTcpSocket as _, TcpSocket};
use wasmtime_wasi::sockets::WasiSocketsView as _;

use super::store::{Host, VERSION};

type Connect = (Resource<TcpSocket>, Resource<Network>, IpSocketAddress);

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut tcp = linker.instance(&format!("wasi:sockets/tcp@{VERSION}"))?;
    tcp.func_wrap(
        "[method]tcp-socket.start-connect",
        |mut store: StoreContextMut<'_, Host>, (socket, network, address): Connect| {
            Ok((connect(store.data_mut(), socket, network, address)?,))
        },
    )
}

fn connect(
    host: &mut Host,
    socket: Resource<TcpSocket>,
    network: Resource<Network>,
    address: IpSocketAddress,
) -> wasmtime::Result<Result<(), ErrorCode>> {
    let address = SocketAddr::from(address);
    let address = host.stand_ins.get(&address).copied().unwrap_or(address);
    let mut sockets = host.sockets();
    Ok(match sockets.start_connect(socket, network, address.into()) {
        Ok(()) => Ok(()),
        Err(error) => Err(sockets.convert_error_code(error)?),
    })
}
