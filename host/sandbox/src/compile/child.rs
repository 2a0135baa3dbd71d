//! The child process: it has limits, reads a job from stdin, and writes the answer to stdout. Both
//! are in postcard's wire format.

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

/// The program that is started as a child.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The running program itself, even if its file was replaced: proc(5).
const ITSELF: &str = "/proc/self/exe";

/// The first argument of a child, which marks it as one.
const CHILD: &str = "__work";

/// Maximum bytes that are read of its stderr.
const LAST_WORDS: u64 = 64 << 10;
/// The stack of the child, which bounds how deep its input may nest.
const STACK: usize = 16 << 20;

/// The arguments of a child, if this process is one. Otherwise, allows this process to start
/// children.
pub(super) fn arguments() -> Option<impl Iterator<Item = String>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD) {
        return Some(arguments);
    }
    // Also where proc(5) is missing: then no child starts, and nothing is compiled without limits.
    let _ = PROGRAM.set(ITSELF.into());
    None
}

/// Whether this process can start a child.
pub(super) fn can_be_asked() -> bool {
    PROGRAM.get().is_some()
}

/// Runs a job in a child. `what` names the job in messages, and `setting` is what raises its
/// limits.
///
/// # Errors
/// If the job exceeds a limit (the message says which), or the child fails.
pub(super) fn ask<J: Serialize, R: DeserializeOwned>(
    job: &J,
    what: &str,
    limits: &Limits,
    setting: &str,
) -> Result<R> {
    let cannot =
        |error: io::Error| anyhow!("{what} needs a child process, which does not start: {error}");
    let program = PROGRAM.get().expect("who asks has looked");
    let mut child = Command::new(program)
        .arg(CHILD)
        .args([limits.memory.to_string(), limits.time.as_secs().max(1).to_string()])
        // One malloc arena for all threads, so that the memory taken is the memory used.
        .env("MALLOC_ARENA_MAX", "2")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let bytes = postcard::to_stdvec(job).with_context(|| what.to_string())?;
    let (mut stdin, stdout, stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // A child that dies stops reading; its exit status says why.
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
    // After a read error, use what was read before it.
    let _ = pipe.map(|pipe| pipe.take(most).read_to_end(&mut bytes));
    bytes
}

fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    child.wait()
}

fn too_long(what: &str, time: Duration, setting: &str) -> String {
    format!("{what} takes longer than {time:?} ({setting}.time)")
}

/// Explains why a child ended without an answer.
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
        // The kernel kills processes when memory runs out.
        Some((_, Some(Signal::KILL))) => memory(),
        Some((number, _)) => {
            format!("{what} fails: an internal error (signal {number}); please report it")
        }
        None => {
            // The first line of a panic says where, the second why.
            let why = words.lines().map(str::trim).filter(|line| !line.is_empty()).nth(1);
            let why = Foreign::new(why.unwrap_or("no reason was given")).to_string();
            format!("{what} fails: an internal error ({why}); please report it")
        }
    }
}

/// The child's work: writes `answer` of the job that it reads. Its limits apply before it reads.
pub(super) fn work<J: DeserializeOwned + 'static>(
    mut arguments: impl Iterator<Item = String>,
    answer: fn(J) -> postcard::Result<Vec<u8>>,
) -> ExitCode {
    let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
    let (Some(memory), Some(seconds)) = (number(), number()) else { return ExitCode::from(2) };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    // Limits that this process inherited cannot be raised.
    let limit = |resource, most: u64| {
        let most = getrlimit(resource).maximum.map_or(most, |given| given.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    // Limits data, not addresses: addresses that are reserved and not used cost nothing.
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
        _ => ExitCode::from(101), // It has written the reason to stderr.
    }
}
