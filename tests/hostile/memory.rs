//! Memory: an answer within its limits costs what the limits say, whatever it becomes.

use fastrand::Rng;

use crate::harness::{Case, Pipeline};
use crate::support::{PROGRAM, run_limited};

/// What the stages of these tests may answer.
const OUTPUT: usize = 8 << 20;
/// A batch, and what it may become on its way: ten times what the limits allow.
const BOUND: usize = PROGRAM + 10 * (OUTPUT + (1 << 20));

/// What a guest answers to every batch.
struct Answer {
    outputs: usize,
    /// None: all rows of the input.
    fresh: Option<usize>,
    attributes: usize,
    /// Bytes of each of their names, of which the last four tell them apart.
    name: usize,
}

/// So many rows, with so many attributes that hold nothing.
pub fn fresh(rows: usize, attributes: usize, name: usize) -> String {
    guest(&Answer { outputs: 1, fresh: Some(rows), attributes, name })
}

/// A guest that makes its answer with loops.
fn guest(answer: &Answer) -> String {
    let Answer { outputs, fresh, attributes, name } = answer;
    let rows = fresh.unwrap_or(1);
    let (which, count) = if fresh.is_some() { (2, rows) } else { (0, 0) };
    let ends = 1 << 20;
    let names = ends + 4 * rows;
    let changes = (names + attributes * name).next_multiple_of(4);
    let outs = changes + 40 * attributes;
    let pages = (outs + 132 * outputs) / 65536 + 2;
    crate::harness::assemble(&format!(
        r#"
(global $made (mut i32) (i32.const 0))
(func $make
  (local $i i32) (local $at i32)
  (drop (memory.grow (i32.const {pages})))
  (memory.fill (i32.const {names}) (i32.const 97) (i32.const {all_names}))
  (local.set $at (i32.const {changes}))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (i32.const {attributes})))
    (i32.store (local.get $at) (i32.add (i32.const {names}) (i32.mul (local.get $i) (i32.const {name}))))
    (i32.store offset=4 (local.get $at) (i32.const {name}))
    (i32.store offset=8 (local.get $at) (i32.const {ends}))
    (i32.store offset=12 (local.get $at) (i32.const {rows}))
    (call $number (local.get $i)
      (i32.add (i32.const {names}) (i32.sub (i32.mul (i32.add (local.get $i) (i32.const 1)) (i32.const {name})) (i32.const 4))))
    (local.set $at (i32.add (local.get $at) (i32.const 40)))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  (local.set $i (i32.const 0))
  (local.set $at (i32.const {outs}))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (i32.const {outputs})))
    (i32.store offset=4 (local.get $at) (i32.const {which}))
    (i32.store offset=8 (local.get $at) (i32.const {count}))
    (i32.store offset=108 (local.get $at) (i32.const {changes}))
    (i32.store offset=112 (local.get $at) (i32.const {attributes}))
    (local.set $at (i32.add (local.get $at) (i32.const 132)))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  (i32.store (i32.const 260) (i32.const {outs}))
  (i32.store (i32.const 264) (i32.const {outputs})))
;; Four letters for a number.
(func $number (param $n i32) (param $at i32)
  (i32.store8 offset=0 (local.get $at) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $n) (i32.const 12)) (i32.const 15))))
  (i32.store8 offset=1 (local.get $at) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $n) (i32.const 8)) (i32.const 15))))
  (i32.store8 offset=2 (local.get $at) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $n) (i32.const 4)) (i32.const 15))))
  (i32.store8 offset=3 (local.get $at) (i32.add (i32.const 97) (i32.and (local.get $n) (i32.const 15)))))
(func $process (param i32) (result i32)
  (if (i32.eqz (global.get $made)) (then (call $make) (global.set $made (i32.const 1))))
  (i32.const 256))
"#,
        all_names = attributes * name,
    ))
}

