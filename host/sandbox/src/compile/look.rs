//! A cheap check of a component for what multiplies: components that instantiate components that
//! instantiate others; functions with tens of thousands of locals. A few kilobytes can ask for more
//! memory than there is.

use anyhow::{Result, anyhow};
use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Encoding, Instance, Parser, Payload,
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
                    if let ComponentTypeRef::Component(_) = import?.ty {
                        reading.components.push(0);
                    }
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
    Ok(Ok(()))
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
