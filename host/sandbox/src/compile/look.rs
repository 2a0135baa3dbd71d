//! A cheap check of a component before it is compiled: for what multiplies, and for what this host
//! does not run.
//!
//! Components that instantiate components that instantiate others, and functions with tens of
//! thousands of locals, multiply: a few kilobytes can ask for more memory than there is. Async
//! functions, and WASI 0.3, which needs them, are not supported: the compiler would say so in terms
//! of bytes.

use anyhow::{Result, anyhow};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentDefinedType,
    ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentType,
    ComponentTypeRef, Encoding, Instance, InstanceTypeDeclaration, Parser, Payload,
};

/// Maximum instances of components and core modules that one component may make, nested ones
/// included. A component of Rust makes 6, one of Python about 50.
const INSTANCES: u64 = 1_000;
/// Maximum locals of all functions together. A component of 20 MB has some hundred thousand.
const LOCALS: u64 = 5_000_000;

/// A component, or a module in one, that is being parsed.
struct Reading {
    is_component: bool,
    /// How many instances each component that it can refer to makes.
    components: Vec<u64>,
    /// How many instances it makes itself.
    instances: u64,
}

/// # Errors
/// If there would be too many instances or locals. Other faults are left to the compiler.
pub(super) fn look(component: &[u8]) -> Result<()> {
    // If it cannot be parsed, the compiler reports why.
    looked(component).unwrap_or(Ok(()))
}

fn looked(component: &[u8]) -> wasmparser::Result<Result<()>> {
    let mut open: Vec<Reading> = Vec::new();
    let mut locals = 0u64;
    let mut uses_async = false;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match (payload, open.last_mut()) {
            (Payload::Version { encoding, .. }, _) => open.push(Reading {
                is_component: encoding == Encoding::Component,
                components: Vec::new(),
                instances: 0,
            }),
            (Payload::End(_), Some(_)) => {
                let ended = open.pop().filter(|ended| ended.is_component);
                if let (Some(ended), Some(outer)) = (ended, open.last_mut()) {
                    outer.components.push(ended.instances);
                }
            }
            (Payload::CodeSectionEntry(body), _) => {
                for local in body.get_locals_reader()? {
                    locals += u64::from(local?.0);
                }
                if locals > LOCALS {
                    return Ok(Err(anyhow!("its functions have more than {LOCALS} locals")));
                }
            }
            (Payload::InstanceSection(instances), Some(reading)) => {
                for instance in instances {
                    let instantiates = matches!(instance?, Instance::Instantiate { .. });
                    reading.instances += u64::from(instantiates);
                }
            }
            (Payload::ComponentInstanceSection(instances), Some(reading)) => {
                for instance in instances {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let of = reading.components.get(component_index as usize).unwrap_or(&0);
                        reading.instances = reading.instances.saturating_add(1 + of);
                    }
                }
                if reading.instances > INSTANCES {
                    return Ok(Err(anyhow!(
                        "it instantiates components and modules more than {INSTANCES} times, \
                         those included that its components instantiate"
                    )));
                }
            }
            (Payload::ComponentImportSection(imports), Some(reading)) => {
                for import in imports {
                    let import = import?;
                    let name = import.name.name;
                    if let Some((_, version)) = name.split_once('@')
                        && name.starts_with("wasi:")
                        && version.starts_with("0.3")
                    {
                        return Ok(Err(anyhow!(
                            "it imports `{name}`, and pipehost provides WASI 0.2, not 0.3. {SYNC}"
                        )));
                    }
                    if let ComponentTypeRef::Component(_) = import.ty {
                        reading.components.push(0);
                    }
                }
            }
            (Payload::ComponentTypeSection(types), Some(_)) => {
                for ty in types {
                    uses_async |= match ty? {
                        ComponentType::Defined(ty) => is_async(&ty),
                        ComponentType::Func(function) => function.async_,
                        ComponentType::Instance(items) => items.iter().any(|item| match item {
                            InstanceTypeDeclaration::Type(ComponentType::Func(f)) => f.async_,
                            InstanceTypeDeclaration::Type(ComponentType::Defined(ty)) => {
                                is_async(ty)
                            }
                            _ => false,
                        }),
                        ComponentType::Component(_) | ComponentType::Resource { .. } => false,
                    };
                }
            }
            (Payload::ComponentCanonicalSection(functions), Some(_)) => {
                for function in functions {
                    uses_async |= match function? {
                        CanonicalFunction::Lift { options, .. }
                        | CanonicalFunction::Lower { options, .. } => {
                            options.contains(&CanonicalOption::Async)
                        }
                        CanonicalFunction::ResourceNew { .. }
                        | CanonicalFunction::ResourceDrop { .. }
                        | CanonicalFunction::ResourceRep { .. } => false,
                        // Tasks, streams, futures, waitable sets.
                        _ => true,
                    };
                }
            }
            (Payload::ComponentAliasSection(aliases), Some(_)) => {
                for alias in aliases {
                    let known = match alias? {
                        ComponentAlias::InstanceExport {
                            kind: ComponentExternalKind::Component,
                            ..
                        } => 0,
                        ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::Component,
                            count,
                            index,
                        } => {
                            let outer = open.len().checked_sub(1 + count as usize);
                            let outer = outer.and_then(|at| open.get(at));
                            let known = outer.and_then(|o| o.components.get(index as usize));
                            known.copied().unwrap_or(0)
                        }
                        _ => continue,
                    };
                    if let Some(reading) = open.last_mut() {
                        reading.components.push(known);
                    }
                }
            }
            _ => {}
        }
    }
    if uses_async {
        return Ok(Err(anyhow!(
            "it uses async functions, streams or futures of the component model, which pipehost \
             does not run. {SYNC}"
        )));
    }
    Ok(Ok(()))
}

