//! The workers under test, built and installed below the target directory when the first test asks.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use integration_tests::{
    check_all, executables,
    installing::{command, python_package, run},
    workspace,
};
use rustix::fs::{FlockOperation, flock};

/// A worker with the conformance functions.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) name: &'static str,
    pub(crate) words: Vec<PathBuf>,
}

impl Worker {
    /// What `--worker` takes.
    pub(crate) fn command_line(&self) -> String {
        let words = self.words.iter().map(|word| format!("'{}'", word.display()));
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Checks all workers that this machine can run, at once.
pub(crate) fn each_worker(check: impl Fn(&Worker) + Sync) {
    check_all(workers(), check);
}

fn workers() -> &'static [Worker] {
    static WORKERS: OnceLock<Vec<Worker>> = OnceLock::new();
    WORKERS.get_or_init(|| {
        let reference = executables().worker.clone();
        let (directory, _lock) = directory();
        let built = [
            ("reference", Ok(vec![reference])),
            ("C", c(&directory, "worker-c", &[])),
            ("C, sanitized", c(&directory, "worker-c-sanitized", &SANITIZE)),
            ("Node", node(&directory.join("node"))),
            ("Perl", perl()),
        ];
        built.into_iter().filter_map(|(name, words)| found(name, words)).collect()
    })
}

/// The worker, or a line that says why it was left out.
fn found(name: &'static str, words: Result<Vec<PathBuf>, String>) -> Option<Worker> {
    match words {
        Ok(mut words) => {
            words.push("--conformance".into());
            Some(Worker { name, words })
        }
        Err(problem) if std::env::var_os("CI").is_some() => {
            panic!("the worker `{name}` cannot be tested, and CI is set: {problem}")
        }
        Err(problem) => {
            // Not by `eprintln!`, which a test that passes keeps to itself.
            let _ = writeln!(io::stderr(), "left out: the worker `{name}`: {problem}");
            None
        }
    }
}

/// The programs of the environment in which the package for Python is installed, with all that its
/// own tests need.
pub(crate) fn python_programs() -> Option<&'static Path> {
    static PROGRAMS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let (directory, _lock) = directory();
        let programs = python_package(&directory.join("python"), "[test]");
        let words = programs.map(|programs| vec![programs]);
        found("Python", words).map(|mut worker| worker.words.swap_remove(0))
    });
    programs.as_deref()
}

/// Where workers are built, and what keeps others out of it: several processes of tests may be here
/// at once, as under `cargo nextest`.
fn directory() -> (PathBuf, File) {
    // Beside the executables, so that `cargo clean` removes them too.
    let directory = executables().worker.with_file_name("workers");
    fs::create_dir_all(&directory).unwrap();
    let lock = File::create(directory.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    (directory, lock)
}

fn sources() -> PathBuf {
    workspace().join("integration-tests/workers")
}

const SANITIZE: [&str; 3] = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

fn c(directory: &Path, name: &str, options: &[&str]) -> Result<Vec<PathBuf>, String> {
    let program = directory.join(name);
    let mut command = command("cc");
    command.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    command.args(options).arg("-o").arg(&program).arg(sources().join("c/worker.c"));
    match run(command, "cc") {
        // Not every compiler comes with the libraries of its sanitizers.
        Err(problem) if !options.is_empty() => Err(format!("no sanitizers: {problem}")),
        Err(problem) if problem.contains("worker.c") => panic!("{problem}"),
        built => built.map(|_| vec![program]),
    }
}

/// Not every Perl comes with all of its own modules.
fn perl() -> Result<Vec<PathBuf>, String> {
    let mut modules = command("perl");
    modules.args(["-MIO::Poll", "-MTime::HiRes", "-e", "1"]);
    run(modules, "perl")?;
    Ok(vec!["perl".into(), sources().join("perl/worker.pl")])
}

fn node(directory: &Path) -> Result<Vec<PathBuf>, String> {
    fs::create_dir_all(directory).unwrap();
    let (list, installed) = (sources().join("node/package-lock.json"), directory.join("installed"));
    // Node looks for modules beside the script.
    for file in ["worker.js", "package.json", "package-lock.json"] {
        fs::copy(sources().join("node").join(file), directory.join(file)).unwrap();
    }
    let list = fs::read(list).unwrap();
    if fs::read(&installed).ok().as_ref() != Some(&list) {
        let mut install = command("npm");
        install.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
        install.current_dir(directory);
        run(install, "npm")?;
        fs::write(&installed, list).unwrap();
    }
    let mut version = command("node");
    version.arg("--version");
    run(version, "node")?;
    Ok(vec!["node".into(), directory.join("worker.js")])
}
