//! Bytes to records and back, on one core, from memory.

use std::time::Duration;

use pipehost_codec::{Decoded, Decoder, Start, encode};
use pipehost_config::{DecodeFormat, Decoding, Encoding, JsonAttributes, JsonMembers};
use pipehost_record::Batch;
use tokio::runtime::Runtime;

use crate::harness::{alternate, figure, median, ratio};
use crate::whole::write_log;

const CHUNK: usize = 256 << 10;

pub fn figures(_: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("in.log");
    write_log(&log);
    let lines = std::fs::read(&log).expect("it was just written");
    let decoding = |format| Decoding { format, max_line_bytes: 1 << 20, ..Decoding::default() };

    let plain = decoding(DecodeFormat::Lines);
    let [decoded, copied] = alternate(5, || decode(&plain, &lines, drop), || copy(&lines));
    let pace = |time: Duration, bytes: usize| {
        format!("{:.2} GB/s", bytes as f64 / time.as_secs_f64() / 1e9)
    };
    figure("lines to batches", &pace(decoded, lines.len()), "1.5 GB/s");
    ratio("  against a copy of the bytes", [decoded, copied], 2e6, "");

    let mut batches = Vec::new();
    decode(&plain, &lines, |batch| batches.push(batch));
    let encode_all = |encoding: &Encoding| {
        let mut out = Vec::with_capacity(1 << 20);
        let mut bytes = 0;
        let start = std::time::Instant::now();
        for batch in &batches {
            out.clear();
            encode(encoding, batch, &mut out);
            bytes += out.len();
        }
        (start.elapsed(), bytes)
    };
    let each = |encoding: &Encoding| {
        let times = (0..5).map(|_| encode_all(encoding).0).collect();
        pace(median(times), encode_all(encoding).1)
    };
    figure("batches to lines", &each(&Encoding::Lines(None)), "1.5 GB/s");
    figure("batches to JSON", &each(&Encoding::Json(Default::default())), "");
    figure("batches to frames", &each(&Encoding::Frames), "");

    let mut frames = Vec::new();
    for batch in batches.iter().take(100) {
        encode(&Encoding::Frames, batch, &mut frames);
    }
    let json: Vec<u8> = (0..400_000)
        .flat_map(|n| {
            format!("{{\"level\":\"INFO\",\"n\":{n},\"text\":\"a message of some length\"}}\n")
                .into_bytes()
        })
        .collect();
    let members = JsonMembers {
        attributes: JsonAttributes::Named(vec!["level".to_owned()]),
        value: Some("text".to_owned()),
        ..JsonMembers::default()
    };
    for (what, format, bytes) in [
        ("frames to batches", DecodeFormat::Frames, &frames),
        ("JSON to batches, one attribute", DecodeFormat::Json(members), &json),
    ] {
        let decoding = decoding(format);
        let times = (0..5).map(|_| decode(&decoding, bytes, drop)).collect();
        figure(what, &pace(median(times), bytes.len()), "");
    }
}

/// The time to make batches of the usual size.
fn decode(decoding: &Decoding, bytes: &[u8], mut take: impl FnMut(Batch)) -> Duration {
    let full = |out: &Decoded| out.batch.len() >= 4096 || out.bytes() >= 1 << 20;
    let mut decoder = Decoder::new(decoding, "bench".into(), &Start::default());
    let mut out = Decoded::default();
    let start = std::time::Instant::now();
    for mut chunk in bytes.chunks(CHUNK) {
        while !chunk.is_empty() {
            let taken = decoder.decode(chunk, &mut out, full).expect("it decodes");
            chunk = &chunk[taken..];
            if full(&out) {
                take(out.batch.take());
            }
        }
    }
    decoder.end(&mut out).expect("it decodes");
    take(out.batch.take());
    start.elapsed()
}

fn copy(bytes: &[u8]) -> Duration {
    let start = std::time::Instant::now();
    for chunk in bytes.chunks(CHUNK) {
        std::hint::black_box(chunk.to_vec());
    }
    start.elapsed()
}
