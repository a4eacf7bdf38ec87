//! What the rows need to name their subjects: where programs are, and how much is to be done.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use integration_tests::{executables, workspace};

use crate::{
    figures::argument,
    measure,
    options::Options,
    peers::{Peers, sources},
    subject::{Kind, Subject},
};

/// How many lines the row about the command line reads.
const LINES: u64 = 1_000_000;

/// What is known before anything is measured.
pub(crate) struct Context {
    /// Less of everything.
    pub(crate) quick: bool,
    /// The peers.
    pub(crate) peers: Peers,
    /// The program `master`.
    pub(crate) master: PathBuf,
    /// How many CPUs may be used.
    pub(crate) cpus: usize,
    /// The worker that is measured.
    pub(crate) bench_worker: PathBuf,
    /// A file of [`Self::line_count`] JSON lines.
    pub(crate) lines: PathBuf,
    /// Rounds of the work for the processor in a millisecond.
    pub(crate) rounds_per_ms: u64,
    /// The same in Python.
    pub(crate) python_rounds_per_ms: u64,
}

impl Context {
    /// Builds the executables, installs the peers, and writes the inputs.
    pub(crate) fn prepare(options: &Options) -> Self {
        println!("building master and worker");
        let master = executables().master.clone();
        let peers = if options.peers {
            Peers::install()
        } else {
            Peers::without("peers were not asked for")
        };
        let mut context = Self::new(options.quick, peers);
        context.master = master;
        context.write_lines();
        context.rounds_per_ms = rounds_per_ms(&context.bench_worker);
        context.python_rounds_per_ms = python_rounds_per_ms(&context.peers);
        context
    }

    /// To write a report again: nothing can be run with it.
    pub(crate) fn unprepared() -> Self {
        Self::new(false, Peers::without("nothing is measured"))
    }

    fn new(quick: bool, peers: Peers) -> Self {
        Self {
            quick,
            peers,
            master: PathBuf::from("master"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            bench_worker: PathBuf::from(env!("CARGO_BIN_EXE_bench-worker")),
            lines: directory().join("lines.json"),
            rounds_per_ms: 1,
            python_rounds_per_ms: 1,
        }
    }

    /// So many of something, or a tenth of it.
    pub(crate) const fn scaled(&self, count: u64) -> u64 {
        if self.quick { count.div_ceil(10) } else { count }
    }

    /// How many lines the row about the command line reads.
    pub(crate) const fn line_count(&self) -> u64 {
        self.scaled(LINES)
    }

    fn write_lines(&self) {
        let lines = (0..self.line_count()).map(|task| format!("{}\n", argument(task)));
        fs::write(&self.lines, lines.collect::<String>()).expect("the lines can be written");
    }

    /// A limit: a run of this executable.
    #[expect(clippy::unused_self, reason = "it stands beside the others")]
    pub(crate) fn limit(&self, name: &str, run: &str, parameters: &str) -> Subject {
        Subject::new(Kind::Limit, name, Ok(measure::words(run, parameters)))
    }

    /// Ours: a run of this executable, with the worker that is measured.
    pub(crate) fn ours(&self, name: &str, run: &str, parameters: &str) -> Subject {
        let mut words = measure::words(run, parameters);
        words.push(self.worker_parameter());
        Subject::new(Kind::Ours, name, Ok(words))
    }

    /// Ours, with the worker in Python.
    pub(crate) fn ours_in_python(&self, name: &str, run: &str, parameters: &str) -> Subject {
        let words = self.peers.worker_python.clone().map(|worker| {
            let mut words = measure::words(run, parameters);
            for (name, value) in [("worker=", worker), ("serves=", python_functions())] {
                let mut word = OsString::from(name);
                word.push(value);
                words.push(word);
            }
            words
        });
        Subject::new(Kind::Ours, name, words)
    }

    /// `worker=` the worker that is measured.
    pub(crate) fn worker_parameter(&self) -> OsString {
        let mut word = OsString::from("worker=");
        word.push(&self.bench_worker);
        word
    }

    /// `input=` the lines, and how many there are.
    pub(crate) fn lines_parameters(&self) -> Vec<OsString> {
        let mut word = OsString::from("input=");
        word.push(&self.lines);
        vec![word, format!("tasks={}", self.line_count()).into()]
    }

    /// A program that is measured from outside, by a run of this executable.
    pub(crate) fn wrapped(
        &self,
        (kind, name): (Kind, &str),
        run: &str,
        parameters: impl IntoIterator<Item = OsString>,
        program: Result<Vec<OsString>, String>,
    ) -> Subject {
        let words = program.map(|program| {
            let mut words = measure::words(run, "");
            words.extend(parameters);
            words.push("--".into());
            words.extend(program);
            words
        });
        Subject::new(kind, name, words)
    }

    /// The program `master`, measured from outside. It finds the reference worker beside itself.
    pub(crate) fn program(
        &self,
        name: &str,
        run: &str,
        parameters: impl IntoIterator<Item = OsString>,
        arguments: &[&str],
    ) -> Subject {
        let mut path = OsString::from("path=");
        path.push(self.master.parent().unwrap_or(&self.master));
        let mut program = vec![self.master.clone().into_os_string()];
        program.extend(arguments.iter().map(OsString::from));
        let parameters = parameters.into_iter().chain([path]);
        self.wrapped((Kind::Ours, name), run, parameters, Ok(program))
    }
}

/// The functions that the Python peers call.
fn python_functions() -> PathBuf {
    sources().join("python/tasks.py")
}

/// Where runs put what is not part of the project.
pub(crate) fn directory() -> PathBuf {
    let directory = target().join("benchmarks");
    fs::create_dir_all(&directory).expect("a directory below target/");
    directory
}

/// TARGET of TARGET/release/deps/pool, wherever it is.
pub(crate) fn target() -> PathBuf {
    let this = std::env::current_exe().expect("this executable has a path");
    let target = this.ancestors().nth(3).map(Path::to_path_buf);
    target.unwrap_or_else(|| workspace().join("target"))
}

/// The best of several short tries: other work can only make it slower.
fn rounds_per_ms(worker: &Path) -> u64 {
    const ROUNDS: u64 = 30_000_000;
    let tries = (0..15).map(|_| {
        let mut process = Command::new(worker)
            .args(["--burn", "1", &ROUNDS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the worker starts");
        // It is there and waits.
        std::thread::sleep(Duration::from_millis(5));
        let began = Instant::now();
        let mut input = process.stdin.take().expect("a pipe");
        input.write_all(b"!").expect("it waits for a byte");
        assert!(process.wait().expect("it is ours").success());
        began.elapsed()
    });
    let best = tries.min().unwrap_or(Duration::from_secs(1));
    (ROUNDS as f64 / best.as_secs_f64() / 1e3) as u64
}

/// As the functions that Python calls measure it themselves.
fn python_rounds_per_ms(peers: &Peers) -> u64 {
    let Ok(interpreter) = &peers.python else { return 1 };
    let output = Command::new(interpreter)
        .args(["-c", "from tasks import rounds_per_ms; print(int(rounds_per_ms()))"])
        .current_dir(sources().join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the interpreter starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.trim().parse().expect("it prints a number")
}
