//! The workers under test, built and installed below the target directory when the first test asks.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use integration_tests::{check_all, executables, workspace};
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
        let words = python(&directory.join("python")).map(|programs| vec![programs]);
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

/// Installs the package into an environment of its own, anew where it has changed.
fn python(directory: &Path) -> Result<PathBuf, String> {
    let mut version = command("python3");
    version.args(["-c", "import sys; print(sys.executable, sys.version)"]);
    let mut state = run(version, "python3")?;
    let package = workspace().join("worker/python");
    let mut files = vec![package.join("pyproject.toml"), package.join("README.md")];
    let modules = fs::read_dir(package.join("src/pool_worker")).unwrap();
    files.extend(modules.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    files.sort();
    for file in &files {
        state.extend(file.as_os_str().as_encoded_bytes());
        state.extend(fs::read(file).unwrap());
    }
    let (environment, installed) = (directory.join("environment"), directory.join("installed"));
    if fs::read(&installed).ok().as_ref() != Some(&state) {
        let _ = fs::remove_dir_all(directory);
        // From a copy, as what builds a package leaves files beside its source.
        for file in &files {
            let copy = directory.join("source").join(file.strip_prefix(&package).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(file, copy).unwrap();
        }
        let mut make = command("python3");
        make.args(["-m", "venv"]).arg(&environment);
        run(make, "python3 -m venv")?;
        let mut install = command(environment.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.current_dir(directory).arg("./source[test]");
        run(install, "pip install worker/python")?;
        fs::write(&installed, state).unwrap();
    }
    Ok(environment.join("bin"))
}

#[expect(clippy::disallowed_methods, reason = "what builds workers runs apart from what is tested")]
fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// What it prints, if it succeeds.
fn run(mut command: Command, name: &str) -> Result<Vec<u8>, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no `{name}` on PATH"),
        _ => format!("`{name}` cannot be run: {error}"),
    })?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => {
            let said = [output.stderr, output.stdout].concat();
            Err(format!("`{name}` failed: {}", String::from_utf8_lossy(&said)))
        }
    }
}
