//! The metrics that a guest tells: `wit/metrics.wit`.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use super::store::Host;
use crate::contract::bindings;
use pipehost_observe::own::Told;

#[derive(ComponentType, Lift)]
#[component(record)]
struct Label {
    name: String,
    value: String,
}

type Told3 = (String, Vec<Label>, f64);
type Tells = fn(f64) -> Told;

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut metrics = linker.instance(bindings::METRICS)?;
    let functions: [(&str, Tells); 3] =
        [("add", Told::Add), ("set", Told::Set), ("observe", Told::Observe)];
    for (name, told) in functions {
        metrics.func_wrap(
            name,
            move |mut store: StoreContextMut<'_, Host>, (name, labels, value): Told3| {
                let host = store.data_mut();
                let bytes = labels.iter().map(|label| label.name.len() + label.value.len());
                host.turn.charge(name.len() + bytes.sum::<usize>());
                let labels = labels.into_iter().map(|label| (label.name, label.value)).collect();
                host.told.tell(name, labels, told(value));
                Ok(())
            },
        )?;
    }
    Ok(())
}
