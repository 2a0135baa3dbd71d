//! The shape of the contract with packed lists: numbers as bytes, the lowest first.

use pipehost_record::{Batch, Column};

use super::bindings::{packed, records};
use super::plan::Given;
use super::violation::{Violation, violation};

#[cfg(not(target_endian = "little"))]
compile_error!("packed lists are lent to the guest as they are in memory");

/// Numbers whose bytes are lent.
trait Packs: Copy {
    const BYTES: usize;
    fn unpack(bytes: &[u8]) -> Self;
}

impl Packs for u32 {
    const BYTES: usize = 4;
    fn unpack(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().expect("4 bytes"))
    }
}

impl Packs for i64 {
    const BYTES: usize = 8;
    fn unpack(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().expect("8 bytes"))
    }
}

/// The bytes of numbers.
fn pack<T: Packs + bytemuck::NoUninit>(numbers: &[T]) -> &[u8] {
    bytemuck::cast_slice(numbers)
}

/// The numbers that a guest has packed.
fn unpack<T: Packs>(what: &str, bytes: &[u8]) -> Result<Vec<T>, Violation> {
    if !bytes.len().is_multiple_of(T::BYTES) {
        let (length, size) = (bytes.len(), T::BYTES);
        return Err(violation!(
            "`{what}` has {length} bytes, and each of its numbers takes {size}"
        ));
    }
    Ok(bytes.chunks_exact(T::BYTES).map(T::unpack).collect())
}

/// The batch that `process` is given. Its columns are lent.
pub fn lower<'a>(
    batch: &Batch,
    given: &'a Given,
    attributes: &'a [Option<packed::records::Column<'a>>],
) -> packed::records::Batch<'a> {
    packed::records::Batch {
        len: batch.len as u32,
        timestamps: given.timestamps.as_deref().map(|times| pack(times)),
        key: given.key.as_deref().map(lower_column),
        value: given.value.as_deref().map(lower_column),
        attributes,
        input: batch.input,
    }
}

pub fn lower_column(column: &Column) -> packed::records::Column<'_> {
    let nulls = (!column.nulls.is_empty()).then(|| pack(&column.nulls));
    packed::records::Column { ends: pack(&column.ends), data: &column.data, nulls }
}

/// An outcome, as it is in the other shape.
///
/// # Errors
/// If a packed list does not hold whole numbers.
pub fn lift(outcome: packed::records::Outcome) -> Result<records::Outcome, Violation> {
    let outputs = outcome.outputs.into_iter().map(output).collect::<Result<_, _>>()?;
    Ok(records::Outcome { outputs, rejected: outcome.rejected })
}

fn output(output: packed::records::Output) -> Result<records::Output, Violation> {
    Ok(records::Output {
        port: output.port,
        rows: match output.rows {
            packed::records::Rows::All => records::Rows::All,
            packed::records::Rows::Picked(rows) => records::Rows::Picked(unpack("picked", &rows)?),
            packed::records::Rows::Fresh(count) => records::Rows::Fresh(count),
        },
        timestamps: output.timestamps.map(timestamps).transpose()?,
        key: output.key.map(change).transpose()?,
        value: output.value.map(change).transpose()?,
        attributes: output.attributes.into_iter().map(attribute).collect::<Result<_, _>>()?,
        removed: output.removed,
        excerpts: output.excerpts.into_iter().map(excerpt).collect::<Result<_, _>>()?,
    })
}

fn timestamps(
    change: packed::records::TimestampsChange,
) -> Result<records::TimestampsChange, Violation> {
    Ok(records::TimestampsChange {
        timestamps: unpack("timestamps", &change.timestamps)?,
        inherited: unpack("inherited", &change.inherited)?,
    })
}

fn attribute(
    changed: packed::records::AttributeChange,
) -> Result<records::AttributeChange, Violation> {
    let packed::records::AttributeChange { name, change: its } = changed;
    Ok(records::AttributeChange { name, change: change(its)? })
}

fn excerpt(excerpt: packed::records::Excerpt) -> Result<records::Excerpt, Violation> {
    let packed::records::Excerpt { to, from, starts, ends, nulls, inherited } = excerpt;
    Ok(records::Excerpt {
        to,
        from,
        starts: unpack("starts", &starts)?,
        ends: unpack("ends", &ends)?,
        nulls: unpack("nulls", &nulls)?,
        inherited: unpack("inherited", &inherited)?,
    })
}

fn change(change: packed::records::Change) -> Result<records::Change, Violation> {
    let packed::records::Change { ends, data, nulls, inherited } = change;
    Ok(records::Change {
        ends: unpack("ends", &ends)?,
        data,
        nulls: unpack("nulls", &nulls)?,
        inherited: unpack("inherited", &inherited)?,
    })
}
