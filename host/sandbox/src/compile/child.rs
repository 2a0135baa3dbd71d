//! The child: started with its limits, told what to do on stdin, and its answer read from
//! stdout. Both are in postcard's wire format.

use anyhow::{Context as _, Result, anyhow, bail};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use bytesize::ByteSize;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::Limits;
use pipehost_record::foreign::Foreign;

/// The program whose child does the work.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The very program that runs, whatever has its name by now: proc(5).
const ITSELF: &str = "/proc/self/exe";

/// The first argument of a child.
const CHILD: &str = "__work";

/// What of its stderr is read.
const LAST_WORDS: u64 = 64 << 10;
/// How deep what the child reads may nest, by the size of its stack.
const STACK: usize = 16 << 20;

/// The arguments of a child, if this process is one. All others may ask a child from now on.
pub(super) fn arguments() -> Option<impl Iterator<Item = String>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD) {
        return Some(arguments);
    }
    // Also where proc(5) is missing: then nothing is compiled, rather than without limits.
    let _ = PROGRAM.set(ITSELF.into());
    None
}

/// Whether there is a program whose child can do the work.
pub(super) fn can_be_asked() -> bool {
    PROGRAM.get().is_some()
}

/// Asks a child. `what` is done by it, and `setting` raises its limits.
///
/// # Errors
/// Which limit it met, or that it failed.
pub(super) fn ask<J: Serialize, R: DeserializeOwned>(
    job: &J,
    what: &str,
    limits: &Limits,
    setting: &str,
) -> Result<R> {
    let cannot = |error: io::Error| anyhow!("{what} needs a child process, and: {error}");
    let program = PROGRAM.get().expect("who asks has looked");
    let mut child = Command::new(program)
        .arg(CHILD)
        .args([limits.memory.to_string(), limits.time.as_secs().max(1).to_string()])
        // One pool of memory for all its threads: what it takes is what it uses.
        .env("MALLOC_ARENA_MAX", "2")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let bytes = postcard::to_stdvec(job).with_context(|| format!("{what}"))?;
    let (mut stdin, stdout, stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // A child that dies reads no further, and says why by how it ends.
    std::thread::spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(&bytes)));
    let words = std::thread::spawn(move || read(stderr, LAST_WORDS));
    let (send, answered) = channel();
    let most = limits.memory;
    std::thread::spawn(move || send.send(read(stdout, most)));
    let answer = answered.recv_timeout(limits.time);
    if answer == Err(RecvTimeoutError::Timeout) {
        let _ = child.kill();
    }
    let status = wait(&mut child).map_err(cannot)?;
    let answer = match answer {
        Ok(answer) if status.success() => answer,
        Ok(_) => {
            let words = String::from_utf8_lossy(&words.join().unwrap_or_default()).into_owned();
            bail!("{}", died(what, limits, setting, status, &words));
        }
        Err(_) => bail!("{}", too_long(what, limits.time, setting)),
    };
    postcard::from_bytes(&answer)
        .with_context(|| format!("{what}: the child process answered what cannot be read"))
}

fn read(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error is all that there is.
    let _ = pipe.map(|pipe| pipe.take(most).read_to_end(&mut bytes));
    bytes
}

fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    child.wait()
}

fn too_long(what: &str, time: Duration, setting: &str) -> String {
    format!("{what} takes longer than {time:?} ({setting}.time)")
}

/// Why a child that gave no answer ended.
fn died(what: &str, limits: &Limits, setting: &str, status: ExitStatus, words: &str) -> String {
    let signal = status.signal().map(|number| (number, Signal::from_named_raw(number)));
    let memory = || {
        let allowed = ByteSize::b(limits.memory);
        format!("{what} takes more than {allowed} of memory ({setting}.memory)")
    };
    match signal {
        _ if words.contains("memory allocation of") => memory(),
        _ if words.contains("overflowed its stack") => {
            format!("{what} overflows the stack: it nests too deeply, or refers to itself")
        }
        Some((_, Some(Signal::XCPU))) => too_long(what, limits.time, setting),
        // The system takes memory back in this way.
        Some((_, Some(Signal::KILL))) => memory(),
        Some((number, _)) => {
            format!("{what} fails: an internal error (signal {number}); please report it")
        }
        None => {
            // The first line says where, the second why.
            let why = words.lines().map(str::trim).filter(|line| !line.is_empty()).nth(1);
            let why = Foreign::new(why.unwrap_or("no reason was given")).to_string();
            format!("{what} fails: an internal error ({why}); please report it")
        }
    }
}

/// What the child does: `answer` to what it reads. Its limits hold before it has read anything.
pub(super) fn work<J: DeserializeOwned + 'static>(
    mut arguments: impl Iterator<Item = String>,
    answer: fn(J) -> postcard::Result<Vec<u8>>,
) -> ExitCode {
    let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
    let (Some(memory), Some(seconds)) = (number(), number()) else { return ExitCode::from(2) };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    // What this process was given is not to be raised, and cannot be.
    let limit = |resource, most: u64| {
        let most = getrlimit(resource).maximum.map_or(most, |given| given.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    // Of data, not of addresses: those that are reserved and not used cost nothing.
    let limited = limit(Resource::Data, memory)
        .and_then(|()| limit(Resource::Cpu, seconds.saturating_mul(cores)))
        .and_then(|()| limit(Resource::Core, 0))
        .and_then(|()| set_parent_process_death_signal(Some(Signal::KILL)));
    if limited.is_err() {
        return ExitCode::from(2);
    }
    let work = std::thread::Builder::new().stack_size(STACK).spawn(move || -> io::Result<()> {
        let mut job = Vec::new();
        io::stdin().read_to_end(&mut job)?;
        let job = postcard::from_bytes(&job).map_err(io::Error::other)?;
        io::stdout().write_all(&answer(job).map_err(io::Error::other)?)
    });
    match work.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        _ => ExitCode::from(101), // It has said why on stderr.
    }
}
