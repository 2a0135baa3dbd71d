//! From the contract's functions to a [`Stage`] and back.

use crate::driver::contract::{Batch, Column as Given, Outcome, Target};
use crate::driver::{Column, Input, KeyGroups, Opened};
use crate::{Checkpoint, Field, Stage};

#[doc(hidden)]
#[allow(missing_docs, clippy::all, unused_qualifications)]
pub mod bindings {
    pub mod transform {
        wit_bindgen::generate!({
            path: "wit",
            world: "transform",
            pub_export_macro: true,
            default_bindings_module: "::pipehost_plugin::bindings::transform",
            // Which worlds a component exports is the author's choice: the sections
            // that name them must come from the author's crate alone.
            disable_custom_section_link_helpers: true,
        });
    }

    /// The other part of `stateful-transform`. (That world itself would define the
    /// macros of `transform` a second time.)
    pub mod checkpoint {
        wit_bindgen::generate!({
            path: "wit",
            inline: "package pipehost:rust-sdk; world checkpoint-alone { export pipehost:stage/checkpoint@0.2.0; }",
            world: "pipehost:rust-sdk/checkpoint-alone",
            pub_export_macro: true,
            default_bindings_module: "::pipehost_plugin::bindings::checkpoint",
            disable_custom_section_link_helpers: true,
        });
    }

    /// What a stage tells of its own.
    #[cfg(target_family = "wasm")]
    pub mod measured {
        wit_bindgen::generate!({ path: "wit", world: "measured" });
    }

    /// The other part of `timed-transform`.
    pub mod watermark {
        wit_bindgen::generate!({
            path: "wit",
            inline: "package pipehost:rust-sdk; world watermark-alone { export pipehost:stage/watermark@0.2.0; }",
            world: "pipehost:rust-sdk/watermark-alone",
            with: { "pipehost:stage/records@0.2.0": crate::export::bindings::transform::pipehost::stage::records },
            pub_export_macro: true,
            default_bindings_module: "::pipehost_plugin::bindings::watermark",
            disable_custom_section_link_helpers: true,
        });
    }
}

/// Exports a stage from the component: `export!(Filter)`, or
/// `export!(Counter, checkpoint)` where the type is a [`Checkpoint`] too, or
/// `export!(Window, timed)` where it is [`Timed`](crate::Timed). Outside
/// wasm it checks the types and exports nothing, so that a crate can be tested.
#[macro_export]
macro_rules! export {
    ($stage:ty) => {
        $crate::export!(@stage $stage, {});
    };
    ($stage:ty, checkpoint) => {
        $crate::export!(@checkpoint $stage, {});
    };
    ($stage:ty, timed) => {
        $crate::export!(@checkpoint $stage, {
            impl $crate::bindings::watermark::exports::pipehost::stage::watermark::Guest for Exported {
                fn advance(watermark: i64) -> Result<$crate::driver::contract::Outcome, String> {
                    STAGE.with_borrow_mut(|stage| $crate::glue::advance(stage, watermark))
                }
            }

            #[cfg(target_family = "wasm")]
            $crate::bindings::watermark::export!(Exported with_types_in $crate::bindings::watermark);
        });
    };
    (@checkpoint $stage:ty, { $($watermark:item)* }) => {
        $crate::export!(@stage $stage, {
            $($watermark)*

            use $crate::bindings::checkpoint::exports::pipehost::stage::checkpoint as state;

            impl state::Guest for Exported {
                fn save(groups: state::KeyGroups) -> Result<Vec<state::GroupState>, String> {
                    let state::KeyGroups { first, end, count } = groups;
                    let groups = $crate::driver::KeyGroups { held: first..end, count };
                    let saved = STAGE.with_borrow(|stage| $crate::glue::save(stage, groups))?;
                    let group = |(number, state)| state::GroupState { number, state };
                    Ok(saved.into_iter().map(group).collect())
                }
                fn restore(saved: Vec<state::GroupState>, by: state::SavedBy) -> Result<(), String> {
                    let saved = saved.into_iter().map(|group| (group.number, group.state));
                    STAGE.with_borrow_mut(|stage| {
                        $crate::glue::restore(stage, saved, &by.version, &by.config)
                    })
                }
            }

            #[cfg(target_family = "wasm")]
            $crate::bindings::checkpoint::export!(Exported with_types_in $crate::bindings::checkpoint);
        });
    };
    (@stage $stage:ty, { $($checkpoint:item)* }) => {
        const _: () = {
            use $crate::bindings::transform::exports::pipehost::stage::stage as contract;
            use $crate::bindings::transform::pipehost::stage::declarations::{Columns, Keeps};

            ::std::thread_local! {
                static STAGE: ::core::cell::RefCell<Option<$crate::driver::Opened<$stage>>> =
                    const { ::core::cell::RefCell::new(None) };
            }

            struct Exported;

            impl contract::Guest for Exported {
                fn describe() -> contract::Description {
                    contract::Description {
                        name: env!("CARGO_PKG_NAME").to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        summary: env!("CARGO_PKG_DESCRIPTION").to_owned(),
                        config_schema: $crate::describe::<$stage>(),
                    }
                }
                fn open(config: String) -> Result<contract::Plan, String> {
                    STAGE.with_borrow_mut(|stage| {
                        let $crate::driver::Plan {
                            timestamps, key, value, attributes, ports, inputs, keeps,
                        } = $crate::glue::open(stage, &config)?;
                        let keeps = match keeps {
                            $crate::driver::Keeps::Anything => Keeps::Anything,
                            $crate::driver::Keeps::Nothing => Keeps::Nothing,
                            $crate::driver::Keeps::ByKey(column) => {
                                Keeps::ByKey($crate::glue::target(column, &attributes))
                            }
                        };
                        let reads = Columns { timestamps, key, value, attributes };
                        Ok(contract::Plan { reads, ports, inputs, keeps })
                    })
                }
                fn process(batch: $crate::driver::contract::Batch) -> Result<$crate::driver::contract::Outcome, String> {
                    STAGE.with_borrow_mut(|stage| $crate::glue::process(stage, batch))
                }
                fn finish() -> Result<$crate::driver::contract::Outcome, String> {
                    STAGE.with_borrow_mut(|stage| $crate::glue::finish(stage))
                }
            }

            $($checkpoint)*

            #[cfg(target_family = "wasm")]
            $crate::bindings::transform::export!(Exported with_types_in $crate::bindings::transform);
        };
    };
}

