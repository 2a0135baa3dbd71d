//! Checks a posted body as a whole.

use anyhow::{Result, anyhow};
use std::fmt::{self, Write as _};

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use pipehost_codec::{Decoded, Decoder, Start, Undecodable};
use pipehost_config::{DecodeFormat, Decoding, JsonLayout};
use pipehost_record::{Batch, MAX_ATTRIBUTES};

/// The most undecodable records that the response lists.
const TOLD: usize = 10;
/// Rows and bytes that are decoded at a time.
const ROWS: usize = 4096;
const BYTES: usize = 1 << 20;

/// A body of which every record decodes.
pub(crate) enum Checked {
    /// The whole body, decoded.
    Batch(Batch),
    /// It is larger than a batch, and kept as bytes, which take less memory.
    Bytes(Vec<u8>),
}

/// Decodes a whole body, and returns its number of records, or says what is wrong with it. With the
/// JSON codec, it may be an array of objects too.
pub(crate) fn check(decoding: &Decoding, bytes: Vec<u8>) -> Result<(Checked, usize)> {
    let is_array = matches!(&decoding.format, DecodeFormat::Json(members) if members.layout == JsonLayout::Lines)
        && bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let bytes = if is_array { array_to_lines(&bytes)? } else { bytes };
    let mut decoder = Decoder::new(decoding, "http".into(), &Start::default());
    let full = |out: &Decoded| {
        out.batch.len() >= ROWS || out.bytes() >= BYTES || out.batch.attributes() >= MAX_ATTRIBUTES
    };
    let mut found = Found::default();
    let mut out = Decoded::default();
    let mut taken = 0;
    while taken < bytes.len() {
        taken +=
            decoder.decode(&bytes[taken..], &mut out, full).map_err(|why| anyhow!("{why:#}\n"))?;
        found.take_mistakes(&mut out);
        if full(&out) {
            found.records += out.batch.take().len;
        }
    }
    decoder.end(&mut out).map_err(|why| anyhow!("{why:#}\n"))?;
    found.take_mistakes(&mut out);
    if found.mistakes > 0 {
        return Err(anyhow!(found.told()));
    }
    let last = out.batch.take();
    let records = found.records + last.len;
    let is_all = last.len == records;
    Ok((if is_all { Checked::Batch(last) } else { Checked::Bytes(bytes) }, records))
}

/// What was found in a body.
#[derive(Default)]
struct Found {
    records: usize,
    mistakes: usize,
    /// The first mistakes, [`TOLD`] at most.
    first: Vec<Undecodable>,
}

impl Found {
    fn take_mistakes(&mut self, out: &mut Decoded) {
        let mistakes = out.take_undecodable();
        self.mistakes += mistakes.len();
        let room = TOLD - self.first.len();
        self.first.extend(mistakes.into_iter().take(room));
    }

    fn told(&self) -> String {
        let mut text = "no record was accepted:\n".to_owned();
        for Undecodable { number, reason, .. } in &self.first {
            let _ = writeln!(text, "record {number}: {reason}");
        }
        if self.mistakes > TOLD {
            let _ = writeln!(text, "and {} more", self.mistakes - TOLD);
        }
        text
    }
}

fn array_to_lines(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let lines = reader.deserialize_seq(Lines);
    let lines = lines.and_then(|lines| reader.end().map(|()| lines));
    lines.map_err(|error| anyhow!("not a JSON array: {error}\n"))
}

/// Writes each element of an array as a line.
struct Lines;

impl<'de> Visitor<'de> for Lines {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<u8>, A::Error> {
        let mut lines = Vec::new();
        while let Some(element) = elements.next_element::<&RawValue>()? {
            // A line break within an element is white space: inside a string it is escaped.
            lines.extend(element.get().bytes().filter(|&byte| byte != b'\n' && byte != b'\r'));
            lines.push(b'\n');
        }
        Ok(lines)
    }
}
