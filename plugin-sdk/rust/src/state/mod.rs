//! Encodes a state as bytes, for [`Save`](crate::Save).
//!
//! The bytes begin with `PS` and a version (1). Then comes the shape of the state: its types and
//! the names of its fields, found while it was encoded. A stage that expects another shape gets an
//! error, and does not misread the bytes. The shape and the state itself are in the format of
//! [postcard](https://postcard.jamesmunns.com); the length of the shape, a little-endian u32, is in
//! front of it.

mod checked;
mod shape;

use serde::{Deserialize, Serialize};

use crate::Error;

use checked::Wanted;
use shape::Shape;

const MAGIC: &[u8] = b"PS\x01";

/// Encodes a state.
///
/// # Errors
/// If it cannot be encoded.
pub fn encode<T: Serialize + ?Sized>(state: &T) -> Result<Vec<u8>, Error> {
    let shape = postcard::to_allocvec(&Shape::of(state)?)?;
    let length = u32::try_from(shape.len())?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&shape);
    Ok(postcard::to_extend(state, bytes)?)
}

/// Decodes a state that [`encode`] has encoded.
///
/// # Errors
/// If the bytes have another format, or another shape.
pub fn decode<'a, T: Deserialize<'a>>(saved: &'a [u8]) -> Result<T, Error> {
    let other = || Error::from("it was saved in another format");
    let rest = saved.strip_prefix(MAGIC).ok_or_else(other)?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(other)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (shape, state) = rest.split_at_checked(length).ok_or_else(other)?;
    let shape: Shape = postcard::from_bytes(shape).map_err(|_| other())?;
    let wanted = Wanted::default();
    let mut deserializer = postcard::Deserializer::from_bytes(state);
    let decoded = T::deserialize(wanted.checked(&shape, &mut deserializer));
    if let Some(difference) = wanted.difference() {
        return Err(format!("it was saved in another shape: {difference}").into());
    }
    let decoded = decoded?;
    match deserializer.finalize() {
        Ok([]) => Ok(decoded),
        _ => Err("it has more bytes than its shape needs".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Session {
        start: i64,
        events: Vec<Event>,
        name: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Event {
        Login,
        Click(u32),
        Move { x: f64, y: f64 },
        Pair(u8, String),
    }

    type State = (BTreeMap<Vec<u8>, Session>, BTreeSet<u64>, [i16; 2], (), char, Box<str>);

    fn state() -> State {
        let events = vec![
            Event::Click(7),
            Event::Login,
            Event::Pair(1, "a".into()),
            Event::Move { x: 0.5, y: -1.0 },
        ];
        let sessions = [
            (b"a".to_vec(), Session { start: -1, events: Vec::new(), name: None }),
            (b"b".to_vec(), Session { start: 5, events, name: Some("b".into()) }),
        ];
        (sessions.into(), [1, 2].into(), [3, -4], (), 'é', "text".into())
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        assert_eq!(decode::<State>(&encode(&state()).unwrap()).unwrap(), state());
        // Borrowed and owned types have the same shape, and an empty list has no element type.
        let keys: Vec<&[u8]> = vec![b"a", b"b"];
        let saved = encode(&keys).unwrap();
        assert_eq!(decode::<Vec<&[u8]>>(&saved).unwrap(), keys);
        assert_eq!(decode::<Vec<Vec<u8>>>(&saved).unwrap(), keys);
        assert!(decode::<Vec<u64>>(&encode(&Vec::<u64>::new()).unwrap()).unwrap().is_empty());
        assert_eq!(decode::<Option<Session>>(&encode(&None::<Session>).unwrap()).unwrap(), None);
    }

    #[track_caller]
    fn differs<'a, T: Deserialize<'a> + std::fmt::Debug>(saved: &'a [u8], difference: &str) {
        let why = decode::<T>(saved).unwrap_err().message;
        assert_eq!(why, format!("it was saved in another shape: {difference}"));
    }

    #[test]
    fn another_shape_is_refused_although_the_bytes_would_do() {
        let number = encode(&1_u64).unwrap();
        differs::<(i64,)>(&number, "a u64, and a tuple of 1 is wanted");
        differs::<i64>(&number, "a u64, and an i64 is wanted");
        differs::<Option<u64>>(&number, "a u64, and an option is wanted");
        differs::<Vec<u32>>(&encode(&vec![1_u64]).unwrap(), "a u64, and a u32 is wanted");
        differs::<(u8, u8)>(
            &encode(&(1_u8, 2_u8, 3_u8)).unwrap(),
            "a tuple of 3, and a tuple of 2 is wanted",
        );

        #[derive(Debug, Serialize, Deserialize)]
        struct Renamed {
            begin: i64,
            events: Vec<Event>,
            name: Option<String>,
        }
        let session = encode(&state().0[&b"b"[..]]).unwrap();
        differs::<Renamed>(
            &session,
            "a struct of `start`, `events`, `name`, and a struct of `begin`, `events`, `name` is wanted",
        );

        #[derive(Debug, Serialize, Deserialize)]
        enum Reordered {
            Click(u32),
            Login,
        }
        differs::<Reordered>(
            &encode(&Event::Login).unwrap(),
            "the variant 0, `Login`, and an enum of `Click`, `Login` is wanted",
        );
        #[derive(Debug, Serialize, Deserialize)]
        enum Changed {
            Login,
            Click(i32),
        }
        differs::<Changed>(&encode(&Event::Click(1)).unwrap(), "a u32, and an i32 is wanted");
    }

    #[test]
    fn what_is_no_state_is_refused() {
        for saved in [&b""[..], b"PS", b"PS\x02\0\0\0\0", b"PS\x01\xff\xff\xff\xff", b"anything"] {
            assert!(
                decode::<u64>(saved).unwrap_err().message.contains("another format"),
                "{saved:?}"
            );
        }
        let mut saved = encode(&1_u64).unwrap();
        saved.push(0);
        assert!(decode::<u64>(&saved).unwrap_err().message.contains("more bytes"));
        assert!(decode::<u64>(&saved[..saved.len() - 2]).is_err());
    }
}
