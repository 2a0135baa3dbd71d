//! A frame is refused, or it is read as it was written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipehost_codec::frames::{self, Frame};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((frame, length))) = frames::read(bytes) else { return };
    assert!(length <= bytes.len());
    let mut again = Vec::new();
    match &frame {
        Frame::Record(record) => frames::write_record(record, &mut again),
        Frame::Letter(letter) => frames::write_letter(letter, &mut again),
    }
    assert_eq!(frames::read(&again).expect("it was written"), Some((frame, again.len())));
});
