//! What hostile stages cost others: the longest turn of one, and what a neighbour and health see
//! of twice as many as there are cores.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::harness::{figure, guest, log_batch, median, nanoseconds, sandboxed, worker};

/// Does nothing but compute.
const LOOP: &str = "(func $process (param i32) (result i32) (loop (br 0)) (unreachable))";
/// Fills all the memory that it may have, again and again: an operation that nothing interrupts.
const FILL: &str = "(func $process (param i32) (result i32)
  (drop (memory.grow (i32.const 1000)))
  (loop (memory.fill (i32.const 65536) (i32.const 1) (i32.const 65000000)) (br 0))
  (unreachable))";
/// Answers as many bytes as it may.
const ANSWER: &str = r#"
(data (i32.const 324) "\02\00\00\00\01\00\00\00")
(data (i32.const 392) "\01\00\00\00\00\02\00\00\01\00\00\00\00\00\01\00\00\00\e0\01")
(data (i32.const 512) "\00\00\e0\01")
(func $process (param i32) (result i32)
  (if (i32.lt_u (memory.size) (i32.const 500)) (then (drop (memory.grow (i32.const 500)))))
  (i32.const 256))
"#;

pub fn figures(runtime: &Runtime) {
    turns(runtime);
    let [alone, beside] = [0, 2 * cores()].map(|stages| {
        let runs: Vec<_> = (0..3).map(|_| neighbour(stages)).collect();
        let health = median(runs.iter().map(|run| run.0).collect());
        let rate = median(runs.iter().map(|run| Duration::from_secs_f64(run.1)).collect());
        (health, rate.as_secs_f64())
    });
    let hostile = format!("beside {} hostile stages", 2 * cores());
    figure("/healthz, the longest answer of a run, alone", &text(alone.0), "");
    figure(&format!("  {hostile}"), &text(beside.0), "1 s");
    figure("a neighbour at 10,000 records/s: its rate alone", &format!("{:.0}", alone.1), "");
    let part = format!("{:.2}", beside.1 / alone.1);
    figure(&format!("  {hostile}, as a part of that"), &part, ">= 0.8");
}

fn text(time: Duration) -> String {
    nanoseconds(time.as_nanos() as f64)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// The longest that a guest keeps its thread.
fn turns(runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let kinds = [("computes", LOOP), ("fills 64 MiB at once", FILL), ("answers 30 MiB", ANSWER)];
    for (what, own) in kinds {
        let path = folder.path().join("guest.wat");
        fs::write(&path, guest(own)).expect("the folder takes it");
        let limits =
            "limits = { fuel = 9_000_000_000_000, timeout = \"200ms\", memory = \"64MiB\" }";
        let runner = sandboxed(runtime, &format!("plugin = {path:?}\n{limits}"), &["stage"]);
        let mut worker = worker(runtime, &runner);
        let batch = log_batch(1, 80);
        let longest = runtime.block_on(async {
            let mut longest = Duration::ZERO;
            for _ in 0..5 {
                let mut call = pin!(worker.process(&batch));
                std::future::poll_fn(|context| {
                    let start = Instant::now();
                    let polled = call.as_mut().poll(context);
                    longest = longest.max(start.elapsed());
                    match polled {
                        Poll::Ready(_) => Poll::Ready(()),
                        Poll::Pending => Poll::Pending,
                    }
                })
                .await;
            }
            longest
        });
        figure(&format!("the longest turn of a guest that {what}"), &text(longest), "");
    }
}

/// The program with a neighbour and so many stages that never end: the longest answer of its
/// health within three seconds, and the neighbour's rate.
fn neighbour(stages: usize) -> (Duration, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let pass = "[[source]]\nname = \"made\"\ntype = \"generate\"\nrate = 10_000\n\
                [[stage]]\nname = \"pass\"\nplugin = \"pass.wat\"\ninput = \"made\"\n\
                [[sink]]\nname = \"out\"\ntype = \"null\"\ninput = \"pass\"\n";
    let mut pipeline =
        format!("{pass}[[source]]\nname = \"one\"\ntype = \"generate\"\ncount = 1\n");
    for n in 0..stages.max(1) {
        let plugin = if stages == 0 { "pass.wat" } else { "loop.wat" };
        pipeline += &format!(
            "[[stage]]\nname = \"h{n}\"\nplugin = \"{plugin}\"\ninput = \"one\"\n\
             limits = {{ fuel = 9_000_000_000_000_000, timeout = \"1h\" }}\n\
             [[sink]]\nname = \"s{n}\"\ntype = \"null\"\ninput = \"h{n}\"\n"
        );
    }
    let files = [("pass.wat", guest("")), ("loop.wat", guest(LOOP)), ("p.toml", pipeline)];
    for (name, content) in files {
        fs::write(path.join(name), content).expect("the folder takes it");
    }
    let (mut child, address) = start(path);
    let begin = Instant::now();
    let before = out(address);
    let mut longest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(3) {
        let start = Instant::now();
        get(address, "/healthz");
        longest = longest.max(start.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    let rate = (out(address) - before) / begin.elapsed().as_secs_f64();
    let _ = child.kill();
    let _ = child.wait();
    (longest, rate)
}

fn start(folder: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pipehost"))
        .args(["run", "p.toml", "--metrics", "127.0.0.1:0"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(log.read_line(&mut line).is_ok_and(|read| read > 0), "it says where it listens");
        if let Some((_, rest)) = line.split_once("serving metrics at http://") {
            let address = rest.split('/').next().unwrap_or_default();
            break address.parse().expect("an address");
        }
    };
    std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    (child, address)
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Records that the neighbour has written.
fn out(address: SocketAddr) -> f64 {
    let start = "pipeline_stage_records_out_total{stage=\"out\",pipeline=\"pipeline\"} ";
    let text = get(address, "/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(start));
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}
