//! Every limit, obeyed and violated. A stage that breaks one loses the record that it
//! broke it on, and nobody else loses anything.

use crate::harness::StageCase;

fn guest(name: &str) -> StageCase {
    StageCase::guest(name).input(&["a", "b", "c"])
}

fn limits(name: &str, limits: &str) -> StageCase {
    guest(name).settings(&format!("limits = {{ {limits} }}"))
}

#[test]
fn fuel() {
    limits("work", "fuel = 20_000_000").passes();
    limits("work", "fuel = 1_000_000").refuses("fuel: it used up its fuel");
    // So much a record: three of them may do together what one may not.
    limits("work", "fuel = 0, fuel_per_record = 20_000_000").passes();
    limits("work", "fuel = 0, fuel_per_record = 1_000_000").refuses("fuel: ");
    // And so much a byte of what the stage reads, which is one here for each record.
    let a_byte = |fuel| format!("fuel = 0, fuel_per_record = 0, fuel_per_byte = {fuel}");
    limits("work", &a_byte("20_000_000")).passes();
    limits("work", &a_byte("1_000_000")).refuses("fuel: ");
}

/// Division rescues the records, and costs most of the calls: the summary says what to raise.
#[test]
fn a_stage_that_division_rescues_again_and_again_is_told_of() {
    let lines: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let case = |fuel: &str| {
        let limits =
            format!("limits = {{ fuel = {fuel}, fuel_per_record = 0, fuel_per_byte = 0 }}");
        StageCase::guest("work-each").input(&lines).settings(&limits)
    };
    let made = case("30_000_000").run_ok();
    assert_eq!(made.lines, lines);
    made.ran
        .says("1 of 1 batches failed (fuel) and passed once they were divided: raise limits.fuel");
    let made = case("100_000_000").run_ok();
    assert!(!made.ran.stderr.contains("were divided"), "{}", made.ran.stderr);
}

/// An instance is replaced before its memory reaches its limit: nothing is lost by a leak.
#[test]
fn a_runtime_that_leaks_loses_no_record() {
    let lines: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let settings = "limits = { memory = \"32MiB\" }\nbatch = { records = 1 }\nworkers = 1";
    let made = StageCase::guest("leaks").input(&lines).settings(settings).run_ok();
    assert_eq!(made.lines, lines);
    assert_eq!(made.letters, []);
    let said = made.ran.says("times, as their memory neared limits.memory");
    assert!(!said.stderr.contains("failed and was restored"), "{}", said.stderr);
}

#[test]
fn the_state_goes_on_in_the_instance_that_replaces_a_full_one() {
    let lines: Vec<&str> = (0..300).map(|n| if n % 3 == 2 { "count" } else { "leak" }).collect();
    let wanted: Vec<String> = (0..300)
        .map(|n| if n % 3 == 2 { (n + 1).to_string() } else { "leaked".to_owned() })
        .collect();
    let settings = "limits = { memory = \"128MiB\" }\nbatch = { records = 1 }";
    let made = StageCase::wasi().input(&lines).settings(settings).run_ok();
    assert_eq!(made.lines, wanted);
    let said = made.ran.says("as their memory neared limits.memory");
    assert!(!said.stderr.contains("failed and was restored"), "{}", said.stderr);
}

#[test]
fn no_fuel_is_counted_where_none_is_limited() {
    limits("work", "fuel = false").passes();
    limits("loop-in-process", "fuel = false, timeout = \"50ms\"")
        .refuses("timeout: it ran longer than 50ms");
}

#[test]
fn time_of_a_guest_that_computes() {
    limits("work", "timeout = \"10s\"").passes();
    limits("loop-in-process", "fuel = 9_000_000_000_000, timeout = \"50ms\"").refuses("timeout: ");
}

#[test]
fn time_of_a_guest_that_fills_memory() {
    limits("fill-forever", "fuel = 9_000_000_000_000, timeout = \"50ms\"").refuses("timeout: ");
    limits("fill-forever", "fuel = false, timeout = \"50ms\"").refuses("timeout: ");
    limits("fill-forever", "fuel = 1_000_000").refuses("fuel: ");
}

#[test]
fn time_of_a_guest_that_sits_in_a_host_call() {
    let sleep = |ms: &str| StageCase::wasi().input(&[&format!("sleep {ms}")]);
    let made = sleep("1").settings("limits = { timeout = \"10s\" }").run_ok();
    assert_eq!(made.lines, ["awake"]);
    sleep("60000").settings("limits = { timeout = \"50ms\" }").refuses("timeout: ");
}

#[test]
fn memory_of_a_linear_memory() {
    limits("memory", "memory = \"64MiB\"").passes();
    limits("memory", "memory = \"8MiB\"")
        .refuses("memory: it wanted 16.2 MiB of memory and may have 8.0 MiB");
    guest("memory-bomb").refuses("memory: it wanted ");
}

#[test]
fn memory_of_tables() {
    // Three calls of 80 kB, beside a memory of 256 KiB.
    limits("table", "memory = \"1MiB\"").passes();
    limits("table", "memory = \"300KiB\"").refuses("memory: it wanted ");
}

#[test]
fn the_stack() {
    guest("recursion").refuses("stack: its stack overflowed");
}

