//! The one door of the tests: a folder, a pipeline, a run, and what came of it.

#[path = "../guests/assemble.rs"]
mod assemble;

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use assemble::assemble;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/ lies in the repository").to_owned()
}

/// A stage that comes with pipehost, as a pipeline names it.
pub fn plugin(name: &str) -> String {
    name.to_owned()
}

/// The folder of a crate in the repository, such as `tests/guests/wasi`.
pub fn plugin_folder(path: &str) -> String {
    root().join(path).display().to_string()
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self.did_not_panic();
        self
    }

    /// The host did not: a guest may.
    #[track_caller]
    fn did_not_panic(&self) {
        let threads = ["thread 'main'", "thread 'tokio", "thread 'work'", "thread 'guests'"];
        assert!(!threads.iter().any(|thread| self.stderr.contains(thread)), "{}", self.stderr);
    }

    /// Some part of what was said on stderr.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "{}", self.stderr);
        self
    }
}

/// The folder of the sockets at which runs can be looked into.
const RUNTIME: &str = ".run";

/// A folder in which the program runs.
pub struct Case {
    pub folder: TempDir,
    stdin: Option<Vec<u8>>,
}

impl Case {
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder"), stdin: None }
    }

    /// Has runs open the usual control socket, so that other verbs find them.
    pub fn controlled(self) -> Self {
        fs::create_dir(self.path(RUNTIME)).expect("the folder takes a folder");
        self
    }

    /// Writes a file into the folder.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), content).expect("the folder takes a file");
        self
    }

    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(bytes.as_ref().to_vec());
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A file, behind those that were rotated away.
    #[track_caller]
    pub fn read_rotated(&self, name: &str) -> String {
        let rotated = (1..).map(|n| format!("{name}.{n}"));
        let rotated = rotated.take_while(|name| self.path(name).exists());
        rotated.chain([name.to_owned()]).map(|name| self.read(&name)).collect()
    }

    /// The program, in the folder, with its output caught.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_pipehost")), arguments)
    }

    /// The same, of a program that is a copy of it.
    pub fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .args(arguments)
            // Compiled stages are shared by the tests, and with nobody else.
            .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
            // Runs are found by those of their own case, and only if it has made this folder.
            .env("XDG_RUNTIME_DIR", self.path(RUNTIME))
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The same, which hears SIGHUP also where whoever runs the tests does not: nohup(1).
    pub fn command_that_hears_hangups(&self, arguments: &[&str]) -> Command {
        let plain = self.command(arguments);
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP")
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(self.folder.path())
            .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program starts")
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_command(self.command(arguments))
    }

    /// The same of a command that is made already.
    pub fn run_command(&self, mut command: Command) -> Ran {
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = self.stdin.clone().unwrap_or_default();
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(&input); // It may end without reading all.
        });
        let ran = wait(child);
        writer.join().expect("writing does not panic");
        ran
    }

    /// Runs the pipeline in `pipeline.toml`.
    pub fn pipeline(&self) -> Ran {
        self.run(&["run", "pipeline.toml"])
    }

    /// Runs the pipeline, whose stdout is closed after a first line, `1`: a quiet end.
    #[track_caller]
    pub fn closed_after_a_line(&self) {
        let mut child = self.spawn(&["run", "pipeline.toml"]);
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        assert_eq!(line, "1\n");
        drop(stdout);
        let ran = wait(child).ok();
        assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
    }

    /// Adds to a file, which is created if there is none.
    pub fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let file = fs::OpenOptions::new().append(true).create(true).open(self.path(name));
        file.and_then(|mut file| file.write_all(text.as_ref())).expect("the folder takes a file");
    }

    /// Starts the pipeline, waits until something is in `out.txt`, and stops it with SIGTERM.
    pub fn suspended(&self, input: &str) -> Ran {
        let mut child = self.spawn(&["run", "pipeline.toml"]);
        child.stdin.as_mut().expect("piped").write_all(input.as_bytes()).expect("it reads");
        while fs::metadata(self.path("out.txt")).map_or(0, |metadata| metadata.len()) == 0 {
            assert!(child.try_wait().unwrap().is_none(), "{:?}", wait(child));
            std::thread::yield_now();
        }
        let stdin = child.stdin.take(); // Its end would be another reason to end.
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
        let ran = wait(child).code(143);
        drop(stdin);
        ran
    }
}

/// The lines of a pipe, as they come.
pub fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    lines
}

/// Stops a program by a signal, which is to be the reason: its input stays open until then.
pub fn stop(mut child: Child, signal: Signal) -> Ran {
    let stdin = child.stdin.take();
    kill_process(Pid::from_child(&child), signal).expect("it runs");
    let ran = wait(child);
    drop(stdin);
    ran
}

