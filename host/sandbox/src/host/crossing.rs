//! The hook for each switch between host and guest.

use wasmtime::{CallHook, StoreContextMut};

use super::store::Host;
use super::turn::{ARGUMENT_BYTES, FUEL};

/// Called at each switch between host and guest.
pub(crate) fn cross(
    mut store: StoreContextMut<'_, Host>,
    crossing: CallHook,
) -> wasmtime::Result<()> {
    let host = store.data_mut();
    host.stopwatch.cross(crossing);
    match crossing {
        CallHook::CallingWasm | CallHook::ReturningFromWasm => {}
        CallHook::CallingHost => {
            host.turn.enter();
            store.set_hostcall_fuel(ARGUMENT_BYTES);
        }
        CallHook::ReturningFromHost => leave(store)?,
    }
    Ok(())
}

fn leave(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<()> {
    let turn = &mut store.data_mut().turn;
    let (left, answer_bytes) = (turn.leave()?, turn.answer_bytes());
    store.set_hostcall_fuel(answer_bytes);
    if left.yielded {
        store.fuel_async_yield_interval(Some(FUEL))?;
    }
    if let Some(owed) = left.owed {
        let fuel = store.get_fuel()?.saturating_sub(owed);
        store.fuel_async_yield_interval(Some(1))?;
        store.set_fuel(fuel)?;
    }
    Ok(())
}
