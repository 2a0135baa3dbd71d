//! What decodes is the same in one piece and in two, with the source begun anew between.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipehost_codec::{Decoded, Decoder, Start};
use pipehost_config::{DecodeFormat, Decoding, JsonAttributes, JsonMembers};

/// Records and what is none, with their numbers; none if the rest cannot be decoded.
fn decode(decoder: &mut Decoder, bytes: &[u8], last: bool) -> Option<Vec<(u64, String)>> {
    let mut out = Decoded::default();
    let whole = decoder.decode(bytes, &mut out, |_| false).is_ok();
    if whole && last {
        decoder.end(&mut out).expect("these formats have no header");
    }
    let batch = out.batch.take();
    let records =
        (0..batch.len).map(|row| (batch.origin(row).number, format!("{:?}", batch.record(row))));
    let refused = out.take_undecodable().into_iter().map(|refused| (refused.number, refused.reason));
    let mut all: Vec<_> = records.chain(refused).collect();
    all.sort();
    whole.then_some(all)
}

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (format, cut, bytes) = input;
    let format = match format % 3 {
        0 => DecodeFormat::Lines,
        1 => DecodeFormat::Json(JsonMembers {
            timestamp: Some("t".to_owned()),
            attributes: JsonAttributes::All,
            ..JsonMembers::default()
        }),
        _ => DecodeFormat::Frames,
    };
    let decoding = Decoding { format, max_line_bytes: 30, ..Decoding::default() };
    let new = |number, offset: usize| {
        let start = Start { number, offset: offset as u64, begins: offset == 0, head: Vec::new() };
        Decoder::new(&decoding, "fuzz".into(), &start)
    };
    let Some(whole) = decode(&mut new(0, 0), bytes, true) else { return };
    let cut = usize::from(cut) % (bytes.len() + 1);
    let mut first = new(0, 0);
    let mut parts = decode(&mut first, &bytes[..cut], false).expect("the whole decodes");
    let position = cut - first.begun() as usize;
    let rest = decode(&mut new(first.number(), position), &bytes[position..], true);
    parts.extend(rest.expect("the whole decodes"));
    parts.sort();
    assert_eq!(whole, parts);
});