/// What to do about async.
const SYNC: &str = "Build it for WASI 0.2, with functions that are not async: in Rust for \
                    wasm32-wasip2, with componentize-qjs by --sync";

fn is_async(ty: &ComponentDefinedType<'_>) -> bool {
    matches!(ty, ComponentDefinedType::Future(_) | ComponentDefinedType::Stream(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of components, each of which instantiates the previous one twice.
    fn doubling(components: usize) -> Vec<u8> {
        let mut text = String::from("(component (component $c0)");
        for n in 1..=components {
            let before = n - 1;
            text.push_str(&format!(
                "(component $c{n} (alias outer 1 $c{before} (component $c))\
                 (instance (instantiate $c)) (instance (instantiate $c)))"
            ));
        }
        text.push_str(&format!("(instance (instantiate $c{components})))"));
        wat::parse_str(&text).unwrap()
    }

    #[test]
    fn instances_are_counted_through_all_that_is_instantiated() {
        look(&doubling(8)).unwrap();
        assert!(look(&doubling(9)).unwrap_err().to_string().contains("more than 1000 times"));
        assert!(look(&doubling(40)).is_err());
        look(b"not a component").unwrap();
    }

    #[test]
    fn async_functions_and_wasi_0_3_are_named() {
        let refused = |text: &str| look(&wat::parse_str(text).unwrap()).unwrap_err().to_string();
        let imports =
            refused(r#"(component (import "wasi:clocks/system-clock@0.3.0" (instance)))"#);
        assert!(imports.starts_with("it imports `wasi:clocks/system-clock@0.3.0`"), "{imports}");
        for text in [
            "(component (type (stream u8)))",
            r#"(component (import "a" (instance (export "f" (func async)))))"#,
            "(component (core func (canon task.cancel)))",
        ] {
            let why = refused(text);
            assert!(why.contains("async") && why.contains("--sync"), "{text}: {why}");
        }
        look(&wat::parse_str(r#"(component (import "wasi:io/poll@0.2.6" (instance)))"#).unwrap())
            .unwrap();
    }

    #[test]
    fn locals_are_counted_over_all_functions() {
        let module = |functions: usize| {
            let locals = "(local i32)".repeat(1000);
            let text = format!("(module {})", format!("(func {locals})").repeat(functions));
            wat::parse_str(&text).unwrap()
        };
        look(&module(10)).unwrap();
        assert!(look(&module(5001)).is_err());
    }
}