/// The JSON Schema of a stage's configuration.
#[doc(hidden)]
pub fn describe<S: Stage>() -> String {
    schemars::schema_for!(S::Config).to_value().to_string()
}

/// The bodies of the exported functions, on the one stage of an instance.
#[doc(hidden)]
pub mod glue {
    use super::*;

    const NOT_OPEN: &str = "called before open";

    fn message(error: crate::Error) -> String {
        error.message
    }

    pub fn open<S: Stage>(
        stage: &mut Option<Opened<S>>,
        config: &str,
    ) -> Result<crate::driver::Plan, String> {
        let opened = Opened::open(config).map_err(message)?;
        Ok(stage.insert(opened).plan().clone())
    }

    pub fn process<S: Stage>(
        stage: &mut Option<Opened<S>>,
        batch: Batch,
    ) -> Result<Outcome, String> {
        let stage = stage.as_mut().ok_or(NOT_OPEN)?;
        let input = Input::new(
            batch.len as usize,
            batch.timestamps.as_deref(),
            batch.key.as_ref().map(view),
            batch.value.as_ref().map(view),
            batch.attributes.iter().map(|column| column.as_ref().map(view)),
        );
        Ok(stage.process(&input.by(batch.input)))
    }

    fn view(column: &Given) -> Column<'_> {
        Column::new(&column.ends, &column.data, column.nulls.as_deref().unwrap_or_default())
    }

    pub fn finish<S: Stage>(stage: &mut Option<Opened<S>>) -> Result<Outcome, String> {
        stage.as_mut().ok_or(NOT_OPEN)?.finish().map_err(message)
    }

    pub fn advance<S: crate::Timed>(
        stage: &mut Option<Opened<S>>,
        watermark: i64,
    ) -> Result<Outcome, String> {
        stage.as_mut().ok_or(NOT_OPEN)?.advance(watermark).map_err(message)
    }

    pub fn save<S: Checkpoint>(
        stage: &Option<Opened<S>>,
        groups: KeyGroups,
    ) -> Result<Vec<(u32, Vec<u8>)>, String> {
        stage.as_ref().ok_or(NOT_OPEN)?.save(groups).map_err(message)
    }

    pub fn restore<S: Checkpoint>(
        stage: &mut Option<Opened<S>>,
        saved: impl IntoIterator<Item = (u32, Vec<u8>)>,
        version: &str,
        config: &str,
    ) -> Result<(), String> {
        stage.as_mut().ok_or(NOT_OPEN)?.restore(saved, version, config).map_err(message)
    }

    /// A column as the contract names it.
    pub fn target(column: Field, attributes: &[String]) -> Target {
        match column {
            Field::KEY => Target::Key,
            Field::VALUE => Target::Value,
            Field(index) => Target::Attribute(attributes[index - Field::FIRST_ATTRIBUTE].clone()),
        }
    }
}
