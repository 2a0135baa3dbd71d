//! Batches of records: shared, immutable columns and selections over them.
//!
//! A batch is cheap to clone (fan-out copies nothing), and picking rows makes a selection, not a
//! copy. Bytes are copied only where they must be contiguous, as on the way into a sandbox.

mod batch;
mod builder;
mod column;
pub mod foreign;
mod letter;
mod origin;
mod rejected;
mod selected;
pub mod template;
pub mod time;

pub use batch::{
    Attribute, Batch, MAX_ATTRIBUTES, MAX_NAME, NameError, Record, check_name, own_bytes,
};
pub use builder::BatchBuilder;
pub use column::{Column, Excerpt, NO_TIME, Rows, Times, bytes_between};
pub use letter::Letter;
pub use origin::{Origin, Origins};
pub use rejected::Rejected;
pub use selected::{RowNumbers, Selected};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn records(batch: &Batch) -> Vec<Record> {
        (0..batch.len).map(|row| batch.record(row)).collect()
    }

    fn batch(values: &[&str]) -> Batch {
        let mut builder = BatchBuilder::default();
        for (number, value) in (1..).zip(values) {
            let attribute = [("first", &value.as_bytes()[..1])];
            let attributes = attribute.into_iter().filter(|_| number % 2 == 1);
            builder.push(&"test".into(), number, None, None, Some(value.as_bytes()), attributes);
        }
        builder.take()
    }

    #[test]
    fn a_pick_of_a_pick_is_what_it_says() {
        let all = batch(&["a0", "b1", "c2", "d3"]);
        let picked = all.pick(Arc::new(vec![3, 1, 0, 0])).pick(Arc::new(vec![2, 0]));
        assert_eq!(records(&picked), [all.record(0), all.record(3)]);
        assert_eq!(picked.value.as_ref().unwrap().contiguous().data, b"a0d3");
        assert_eq!([picked.origin(0).number, picked.origin(1).number], [1, 4]);
        // Two rows in two columns: their contents are smaller than the least size of a row.
        assert_eq!(picked.bytes(), 2 * 2 * 8);
        let long = batch(&["a long value"]);
        assert_eq!(long.bytes(), "a long value".len() + "first".len().max(8));
        assert_eq!(long.bytes_of(&[0, 0, 7], usize::MAX), 2 * long.bytes());
    }

    #[test]
    fn concat_fills_what_a_part_lacks() {
        let (first, second) = (batch(&["a", "b"]), {
            let mut builder = BatchBuilder::default();
            builder.push(&"other".into(), 9, Some(5), Some(b"k"), None, std::iter::empty());
            builder.take()
        });
        let joined = Batch::concat(&[first.clone(), second.clone(), first.slice(1..2)]);
        let expected = [first.record(0), first.record(1), second.record(0), first.record(1)];
        assert_eq!(records(&joined), expected);
        assert_eq!(joined.origin(2), Origin { place: "other".into(), number: 9 });
    }
}