/// Runs it into every codec, and into the dead letters.
fn run(guests: &[String], input: &str, source: &str) {
    let limits =
        "queue = 1\nlimits = { output = \"8MiB\", memory = \"64MiB\" }\non_error = \"skip\"";
    let source = format!("paths = \"in.txt\"\n{source}");
    let mut pipeline = Pipeline::with(r#"dead_letters = "dead""#).source("in", "file", &source);
    for n in 0..guests.len() {
        pipeline = pipeline.stage(&format!("g{n}"), &format!("g{n}.wat"), limits);
    }
    for codec in ["json", "frames", "lines"] {
        let sink = format!("path = \"out-{codec}\"\ncodec = \"{codec}\"\nqueue = 1");
        pipeline = pipeline.sink(codec, "file", &sink);
    }
    let pipeline = pipeline
        .stage("refuses", "double", "on_error = \"dead-letter\"\nqueue = 1")
        .sink("none", "null", "");
    let mut case = Case::new().file("pipeline.toml", pipeline.to_string()).file("in.txt", input);
    for (n, guest) in guests.iter().enumerate() {
        case = case.file(&format!("g{n}.wat"), guest);
    }
    let ran = run_limited(&case, &["run", "pipeline.toml"], BOUND);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn names_that_every_row_is_written_with() {
    run(&[fresh(20_000, 1, 1024)], "x\n", "");
    run(&[fresh(2_000, 1, 1024)], "x\n", "");
    run(&[fresh(300, 1000, 16)], "x\n", "");
}

#[test]
fn many_outputs_of_one_record() {
    let wide = fresh(1, 1000, 5);
    for outputs in [100, 90_000] {
        let many = Answer { outputs, fresh: None, attributes: 0, name: 0 };
        run(&[wide.clone(), guest(&many)], "x\n", "");
        // Of a batch that is divided, too.
        run(&[wide.clone(), guest(&many)], "x\nx\nx\nx\n", "batch = { linger = \"1h\" }");
    }
}

/// A guest that answers so many times the first row, and fails at more than one.
fn repeat_first(times: usize) -> String {
    let rows = 1 << 20;
    let pages = 4 * times / 65536 + 17;
    crate::harness::assemble(&format!(
        r#"
(func $process (param $batch i32) (result i32)
  (if (i32.ne (i32.load (local.get $batch)) (i32.const 1)) (then (unreachable)))
  (if (i32.lt_u (memory.size) (i32.const {pages})) (then (drop (memory.grow (i32.const {pages})))))
  (i32.store (i32.const 324) (i32.const 1))
  (i32.store (i32.const 328) (i32.const {rows}))
  (i32.store (i32.const 332) (i32.const {times}))
  (i32.const 256))
"#
    ))
}

#[test]
fn one_wide_row_many_times() {
    for (rows, times) in [(1, 1_000_000), (64, 1_000), (64, 16_000)] {
        run(&[fresh(rows, 1000, 5), repeat_first(times)], "x\n", "");
    }
}

#[test]
fn a_long_reason_for_many_records() {
    // The characters are shown as escapes, which are longer.
    let fails = crate::harness::assemble(
        r#"
(func $process (param i32) (result i32)
  (if (i32.lt_u (memory.size) (i32.const 80)) (then (drop (memory.grow (i32.const 80)))))
  (memory.fill (i32.const 65536) (i32.const 27) (i32.const 2000))
  (i32.store8 (i32.const 256) (i32.const 1))
  (i32.store (i32.const 260) (i32.const 65536))
  (i32.store (i32.const 264) (i32.const 2000))
  (i32.const 256))
"#,
    );
    // Without a breaker each is tried on its own.
    let breaker = "breaker = { failures = 3, on_open = \"dead-letter\" }";
    for (on_error, breaker, records, shown) in [
        ("skip", "", 40_000, "40,000"),
        ("dead-letter", "", 40_000, "40,000"),
        ("skip", breaker, 1_000_000, "1,000,000"),
        ("dead-letter", breaker, 300_000, "300,000"),
    ] {
        let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
            .source("in", "file", r#"paths = "in.txt""#)
            .stage("many", "many.wat", r#"limits = { output = "8MiB" }"#)
            .stage("fails", "fails.wat", &format!("on_error = \"{on_error}\"\n{breaker}"))
            .sink("out", "null", "");
        let case = Case::new()
            .file("in.txt", "x\n")
            .file("many.wat", fresh(records, 0, 0))
            .file("fails.wat", &fails)
            .file("pipeline.toml", pipeline.to_string());
        let ran =
            run_limited(&case, &["run", "pipeline.toml"], PROGRAM + (24 << 20) + 64 * records);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("fails: {shown} records")), "{}", ran.stderr);
    }
}

#[test]
fn any_answer_within_all_limits() {
    let mut random = Rng::with_seed(9);
    for _ in 0..12 {
        let attributes = random.usize(0..60);
        let answer = Answer {
            outputs: random.usize(1..20),
            fresh: Some(random.usize(1..3_000)),
            attributes,
            name: random.usize(4..200),
        };
        run(&[guest(&answer)], "x\ny\n", "batch = { records = 1 }");
    }
}

#[test]
fn large_batches_before_a_stage_with_state() {
    // Each is 6 MB, and is kept until the state is saved.
    let line = format!("{}\n", "x".repeat(6_000_000));
    let codec = r#"codec = { type = "lines", max_line = "8MiB" }"#;
    let pipeline = Pipeline::with("state = \"state\"\ncheckpoint_interval = \"1h\"")
        .source("in", "file", &format!("paths = \"in.txt\"\nbatch = {{ records = 1 }}\n{codec}"))
        .stage("keeps", "dedupe", "queue = 1")
        .sink("out", "null", "");
    let case =
        Case::new().file("in.txt", line.repeat(40)).file("pipeline.toml", pipeline.to_string());
    let ran = run_limited(&case, &["run", "pipeline.toml"], BOUND + (64 << 20));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn a_frame_with_more_than_a_record_may_have() {
    // A frame is `PH`, its version, its kind, its length and CRC-32, and a postcard of the
    // record: no time, no key, no value, and 60 million attributes without name or value.
    let mut payload = vec![0, 0, 0, 0x80, 0x8e, 0xce, 0x1c];
    payload.resize(payload.len() + 2 * 60_000_000, 0);
    let mut crc = crc32fast::Hasher::new();
    crc.update(b"R");
    crc.update(&payload);
    let mut frame = b"PH\x03R".to_vec();
    frame.extend((payload.len() as u32).to_le_bytes());
    frame.extend(crc.finalize().to_le_bytes());
    frame.extend(&payload);
    let pipeline = Pipeline::new()
        .source("in", "file", "paths = \"in.frames\"\ncodec = \"frames\"")
        .sink("out", "null", "");
    let case = Case::new().file("in.frames", &frame).file("pipeline.toml", pipeline.to_string());
    let ran = run_limited(&case, &["run", "pipeline.toml"], PROGRAM + 3 * frame.len());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("frame 1 of in.frames: the frame does not decode"), "{ran:?}");
}

#[test]
fn lines_that_do_not_decode_are_settled_a_few_at_a_time() {
    let input = "1\n".repeat(500_000);
    let source = "paths = \"in.json\"\ncodec = \"json\"\non_error = \"dead-letter\"";
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", source)
        .sink("out", "null", "");
    let case = Case::new().file("in.json", &input).file("pipeline.toml", pipeline.to_string());
    let ran = run_limited(&case, &["run", "pipeline.toml"], PROGRAM + 20 * input.len());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("in: 500,000 records are in the dead letters"), "{ran:?}");
}
