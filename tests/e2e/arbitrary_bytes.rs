//! Whatever bytes come in: an answer, and never a panic. Where something decodes, it is
//! the same however it is cut.

use std::path::Path;

use pipehost_codec::{Decoded, Decoder, Start, encode, frames};
use pipehost_config::graph::{self, DeclaredStages};
use pipehost_config::mistake;
use pipehost_config::{
    self as config, Charset, Csv, CsvColumns, DecodeFormat, Decoding, Encoding, JsonMembers,
    LineRule, Multiline, TooLong,
};
use pipehost_record::{BatchBuilder, Record};
use pipehost_sandbox::contract::bindings::records as contract;
use pipehost_sandbox::contract::outcome;
use pipehost_sandbox::contract::plan::{Given, Plan};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes that often mean something: lines, JSON, frames, whole or damaged.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let frame = any::<(Option<i64>, Vec<u8>)>().prop_map(|(timestamp, value)| {
        let mut bytes = Vec::new();
        let record = Record { timestamp, value: Some(value), ..Record::default() };
        frames::write_record(&record, &mut bytes);
        bytes
    });
    let piece = prop_oneof![
        vec(any::<u8>(), 0..20),
        Just(b"a line\n".to_vec()),
        Just(b"with a return\r\n".to_vec()),
        Just(b"much longer than max_line allows it to be\n".to_vec()),
        Just(b"{\"a\":1,\"at\":\"2024-01-01T00:00:00Z\"}\n".to_vec()),
        frame,
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn decoding() -> impl Strategy<Value = Decoding> {
    let members = JsonMembers { timestamp: Some("at".to_owned()), ..JsonMembers::default() };
    let csv = |columns| DecodeFormat::Csv(Csv { delimiter: b',', columns, key: None });
    let multiline = |rule| DecodeFormat::Multiline(Multiline { rule, timeout: None, most: 3 });
    let format = prop_oneof![
        Just(DecodeFormat::Lines),
        Just(multiline(LineRule::Begins("^[a-z]".into()))),
        Just(multiline(LineRule::Continues("^[^a]".into()))),
        Just(multiline(LineRule::Ends("[a-m]$".into()))),
        Just(csv(CsvColumns::None)),
        Just(csv(CsvColumns::Header)),
        Just(DecodeFormat::Json(members)),
        Just(DecodeFormat::Frames)
    ];
    let charset = prop_oneof![
        3 => Just(Charset::Utf8),
        1 => Just(Charset::Utf16),
        1 => Just(Charset::Other(encoding_rs::WINDOWS_1252)),
    ];
    (format, charset, any::<bool>()).prop_map(|(format, charset, truncates)| {
        let is_lines = matches!(format, DecodeFormat::Lines | DecodeFormat::Multiline(_));
        let too_long = if is_lines && truncates { TooLong::Truncate } else { TooLong::Reject };
        let charset = if format == DecodeFormat::Frames { Charset::Utf8 } else { charset };
        Decoding { format, max_line_bytes: 30, too_long, charset, ..Decoding::default() }
    })
}

/// What comes out of a decoder: records and what is none, in order, with their numbers.
fn drain(out: &mut Decoded, into: &mut Vec<(u64, String)>) {
    let batch = out.batch.take();
    into.extend(
        (0..batch.len).map(|row| (batch.origin(row).number, format!("{:?}", batch.record(row)))),
    );
    into.extend(out.take_undecodable().into_iter().map(|u| (u.number, u.reason)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A run that stops anywhere and goes on from its position gives what one run gives.
    #[test]
    fn going_on_from_a_position_gives_the_rest(
        bytes in input(),
        decoding in decoding(),
        cut in any::<prop::sample::Index>(),
        limit in 1usize..4,
    ) {
        let mut whole = Vec::new();
        let mut decoder = Decoder::new(&decoding, "test".into(), &Start::default());
        let mut out = Decoded::default();
        let complete = decoder.decode(&bytes, &mut out, |_| false)
            .and_then(|_| decoder.end(&mut out))
            .is_ok();
        drain(&mut out, &mut whole);

        let mut parts = Vec::new();
        let mut decoder = Decoder::new(&decoding, "test".into(), &Start::default());
        let mut fed = 0;
        let stop = cut.index(bytes.len() + 1);
        let mut failed = false;
        while fed < stop && !failed {
            match decoder.decode(&bytes[fed..stop], &mut out, |out| out.batch.len() >= limit) {
                Ok(taken) => fed += taken,
                Err(_) => failed = true,
            }
            drain(&mut out, &mut parts);
        }
        if !failed {
            let position = fed - decoder.begun() as usize;
            let start = Start {
                number: decoder.number(),
                offset: position as u64,
                begins: position == 0,
                head: bytes.clone(),
            };
            let mut decoder = Decoder::new(&decoding, "test".into(), &start);
            failed = decoder.decode(&bytes[position..], &mut out, |_| false)
                .and_then(|_| decoder.end(&mut out))
                .is_err();
            drain(&mut out, &mut parts);
        }
        prop_assert_eq!(failed, !complete);
        whole.sort();
        parts.sort();
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn a_frame_is_read_as_it_was_written_or_refused(bytes in input()) {
        if let Ok(Some((frames::Frame::Record(record), length))) = frames::read(&bytes) {
            let mut again = Vec::new();
            frames::write_record(&record, &mut again);
            prop_assert_eq!(frames::read(&again).unwrap(), Some((frames::Frame::Record(record), again.len())));
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn a_configuration_is_read_or_every_mistake_can_be_shown(
        lines in vec(prop_oneof![
            "[a-z_]{1,8} = (\"[a-z.{}]{0,8}\"|[0-9]{1,3}|true|\\[\\]|\\{ [a-z_]{1,8} = \"[a-z0-9]{0,5}\" \\})",
            Just("[pipeline]".to_owned()),
            Just("[[source]]".to_owned()),
            Just("[[stage]]".to_owned()),
            Just("[[sink]]".to_owned()),
            Just("name = \"in\"".to_owned()),
            Just("input = [\"in\", \"in.port\"]".to_owned()),
            Just("type = \"file\"".to_owned()),
            Just("type = \"http\"".to_owned()),
            Just("watermark = { lag = \"1s\" }".to_owned()),
            ".{0,12}",
        ], 0..20)
    ) {
        let text = lines.join("\n");
        let (config, mut mistakes) = config::read(&text, Path::new("folder"));
        let (_, found) = graph::check(&config, &DeclaredStages::new());
        mistakes.extend(found);
        mistake::render(&mistakes, Path::new("p.toml"), &text, false);
    }

    /// What a stage answers is refused, or it is a batch that holds together.
    #[test]
    fn an_outcome_is_refused_or_holds_together(
        rows in prop_oneof![
            Just(contract::Rows::All),
            vec(0u32..5, 0..6).prop_map(contract::Rows::Picked),
            (0u32..5).prop_map(contract::Rows::Fresh),
        ],
        port in 0u32..3,
        changes in vec((vec(0u32..9, 0..5), vec(any::<u8>(), 0..9), vec(0u32..5, 0..3), vec(0u32..5, 0..3)), 3),
        timestamps in proptest::option::of((vec(any::<i64>(), 0..5), vec(0u32..5, 0..3))),
        name in prop_oneof![Just("level"), Just(""), Just("new")],
        excerpts in vec((0u32..6, vec((0u32..21, 0u32..21), 4), vec(0u32..5, 0..2)), 0..3),
        plain in any::<bool>(),
        rejected in vec(0u32..5, 0..3),
        with_input in any::<bool>(),
    ) {
        let mut builder = BatchBuilder::default();
        for number in 1..=4 {
            let attributes = [("level", &b"INFO"[..])].into_iter().filter(|_| number % 2 == 0);
            builder.push(&"test".into(), number, Some(0), None, Some(b"value"), attributes);
        }
        let input = builder.take();
        let plan = Plan { value: true, attributes: vec!["level".to_owned()], ..Plan::default() };
        let given = Given::new(&plan, &input);
        let excerpts = excerpts
            .into_iter()
            .map(|(columns, parts, inherited)| contract::Excerpt {
                to: match columns % 3 {
                    0 => contract::Target::Value,
                    1 => contract::Target::Key,
                    _ => contract::Target::Attribute("new".to_owned()),
                },
                from: match columns % 2 {
                    0 => contract::Given::Value,
                    _ => contract::Given::Attribute(0),
                },
                starts: parts.iter().map(|(a, b)| *a.min(b)).collect(),
                ends: parts.iter().map(|(a, b)| *a.max(b)).collect(),
                nulls: Vec::new(),
                inherited,
            })
            .collect();
        // Most of what is arbitrary is refused; with nothing but excerpts, some is not.
        let changes = if plain { Vec::new() } else { changes };
        let mut changes = changes.into_iter().map(|(ends, data, nulls, inherited)| {
            contract::Change { ends, data, nulls, inherited }
        });
        let port = if plain { 0 } else { port };
        let rows = if plain { contract::Rows::All } else { rows };
        let timestamps = timestamps.filter(|_| !plain);
        let rejected = if plain { Vec::new() } else { rejected };
        let output = contract::Output {
            port,
            rows,
            timestamps: timestamps
                .map(|(timestamps, inherited)| contract::TimestampsChange { timestamps, inherited }),
            key: changes.next(),
            value: changes.next(),
            attributes: changes
                .map(|change| contract::AttributeChange { name: name.to_owned(), change })
                .collect(),
            removed: vec!["level".to_owned()],
            excerpts,
        };
        let rejected = rejected
            .into_iter()
            .map(|row| contract::Rejection { row, reason: String::new(), retryable: false })
            .collect();
        let answer = outcome::join(
            with_input.then_some((&input, &given)),
            2,
            &"stage".into(),
            contract::Outcome { outputs: vec![output], rejected },
        );
        for emitted in answer.into_iter().flat_map(|answer| answer.emitted) {
            let mut text = Vec::new();
            encode(&Encoding::Json(Default::default()), &emitted.batch, &mut text);
            prop_assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), emitted.batch.len);
            let rows = 0..emitted.batch.len;
            rows.for_each(|row| drop((emitted.batch.record(row), emitted.batch.origin(row))));
        }
    }
}