#[test]
fn output_bytes() {
    let made = limits("large", "output = \"80KiB\"").run_ok();
    assert_eq!(made.lines.len(), 1);
    assert_eq!(made.lines[0].len(), 64 << 10);
    limits("large", "output = \"60KiB\"")
        .refuses("output: its answer has more bytes than limits.output");
}

#[test]
fn output_records() {
    let made = limits("many", "output_records = 1000").run_ok();
    assert_eq!(made.lines.len(), 1000);
    limits("many", "output_records = 999")
        .refuses("output: its answer has 1000 records, and limits.output_records allows 999");
}

#[test]
fn all_attempts_together_may_answer_what_one_call_may() {
    let line = "x".repeat(1000);
    let run = |limit: &str| {
        StageCase::guest("retry-swells")
            .settings(&format!("limits = {{ output = \"{limit}\" }}"))
            .settings("retry = { attempts = 3, backoff = \"1ms\" }")
            .input(&[&line])
            .run_ok()
    };
    // A thousand records of a kilobyte for each.
    assert_eq!(run("4MB").lines.len(), 3000);
    let made = run("1500kB");
    assert_eq!(made.lines.len(), 1000);
    let reason = &made.letters[0].reason;
    assert!(reason.starts_with("output: its answers to the parts of one batch"), "{reason}");
}

#[test]
fn the_bytes_that_go_in_are_those_that_the_plan_names() {
    let lines: Vec<String> = (0..1000).map(|n| format!("{n:0>100}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let counted = |guest: &str| -> u32 {
        let case = StageCase::guest(guest).input(&lines).case();
        // All in one batch.
        let batch = "paths = \"in.txt\"\nbatch = { linger = \"1h\" }";
        let text = case.read("pipeline.toml").replace("paths = \"in.txt\"", batch);
        let ran = case.file("pipeline.toml", text).pipeline().ok();
        ran.stdout.trim_end().parse().unwrap()
    };
    // The batch itself, without a column, whatever its records.
    let nothing = counted("counts-nothing");
    assert!(nothing < 100, "{nothing}");
    // The value of each and where it ends.
    assert_eq!(counted("counts") - nothing, 1000 * (100 + 4));
}

#[test]
fn what_repeated_rows_inherit_is_output_too() {
    let line = "x".repeat(1000);
    let repeat = |guest: &str, limit: &str| {
        StageCase::guest(guest)
            .settings(&format!("limits = {{ output = \"{limit}\" }}"))
            .input(&[&line])
    };
    for guest in ["repeat", "repeat-excerpt"] {
        assert_eq!(repeat(guest, "1MB").run_ok().lines.len(), 1000);
        repeat(guest, "100kB")
            .refuses("output: its answer repeats what it was given up to 976.6 KiB");
    }
}

#[test]
fn the_parts_of_a_divided_batch_share_the_limits_of_one_answer() {
    let lines = ["x"; 10];
    let made = StageCase::guest("swells")
        .settings("limits = { output = \"200KiB\" }")
        .input(&lines)
        .run_ok();
    assert_eq!(made.lines.len(), 3);
    assert_eq!(made.letters.len(), 7);
    assert!(made.letters[0].reason.starts_with("output: its answers to the parts of one batch"));
    assert_eq!(StageCase::guest("swells").input(&lines).run_ok().lines.len(), 10);
}

#[test]
fn log_volume() {
    let print =
        |limits: &str| StageCase::wasi().settings(limits).input(&["print hello there", "flood"]);
    let flood = "x".repeat(99);
    let obeyed = print("limits = { log = \"1MiB\" }").run_ok();
    assert_eq!(obeyed.lines, ["printed", "flooded"]);
    assert!(obeyed.ran.stderr.contains("hello there"));
    assert_eq!(obeyed.ran.stderr.matches(&flood).count(), 1000);

    let violated = print("limits = { log = \"10KiB\" }").run_ok();
    assert_eq!(violated.lines, ["printed", "flooded"]);
    let shown = violated.ran.stderr.matches(&flood).count();
    assert!((90..300).contains(&shown), "{shown} lines");
    assert!(violated.ran.stderr.contains("prints more than 10240 bytes a second"));
    assert!(violated.ran.stderr.contains("bytes that it printed were dropped"));
}

#[test]
fn component_size() {
    limits("pass", "component = \"10KiB\"").passes();
    limits("pass", "component = \"500B\"")
        .is_refused("is too large: limits.component allows 500 B");
}

/// A guest that sleeps is not to blame for the time in which the whole process was stopped.
#[test]
fn time_in_which_the_process_was_stopped_does_not_count() {
    use rustix::process::{Pid, Signal, kill_process};
    let case = StageCase::guest("loop-in-finish")
        .settings("limits = { fuel = false, timeout = \"6s\" }")
        .input(&["x"])
        .case();
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    // It is asked to finish, and loops.
    std::thread::sleep(std::time::Duration::from_millis(700));
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(7000));
    kill_process(pid, Signal::CONT).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(child.try_wait().unwrap().is_none(), "it had more time");
    crate::harness::wait(child).code(1).says("it ran longer than 6s (limits.timeout)");
}
