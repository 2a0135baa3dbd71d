//! What bytes mean: encodings, line ends, times, numbers, CSV. Each has one table, in
//! `tests/tables` or here, for all codecs and stages.

use std::fs;
use std::io::Write as _;

use rusqlite::Connection;

use crate::harness::{Case, Pipeline, plugin, root};

fn table(name: &str) -> String {
    fs::read_to_string(root().join("tests/tables").join(name)).unwrap()
}

/// A file through a codec to JSON, with what a stage between may do.
fn through(codec: &str, stage: &str, input: impl AsRef<[u8]>) -> Case {
    let from = if stage.is_empty() { "in" } else { "stage" };
    Case::new().file("in.txt", input).file(
        "pipeline.toml",
        format!(
            "[pipeline]\ndead_letters = \"dead\"\n\
             [[source]]\nname = \"in\"\ntype = \"file\"\npaths = \"in.txt\"\n\
             codec = {codec}\non_error = \"dead-letter\"\n{stage}\n\
             [[sink]]\nname = \"out\"\ntype = \"stdout\"\ncodec = \"json\"\ninput = \"{from}\"\n"
        ),
    )
}

const MEMBERS: &str = "{ type = \"json\", value = \"v\" }";

#[track_caller]
fn values(case: &Case, expected: &[&str]) {
    let ran = case.pipeline().ok();
    let found: Vec<String> = (ran.stdout.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| record["value"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, expected, "{}", ran.stderr);
}

#[test]
fn bytes_around_records() {
    let lines = "\"lines\"";
    for (codec, input, expected) in [
        (lines, "\u{feff}a\nb\n", &["a", "b"][..]),
        (lines, "\u{feff}", &[]),
        (lines, "\u{feff}\n", &[""]),
        (lines, "\u{feff}\u{feff}a\n", &["\u{feff}a"]),
        (lines, "a\n\u{feff}b\n", &["a", "\u{feff}b"]),
        (lines, "a\r\n\r\nb", &["a", "", "b"]),
        (lines, "a\rb\n", &["a\rb"]),
        (lines, "", &[]),
        (MEMBERS, "\u{feff}{\"v\":1}\n{\"v\":2}", &["1", "2"]),
        (MEMBERS, "\n{\"v\":1}\n\n \t\r\n{\"v\":2}\r\n\n", &["1", "2"]),
        ("\"csv\"", "\u{feff}\"a\nb\",c\r\n\r\n\nd\n", &["\"a\nb\",c", "d"]),
    ] {
        values(&through(codec, "", input), expected);
    }
    // Also where the mark comes in pieces, and in each of several files.
    let case = through("\"lines\"", "", "\u{feff}a\n").file("b.txt", "\u{feff}b\n");
    let text = case.read("pipeline.toml").replace("\"in.txt\"", "\"*.txt\"");
    values(&case.file("pipeline.toml", text), &["b", "a"]);
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[test]
fn utf16_is_recognised_and_read_if_the_codec_says_so() {
    for codec in ["\"lines\"", "\"csv\"", MEMBERS] {
        for text in ["a line\n", "Жа\n", "漢字\n"] {
            for big in [false, true] {
                through(codec, "", utf16(text, big))
                    .pipeline()
                    .code(1)
                    .prints("")
                    .says("it is UTF-16, and the codec reads UTF-8: set charset = \"utf-16\"");
            }
        }
    }
    for text in ["a line", "Жа", "漢字", "\u{1f600}"] {
        for big in [false, true] {
            let codec = "{ type = \"lines\", charset = \"utf-16\" }";
            values(&through(codec, "", utf16(&format!("{text}\r\nb"), big)), &[text, "b"]);
        }
    }
    let latin = "{ type = \"csv\", charset = \"latin1\" }";
    values(&through(latin, "", b"\xe9,\"\xfc\n\"\n"), &["é,\"ü\n\""]);
    // What a pipe brings is looked at, too.
    let case = through("\"lines\"", "", "").stdin(utf16("a\n", false));
    let text = case.read("pipeline.toml").replace("\"file\"\npaths = \"in.txt\"", "\"stdin\"");
    case.file("pipeline.toml", text).pipeline().code(1).says("stdin: it is UTF-16");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn zero_bytes_end_gzip() {
    let members = [gzip("a\n"), gzip("b\n")].concat();
    for zeros in [0, 1, 511, 100_000] {
        let padded = [&members[..], &vec![0; zeros]].concat();
        values(&through("\"lines\"", "", padded), &["a", "b"]);
    }
    let garbage = [&members[..], b"\0\0x"].concat();
    through("\"lines\"", "", garbage).pipeline().code(1).says("data follows the zero padding");
    // On stdin, too.
    let pipeline = Pipeline::new().source("in", "stdin", "").sink("out", "stdout", "");
    let padded = [&members[..], &vec![0; 100_000]].concat();
    let case = Case::new().stdin(&padded).file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().prints("a\nb\n");
}

/// Texts of times, and nanoseconds since the epoch; none, if it is none.
fn times() -> Vec<(String, Option<i64>)> {
    let table = table("times.txt");
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (text, verdict) = line.split_once(" = ").unwrap();
            (text.to_owned(), verdict.parse().ok())
        })
        .collect()
}

#[test]
fn a_time_is_the_same_in_all_codecs_and_stages() {
    let times = times();
    let written = |nanoseconds: i64| jiff::Timestamp::from_nanosecond(nanoseconds.into()).unwrap();
    let expected: Vec<_> =
        times.iter().filter_map(|(_, ns)| ns.map(|ns| written(ns).to_string())).collect();
    let json: String = times
        .iter()
        .map(|(text, _)| serde_json::json!({ "at": text }).to_string() + "\n")
        .collect();
    let stage = |name: &str, config: &str| {
        let plugin = plugin(name);
        format!(
            "[[stage]]\nname = \"stage\"\nplugin = \"{plugin}\"\ninput = \"in\"\n\
             on_error = \"dead-letter\"\nconfig = {config}"
        )
    };
    let logs: String = times.iter().map(|(text, _)| format!("{text} INFO x\n")).collect();
    for case in [
        through("{ type = \"json\", timestamp = \"at\" }", "", &json),
        through("\"lines\"", &stage("parse-json", "{ timestamp = \"at\" }"), &json),
        through("\"lines\"", &stage("parse-log", "{}"), logs),
    ] {
        let ran = case.pipeline().ok();
        let found: Vec<_> = (ran.stdout.lines())
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|record| record["timestamp"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn csv_records_span_lines_and_what_cannot_be_right_is_rejected_whole() {
    let parse = plugin("parse-csv");
    let stage = format!(
        "[[stage]]\nname = \"stage\"\nplugin = \"{parse}\"\ninput = \"in\"\n\
         config = {{ columns = [\"id\", \"text\"] }}"
    );
    let input = "1,\"line one\nline two\"\n2,a \"quote\"\n3,c\n4,\"open\n";
    let case = through("{ type = \"csv\", max_line = \"30B\" }", &stage, input);
    let ran = case.pipeline().ok();
    let records: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<_> = records.iter().map(|record| &record["attributes"]["text"]).collect();
    assert_eq!(texts, ["line one\nline two", "c"]);
    let letters = crate::harness::letters(&case, "dead");
    let letters: Vec<_> = letters.iter().map(|l| (l.number, &*l.value, &*l.reason)).collect();
    assert_eq!(
        letters,
        [
            (3, "2,a \"quote\"", "a quote stands in a field that is not quoted"),
            (5, "4,\"open\n", "a quote is not closed"),
        ]
    );
}

#[test]
fn a_csv_file_is_gone_on_with_at_a_record() {
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", "paths = \"in.csv\"\nfollow = true\ncodec = \"csv\"")
        .sink("out", "file", r#"path = "out.txt""#);
    let case = Case::new()
        .file("in.csv", "1,\"a\nb\"\n2,\"c\n")
        .file("pipeline.toml", pipeline.to_string());
    case.suspended("");
    assert_eq!(case.read("out.txt"), "1,\"a\nb\"\n");
    case.append("in.csv", "d\"\n3,e\n");
    let text = case.read("pipeline.toml").replace("follow = true", "");
    let case = case.file("pipeline.toml", text);
    case.pipeline().ok();
    assert_eq!(case.read("out.txt"), "1,\"a\nb\"\n2,\"c\nd\"\n3,e\n");
}

/// Texts, and of which kinds of numbers each is one.
fn numbers() -> Vec<(String, [bool; 3])> {
    let table = table("numbers.txt");
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (text, kinds) = line.rsplit_once(" =").unwrap();
            (text.to_owned(), ["json", "integer", "real"].map(|kind| kinds.contains(kind)))
        })
        .collect()
}

#[test]
fn what_is_to_be_a_number_is_one_or_is_refused() {
    let numbers = numbers();
    assert!(numbers.len() > 20);
    let input: String = numbers
        .iter()
        .map(|(text, _)| serde_json::json!({ "n": text }).to_string() + "\n")
        .collect();
    let codec = "{ type = \"json\", attributes = [\"n\"] }";
    let numeric = "codec = { type = \"json\", numbers = [\"n\"] }";
    let case = through(codec, "", &input);
    let text = case.read("pipeline.toml").replace("codec = \"json\"", numeric);
    let ran = case.file("pipeline.toml", text).pipeline().ok();
    for ((text, [is_json, ..]), line) in numbers.iter().zip(ran.stdout.lines()) {
        let expected = if *is_json { text.clone() } else { serde_json::json!(text).to_string() };
        assert!(
            line.ends_with(&format!("\"attributes\":{{\"n\":{expected}}}}}")),
            "{text}: {line}"
        );
    }
    for (kind, ty) in [(1, "integer"), (2, "real")] {
        let case = through(codec, "", &input);
        let text = case.read("pipeline.toml").replace(
            "type = \"stdout\"\ncodec = \"json\"",
            &format!(
                "type = \"sqlite\"\npath = \"out.db\"\ntable = \"t\"\non_error = \"dead-letter\"\n\
                 columns = {{ n = {{ from = \"n\", type = \"{ty}\" }} }}"
            ),
        );
        let case = case.file("pipeline.toml", text);
        case.pipeline().ok();
        let refused: Vec<_> =
            numbers.iter().filter(|(_, is)| !is[kind]).map(|(text, _)| text.clone()).collect();
        let connection = Connection::open(case.path("out.db")).unwrap();
        let count = |condition: &str| -> usize {
            let query = format!("SELECT count(*) FROM t WHERE {condition}");
            connection.query_row(&query, [], |row| row.get::<_, i64>(0)).unwrap() as usize
        };
        assert_eq!(count("1"), numbers.len() - refused.len(), "{ty}");
        assert_eq!(count(&format!("typeof(n) = '{ty}'")), count("1"));
        // As a text, 9 would be more than 100.
        let more = (numbers.iter())
            .filter(|(text, is)| is[kind] && text.parse::<f64>().unwrap() > 100.0)
            .count();
        assert_eq!(count("n > 100"), more, "{ty}");
        let letters = crate::harness::letters(&case, "dead");
        assert_eq!(letters.len(), refused.len());
        assert!(letters[0].reason.contains("for the column \"n\""), "{letters:?}");
    }
}

#[test]
fn members_that_are_called_like_parts_of_a_record_can_be_reached() {
    let template = "{attribute:value} {attribute:key} {attribute:timestamp} {x} {attribute:x} \
                    [{key}{timestamp}]";
    let sink = format!("codec = {{ type = \"lines\", template = \"{template}\" }}");
    let pipeline = Pipeline::new()
        .source(
            "in",
            "file",
            "paths = \"in.json\"\ncodec = { type = \"json\", attributes = \"*\" }",
        )
        .sink("out", "stdout", &sink);
    let case = Case::new()
        .file("in.json", "{\"value\":1,\"key\":2,\"timestamp\":3,\"x\":4}\n")
        .file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().prints("1 2 3 4 4 []\n");
}

#[test]
fn json_path_matches_and_searches_in_the_sandbox_too() {
    let plugin = plugin("json-path");
    let stage = format!(
        "[[stage]]\nname = \"stage\"\nplugin = \"{plugin}\"\ninput = \"in\"\n\
         config = {{ value = \"$[?match(@.a, 'b.*') && search(@.a, '[cd]')].n\" }}"
    );
    let input = "[{\"a\":\"xbc\",\"n\":1},{\"a\":\"bd\",\"n\":2}]\n";
    values(&through("\"lines\"", &stage, input), &["2"]);
}

/// The parts of a record in JSON, a line each.
#[track_caller]
fn prints(pipeline: &str, input: impl AsRef<[u8]>, expected: &[&str]) {
    let case = Case::new().file("in.txt", input).file("pipeline.toml", pipeline);
    let ran = case.pipeline().ok();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected, "{}", ran.stderr);
}

#[test]
fn json_values_over_lines_and_in_arrays_are_records() {
    let codec = "{ type = \"json\", layout = \"values\", value = \"v\" }";
    let input =
        "[\n  { \"v\": 1 },\n  { \"v\": \"a\\nb\",\n    \"w\": [1] }\n]\n{\"v\":3}{\"v\":4}";
    values(&through(codec, "", input), &["1", "a\nb", "3", "4"]);
    let case = through(codec, "", "[{\"v\":1},");
    case.pipeline().ok().says("in: 1 records are in the dead letters");
    assert_eq!(
        crate::harness::letters(&case, "dead")[0].reason,
        "the input ends within an array: its `]` is missing"
    );
}

#[test]
fn csv_is_written_with_a_header_in_each_file() {
    let pipeline = |sink: &str| {
        format!(
            "[[source]]\nname = \"in\"\ntype = \"file\"\npaths = \"in.txt\"\n\
             codec = {{ type = \"csv\", header = true, key = \"id\" }}\nbatch = {{ records = 1 }}\n\
             [[sink]]\nname = \"out\"\ninput = \"in\"\n{sink}\n\
             codec = {{ type = \"csv\", columns = [\"key\", \"name\", \"none\"], delimiter = \";\" }}\n"
        )
    };
    let input = "id,name\n1,\"a;b\"\n2,\"c\"\"d\ne\"\n3,\n";
    let rows = ["1;\"a;b\";", "2;\"c\"\"d", "e\";", "3;;"];
    let all = ["key;name;none", rows[0], rows[1], rows[2], rows[3]];
    prints(&pipeline("type = \"stdout\""), input, &all);
    let sink = "type = \"file\"\npath = \"out.csv\"\nrotate = { size = \"1B\" }";
    let case = Case::new().file("in.txt", input).file("pipeline.toml", pipeline(sink));
    case.pipeline().ok();
    for (file, rows) in
        [("out.csv.1", &rows[..1]), ("out.csv.2", &rows[1..3]), ("out.csv", &rows[3..])]
    {
        assert_eq!(case.read(file), format!("key;name;none\n{}\n", rows.join("\n")));
    }
    // What is added to a file has no second header.
    let sink = "type = \"file\"\npath = \"out.csv\"\nappend = true";
    let case = Case::new().file("in.txt", input).file("pipeline.toml", pipeline(sink));
    case.pipeline().ok();
    case.pipeline().ok();
    assert_eq!(case.read("out.csv").matches("key;name;none").count(), 1);
    assert_eq!(case.read("out.csv").lines().count(), 9);
    // Nor are other columns added to it, with a state or without.
    let other = |text: &str| text.replace("\"name\", \"none\"", "\"name\"");
    fs::write(case.path("pipeline.toml"), other(&pipeline(sink))).unwrap();
    case.pipeline().code(1).says("will not add to").says("it begins with other columns");
    assert_eq!(case.read("out.csv").lines().count(), 9);
    let sink = "type = \"file\"\npath = \"out.csv\"";
    let kept = format!("[pipeline]\nstate = \"state\"\n{}", pipeline(sink));
    let case = Case::new().file("in.txt", input).file("pipeline.toml", &kept);
    case.pipeline().ok();
    fs::write(case.path("pipeline.toml"), other(&kept)).unwrap();
    case.append("in.txt", "4,x\n");
    case.pipeline()
        .code(1)
        .says("cannot go on with")
        .says("other columns")
        .says("Write it as before");
    fs::write(case.path("pipeline.toml"), kept).unwrap();
    case.pipeline().ok();
    assert_eq!(case.read("out.csv").lines().last(), Some("4;x;"));
}

/// What a run that was killed leaves behind could not be read with something behind it.
#[test]
fn nothing_is_added_within_a_compressed_member() {
    for (name, whole) in
        [("gzip", gzip("a\n")), ("zstd", zstd::encode_all(&b"a\n"[..], 3).unwrap())]
    {
        let sink = format!("path = \"out\"\nappend = true\ncompression = \"{name}\"");
        let pipeline = Pipeline::new().source("in", "stdin", "").sink("out", "file", &sink);
        let case = Case::new().stdin("b\n").file("pipeline.toml", pipeline.to_string());
        let torn = [&whole[..], &whole[..whole.len() - 3]].concat();
        fs::write(case.path("out"), &torn).unwrap();
        let why = format!("it does not end as {name} ends");
        case.pipeline().code(1).says("will not add to").says(&why);
        assert_eq!(fs::read(case.path("out")).unwrap(), torn);
        fs::write(case.path("out"), "plain").unwrap();
        let why = format!("what is in it is not compressed, and `compression` says {name}");
        case.pipeline().code(1).says(&why);
        fs::write(case.path("out"), &whole).unwrap();
        case.pipeline().ok();
        let written = fs::read(case.path("out")).unwrap();
        let read = match name {
            "gzip" => {
                std::io::read_to_string(flate2::read::MultiGzDecoder::new(&*written)).unwrap()
            }
            _ => String::from_utf8(zstd::decode_all(&*written).unwrap()).unwrap(),
        };
        assert_eq!(read, "a\nb\n");
    }
}

/// Of what is not compressed, any bytes may come first.
#[test]
fn a_plain_file_that_begins_like_a_compressed_one_is_added_to() {
    let sink = "path = \"out\"\nappend = true";
    let pipeline = Pipeline::new().source("in", "stdin", "").sink("out", "file", sink);
    let case = Case::new().stdin("x\n").file("pipeline.toml", pipeline.to_string());
    fs::write(case.path("out"), b"\x1f\x8b is no gzip\n").unwrap();
    case.pipeline().ok();
    assert_eq!(fs::read(case.path("out")).unwrap(), b"\x1f\x8b is no gzip\nx\n");
    // A line that has no end gets one.
    fs::write(case.path("out"), "half").unwrap();
    case.pipeline().ok().says("the last line of").says("has no end: one is added");
    assert_eq!(case.read("out"), "half\nx\n");
}

#[test]
fn a_header_that_cannot_be_right_ends_the_run() {
    let pipeline = "[[source]]\nname = \"in\"\ntype = \"file\"\npaths = \"in.txt\"\n\
                    codec = { type = \"csv\", header = true }\n\
                    [[sink]]\nname = \"out\"\ninput = \"in\"\ntype = \"stdout\"\n";
    for (input, why) in [
        ("a,a\n1,2\n", "in.txt, line 1: the header has the name \"a\" twice"),
        ("a,\"b\n1,2\n", "in.txt, line 1: in the header, a quote is not closed"),
    ] {
        let case = Case::new().file("in.txt", input).file("pipeline.toml", pipeline);
        case.pipeline().code(1).says(why).prints("");
    }
}

#[test]
fn what_is_compressed_is_read_from_stdin_and_written_to_files() {
    let text = "one\ntwo\nthree\n";
    for (name, bytes) in [
        ("gzip", gzip(text)),
        ("zstd", zstd::encode_all(text.as_bytes(), 3).unwrap()),
        ("none", text.as_bytes().to_vec()),
    ] {
        let compression =
            if name == "none" { String::new() } else { format!("compression = \"{name}\"") };
        let pipeline = Pipeline::new().source("in", "stdin", "").sink(
            "out",
            "file",
            &format!("path = \"out\"\n{compression}"),
        );
        let case = Case::new().stdin(&bytes).file("pipeline.toml", pipeline.to_string());
        case.pipeline().ok();
        let written = fs::read(case.path("out")).unwrap();
        let read = match name {
            "gzip" => {
                std::io::read_to_string(flate2::read::MultiGzDecoder::new(&*written)).unwrap()
            }
            "zstd" => String::from_utf8(zstd::decode_all(&*written).unwrap()).unwrap(),
            _ => String::from_utf8(written).unwrap(),
        };
        assert_eq!(read, text, "{name}");
        // A stream that breaks off says so.
        if name != "none" {
            let torn = Case::new()
                .stdin(&bytes[..bytes.len() - 4])
                .file("pipeline.toml", pipeline.to_string());
            torn.pipeline().code(1).says("cannot read stdin: ");
        }
    }
    // Bytes that only begin like it.
    let pipeline = Pipeline::new().source("in", "stdin", "").sink("out", "stdout", "");
    for bytes in [&b"\x1f"[..], b"\x28\xb5", b"\x28\n"] {
        let ran =
            Case::new().stdin(bytes).file("pipeline.toml", pipeline.to_string()).pipeline().ok();
        assert_eq!(ran.stdout.lines().count(), 1);
    }
}

#[test]
fn a_compressed_file_goes_on_in_the_next_run_and_is_not_mixed() {
    let pipeline = |compression: &str| {
        Pipeline::with("state = \"state\"")
            .source("in", "file", "paths = \"in.txt\"\nfollow = false")
            .sink("out", "file", &format!("path = \"out.gz\"\n{compression}"))
            .to_string()
    };
    let gzip = "compression = \"gzip\"";
    let case = Case::new().file("in.txt", "a\n").file("pipeline.toml", pipeline(gzip));
    case.pipeline().ok();
    case.append("in.txt", "b\n");
    case.pipeline().ok();
    let read = || {
        let written = fs::read(case.path("out.gz")).unwrap();
        std::io::read_to_string(flate2::read::MultiGzDecoder::new(&*written)).unwrap()
    };
    assert_eq!(read(), "a\nb\n");
    fs::write(case.path("pipeline.toml"), pipeline("")).unwrap();
    case.append("in.txt", "c\n");
    case.pipeline()
        .code(1)
        .says("cannot go on with")
        .says("what is in it is gzip, and `compression` says not compressed. Write it as before;");
    assert_eq!(read(), "a\nb\n");
    fs::write(case.path("pipeline.toml"), pipeline(gzip)).unwrap();
    case.pipeline().ok();
    assert_eq!(read(), "a\nb\nc\n");
}

#[test]
fn a_long_line_is_truncated_if_the_codec_says_so() {
    let codec = |then: &str| {
        format!("{{ type = \"lines\", max_line = {{ bytes = \"3B\", then = \"{then}\" }} }}")
    };
    let case = through(&codec("truncate"), "", "abcdef\nab\n");
    let out = case.pipeline().ok().stdout;
    assert_eq!(
        out,
        "{\"value\":\"abc\",\"attributes\":{\"truncated\":\"6\"}}\n{\"value\":\"ab\"}\n"
    );
    values(&through(&codec("reject"), "", "abcdef\nab\n"), &["ab"]);
    let json = codec("truncate").replace("lines", "json");
    through(&json, "", "").pipeline().code(2).says("only `lines` can be truncated");
}

#[test]
fn mistakes_in_codecs_are_told() {
    for (codec, why) in [
        ("{ type = \"lines\", charset = \"utf-9\" }", "\"utf-9\" is not known"),
        ("{ type = \"lines\", charset = \"shift_jis\" }", "\"shift_jis\" is not known"),
        ("{ type = \"lines\", multiline = {} }", "needs one of `begins`, `continues` and `ends`"),
        ("{ type = \"lines\", multiline = { begins = \"a\", ends = \"b\" } }", "needs one of"),
        ("{ type = \"lines\", multiline = { begins = \"(\" } }", "unclosed group"),
        (
            "{ type = \"csv\", header = true, columns = [\"a\"] }",
            "give either `header = true` or `columns`",
        ),
        ("{ type = \"csv\", key = \"a\" }", "`key`, \"a\", needs"),
        ("{ type = \"csv\", columns = [\"a\", \"a\"] }", "names \"a\" twice"),
        ("{ type = \"csv\", columns = [\"a\"], key = \"b\" }", "is none of `columns`"),
        ("{ type = \"json\", layout = \"array\" }", "`layout` is \"lines\" or \"values\""),
    ] {
        through(codec, "", "").pipeline().code(2).says(why);
    }
    let sink = "[[source]]\nname = \"in\"\ntype = \"stdin\"\n\
                [[sink]]\nname = \"out\"\ntype = \"stdout\"\ninput = \"in\"\ncodec = \"csv\"\n";
    Case::new().file("pipeline.toml", sink).pipeline().code(2).says("needs `columns`");
}