/// Waits for the end of a program.
pub fn wait(child: Child) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    let output = child.wait_with_output().expect("it can be waited for");
    Ran {
        code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The text of a guest: its own part behind the prelude, and defaults for the rest.
pub fn guest(name: &str) -> String {
    let file = root().join("tests/guests").join(format!("{name}.wat"));
    let own = fs::read_to_string(file).expect("the guest exists");
    if own.contains("(component") || own.contains("(module") {
        return own;
    }
    assemble(&own)
}

/// The text of a pipeline. A stage or sink reads the node before it, unless its settings have an
/// `input`.
///
/// `Pipeline::new().source("in", "stdin", "").stage("double", "double", "").sink("out", "stdout", "")`
#[derive(Clone)]
pub struct Pipeline {
    text: String,
    last: String,
}

impl Pipeline {
    /// Without a `[pipeline]` table.
    pub fn new() -> Self {
        Self { text: String::new(), last: String::new() }
    }

    /// With these lines in the `[pipeline]` table.
    pub fn with(settings: &str) -> Self {
        Self { text: format!("[pipeline]\n{settings}\n"), ..Self::new() }
    }

    /// A source of this type, with further lines of its table.
    pub fn source(self, name: &str, kind: &str, settings: &str) -> Self {
        self.node("source", name, &format!("type = \"{kind}\"\n{settings}"))
    }

    /// A stage, with further lines of its table.
    pub fn stage(self, name: &str, plugin: &str, settings: &str) -> Self {
        let input = self.input(settings);
        self.node("stage", name, &format!("plugin = \"{plugin}\"\n{input}{settings}"))
    }

    /// A sink of this type, with further lines of its table.
    pub fn sink(self, name: &str, kind: &str, settings: &str) -> Self {
        let input = self.input(settings);
        // What reads a sink is a mistake: the next node reads what this one does.
        let last = self.last.clone();
        let node = self.node("sink", name, &format!("type = \"{kind}\"\n{input}{settings}"));
        Self { last, ..node }
    }

    fn input(&self, settings: &str) -> String {
        let says = settings.lines().any(|line| line.trim_start().starts_with("input ="));
        if says { String::new() } else { format!("input = \"{}\"\n", self.last) }
    }

    fn node(mut self, table: &str, name: &str, settings: &str) -> Self {
        self.text.push_str(&format!("\n[[{table}]]\nname = \"{name}\"\n{settings}\n"));
        Self { last: name.to_owned(), ..self }
    }
}

impl From<Pipeline> for String {
    fn from(pipeline: Pipeline) -> Self {
        pipeline.text
    }
}

impl std::fmt::Display for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A stage alone between a file and stdout.
pub struct StageCase {
    plugin: String,
    settings: String,
    input: String,
    guest: Option<String>,
}

/// A record that was refused, as `dead-letter export` shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Letter {
    pub value: String,
    pub number: u64,
    pub reason: String,
    pub attempts: u64,
}

/// What a stage made of its input.
#[derive(Debug)]
pub struct Made {
    pub ran: Ran,
    pub lines: Vec<String>,
    pub letters: Vec<Letter>,
}

impl StageCase {
    /// One of `plugins/`, or any folder.
    pub fn plugin(path: &str) -> Self {
        let plugin = if path.contains('/') { path.to_owned() } else { plugin(path) };
        Self { plugin, settings: String::new(), input: String::new(), guest: None }
    }

    /// One of `tests/guests/`.
    pub fn guest(name: &str) -> Self {
        Self { guest: Some(guest(name)), ..Self::plugin("./guest.wat") }
    }

    /// The guest that tries WASI.
    pub fn wasi() -> Self {
        Self::plugin(&plugin_folder("tests/guests/wasi"))
    }

    /// Lines of the stage's table, and further tables below it.
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self.settings.push('\n');
        self
    }

    pub fn input(mut self, lines: &[&str]) -> Self {
        self.input = lines.iter().map(|line| format!("{line}\n")).collect();
        self
    }

    pub fn case(&self) -> Case {
        let settings = format!("on_error = \"dead-letter\"\n{}", self.settings);
        let pipeline = Pipeline::with("dead_letters = \"dead\"")
            .source("in", "file", "paths = \"in.txt\"")
            .sink("out", "stdout", "input = \"stage\"")
            .stage("stage", &self.plugin, &settings);
        let case =
            Case::new().file("pipeline.toml", pipeline.to_string()).file("in.txt", &self.input);
        match &self.guest {
            Some(text) => case.file("guest.wat", text),
            None => case,
        }
    }

    #[track_caller]
    pub fn run(&self) -> Made {
        let case = self.case();
        let ran = case.pipeline();
        ran.did_not_panic();
        let letters = if case.path("dead").exists() { letters(&case, "dead") } else { Vec::new() };
        Made { lines: ran.stdout.lines().map(str::to_owned).collect(), letters, ran }
    }

    /// Runs a pipeline that goes through.
    #[track_caller]
    pub fn run_ok(&self) -> Made {
        let made = self.run();
        assert_eq!(made.ran.code, 0, "{}", made.ran.stderr);
        made
    }

    /// The stage sends on what it got, and refuses nothing.
    #[track_caller]
    pub fn passes(&self) {
        let made = self.run_ok();
        assert_eq!(made.lines, self.input.lines().collect::<Vec<_>>(), "{}", made.ran.stderr);
        assert_eq!(made.letters, []);
    }

    /// Every record is refused, for a reason that begins like this; nothing is sent on.
    #[track_caller]
    pub fn refuses(&self, reason: &str) {
        let made = self.run_ok();
        assert_eq!(made.lines, [] as [&str; 0]);
        assert_eq!(made.letters.len(), self.input.lines().count(), "{}", made.ran.stderr);
        for letter in &made.letters {
            assert!(letter.reason.starts_with(reason), "{reason:?}: {letter:?}");
        }
    }

    /// The pipeline is not run, and this is why.
    #[track_caller]
    pub fn is_refused(&self, why: &str) {
        let made = self.run();
        made.ran.code(2).says(why);
    }
}

/// Reads a file of dead letters through the program itself.
#[track_caller]
pub fn letters(case: &Case, file: &str) -> Vec<Letter> {
    let ran = case.run(&["dead-letter", "export", file]).ok();
    ran.stdout
        .lines()
        .map(|line| {
            let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
            Letter {
                value: json["record"]["value"].as_str().unwrap_or_default().to_owned(),
                number: json["number"].as_u64().expect("a number"),
                reason: json["reason"].as_str().expect("a reason").to_owned(),
                attempts: json["attempts"].as_u64().expect("a number"),
            }
        })
        .collect()
}
