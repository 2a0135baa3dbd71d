//! What a component exports, in either shape of the contract.

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre, TypedFunc};

use crate::contract::Violation;
use crate::contract::bindings::declarations::{Description, Plan};
use crate::contract::bindings::packed::{self, PackedTransform, PackedTransformPre};
use crate::contract::bindings::{self, Transform, TransformPre, records};
use crate::contract::packed as packing;
use crate::contract::plan::Given;
use crate::host::Host;
use pipehost_record::{Batch, Column};

type Advance<Outcome> = TypedFunc<(i64,), (Result<Outcome, String>,)>;

/// `advance` of `packed-watermark`. Early components of this version of the contract take a number.
pub(super) enum PackedAdvance {
    Bytes(TypedFunc<(Vec<u8>,), (Result<packed::records::Outcome, String>,)>),
    Number(Advance<packed::records::Outcome>),
}

/// What a stage answers: an outcome, or an error. A packed outcome may break the contract.
pub(super) type Answered = Result<Result<records::Outcome, Violation>, String>;

/// A component whose exports are of the right types.
pub(crate) enum ExportsPre {
    Plain(TransformPre<Host>),
    Packed(PackedTransformPre<Host>),
}

impl ExportsPre {
    /// # Errors
    /// If a function has another type.
    pub(crate) fn new(pre: InstancePre<Host>) -> wasmtime::Result<Self> {
        let is_packed = pre.component().get_export_index(None, bindings::STAGE).is_none();
        Ok(match is_packed {
            true => Self::Packed(PackedTransformPre::new(pre)?),
            false => Self::Plain(TransformPre::new(pre)?),
        })
    }

    pub(super) fn instance_pre(&self) -> &InstancePre<Host> {
        match self {
            Self::Plain(pre) => pre.instance_pre(),
            Self::Packed(pre) => pre.instance_pre(),
        }
    }

    /// The interface in which `advance` is, if there is one.
    pub(crate) fn watermark(&self) -> &'static str {
        match self {
            Self::Plain(_) => bindings::WATERMARK,
            Self::Packed(_) => bindings::PACKED_WATERMARK,
        }
    }
}

/// The functions of an instance.
pub(super) enum Exports {
    Plain(Transform, Option<Advance<records::Outcome>>),
    Packed(PackedTransform, Option<PackedAdvance>),
}

impl Exports {
    pub(super) fn new(
        pre: &ExportsPre,
        store: &mut Store<Host>,
        instance: &Instance,
        advance: Option<&ComponentExportIndex>,
    ) -> wasmtime::Result<Self> {
        Ok(match pre {
            ExportsPre::Plain(_) => {
                let exports = Transform::new(&mut *store, instance)?;
                let advance = advance.map(|at| instance.get_typed_func(store, at));
                Self::Plain(exports, advance.transpose()?)
            }
            ExportsPre::Packed(_) => {
                let exports = PackedTransform::new(&mut *store, instance)?;
                let advance = advance.map(|at| match instance.get_typed_func(&mut *store, at) {
                    Ok(advance) => Ok(PackedAdvance::Bytes(advance)),
                    Err(_) => instance.get_typed_func(store, at).map(PackedAdvance::Number),
                });
                Self::Packed(exports, advance.transpose()?)
            }
        })
    }

    pub(super) fn has_advance(&self) -> bool {
        match self {
            Self::Plain(_, advance) => advance.is_some(),
            Self::Packed(_, advance) => advance.is_some(),
        }
    }

    pub(super) async fn describe(&self, store: &mut Store<Host>) -> wasmtime::Result<Description> {
        match self {
            Self::Plain(exports, _) => exports.pipehost_stage_stage().call_describe(store).await,
            Self::Packed(exports, _) => {
                exports.pipehost_stage_packed_stage().call_describe(store).await
            }
        }
    }

    pub(super) async fn open(
        &self,
        store: &mut Store<Host>,
        config: &str,
    ) -> wasmtime::Result<Result<Plan, String>> {
        match self {
            Self::Plain(exports, _) => {
                exports.pipehost_stage_stage().call_open(store, config).await
            }
            Self::Packed(exports, _) => {
                exports.pipehost_stage_packed_stage().call_open(store, config).await
            }
        }
    }

    pub(super) async fn process(
        &self,
        store: &mut Store<Host>,
        batch: &Batch,
        given: &Given,
    ) -> wasmtime::Result<Answered> {
        let attributes = given.attributes.iter().map(Option::as_deref);
        match self {
            Self::Plain(exports, _) => {
                let attributes: Vec<_> = attributes.map(|column| column.map(lower)).collect();
                let batch = records::Batch {
                    len: batch.len as u32,
                    timestamps: given.timestamps.as_deref().map(Vec::as_slice),
                    key: given.key.as_deref().map(lower),
                    value: given.value.as_deref().map(lower),
                    attributes: &attributes,
                    input: batch.input,
                };
                Ok(exports.pipehost_stage_stage().call_process(store, batch).await?.map(Ok))
            }
            Self::Packed(exports, _) => {
                let attributes: Vec<_> =
                    attributes.map(|column| column.map(packing::lower_column)).collect();
                let batch = packing::lower(batch, given, &attributes);
                let stage = exports.pipehost_stage_packed_stage();
                Ok(stage.call_process(store, batch).await?.map(packing::lift))
            }
        }
    }

    pub(super) async fn finish(&self, store: &mut Store<Host>) -> wasmtime::Result<Answered> {
        Ok(match self {
            Self::Plain(exports, _) => {
                exports.pipehost_stage_stage().call_finish(store).await?.map(Ok)
            }
            Self::Packed(exports, _) => {
                let stage = exports.pipehost_stage_packed_stage();
                stage.call_finish(store).await?.map(packing::lift)
            }
        })
    }

    /// Of a component that exports it.
    pub(super) async fn advance(
        &self,
        store: &mut Store<Host>,
        watermark: i64,
    ) -> wasmtime::Result<Answered> {
        const EXPORTED: &str = "the component exports it";
        Ok(match self {
            Self::Plain(_, advance) => {
                let advance = advance.as_ref().expect(EXPORTED);
                advance.call_async(store, (watermark,)).await?.0.map(Ok)
            }
            Self::Packed(_, advance) => {
                let advance = advance.as_ref().expect(EXPORTED);
                let answered = match advance {
                    PackedAdvance::Bytes(advance) => {
                        let watermark = watermark.to_le_bytes().to_vec();
                        advance.call_async(store, (watermark,)).await?
                    }
                    PackedAdvance::Number(advance) => {
                        advance.call_async(store, (watermark,)).await?
                    }
                };
                answered.0.map(packing::lift)
            }
        })
    }
}

fn lower(column: &Column) -> records::Column<'_> {
    let nulls = (!column.nulls.is_empty()).then_some(&column.nulls[..]);
    records::Column { ends: &column.ends, data: &column.data, nulls }
}
