//! Installs the peers below `target/peers`, and names their programs.
//!
//! What cannot be installed has a reason instead of a program. The reason never quotes the tool
//! that failed, which may name places that are nobody's business; it says that on the terminal.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use integration_tests::{installing::python_package, workspace};

use crate::{
    context::target,
    subject::{Kind, Subject, wait},
};

/// How long a step of an installation may take: one that compiles takes minutes.
const TIME_LIMIT: Duration = Duration::from_secs(1200);

type Found = Result<PathBuf, String>;

/// The programs that run peers.
pub(crate) struct Peers {
    /// The interpreter of an environment in which the Python peers are.
    pub(crate) python: Found,
    /// The program `worker-python`.
    pub(crate) worker_python: Found,
    /// The directory with the Node peers and the scripts for them.
    pub(crate) node: Found,
    /// GNU parallel.
    pub(crate) parallel: Found,
    /// The directory of the Rust peers.
    pub(crate) rust: Found,
}

impl Peers {
    /// None of them, for this reason.
    pub(crate) fn without(reason: &str) -> Self {
        let none = || Err(reason.to_owned());
        Self { python: none(), worker_python: none(), node: none(), parallel: none(), rust: none() }
    }

    /// Installs what is not there yet.
    pub(crate) fn install() -> Self {
        let install = |what: &str, install: fn(&Path) -> Found| {
            println!("preparing {what}");
            let found = install(&target().join("peers").join(what));
            if let Err(reason) = &found {
                println!("  not measured: {reason}");
            }
            found
        };
        Self {
            python: install("python", python),
            worker_python: install("worker-python", worker_python),
            node: install("node", node),
            parallel: install("parallel", parallel),
            rust: install("rust", rust),
        }
    }

    /// The words of a Python script.
    pub(crate) fn python_words(&self, script: &str, parameters: &str) -> Words {
        let interpreter = self.python.clone()?;
        Ok(words(&interpreter, Some(&sources().join("python").join(script)), parameters))
    }

    /// A Python peer.
    pub(crate) fn python(&self, name: &str, script: &str, parameters: &str) -> Subject {
        Subject::new(Kind::Peer, name, self.python_words(script, parameters))
    }

    /// The words of a Node script.
    pub(crate) fn node_words(&self, script: &str, parameters: &str) -> Words {
        let directory = self.node.clone()?;
        Ok(words(Path::new("node"), Some(&directory.join(script)), parameters))
    }

    /// A Node peer.
    pub(crate) fn node(&self, name: &str, script: &str, parameters: &str) -> Subject {
        Subject::new(Kind::Peer, name, self.node_words(script, parameters))
    }

    /// The words of a script for the shell.
    #[expect(clippy::unused_self, reason = "it stands beside the others")]
    pub(crate) fn shell_words(&self, script: &str, parameters: &str) -> Vec<OsString> {
        words(&sources().join("shell").join(script), None, parameters)
    }

    /// The words of a Rust peer.
    pub(crate) fn rust_words(&self, program: &str, parameters: &str) -> Words {
        let directory = self.rust.clone()?;
        Ok(words(&directory.join(program), None, parameters))
    }

    /// A Rust peer.
    pub(crate) fn rust(&self, name: &str, program: &str, parameters: &str) -> Subject {
        Subject::new(Kind::Peer, name, self.rust_words(program, parameters))
    }
}

type Words = Result<Vec<OsString>, String>;

fn words(program: &Path, script: Option<&Path>, parameters: &str) -> Vec<OsString> {
    let mut words = vec![program.as_os_str().to_owned()];
    words.extend(script.map(|script| script.as_os_str().to_owned()));
    words.extend(parameters.split_whitespace().map(OsString::from));
    words
}

/// Where the scripts and lists of versions of the peers are.
pub(crate) fn sources() -> PathBuf {
    workspace().join("integration-tests/peers")
}

fn python(directory: &Path) -> Found {
    let interpreter = directory.join("bin/python");
    let list = sources().join("python/requirements.txt");
    once(directory, &list, || {
        run("python3", &["-m".as_ref(), "venv".as_ref(), directory], &sources())?;
        let requirements = ["-m", "pip", "install", "--quiet", "--requirement"];
        let mut arguments: Vec<_> = requirements.iter().map(Path::new).collect();
        arguments.push(&list);
        run(interpreter.to_str().ok_or("a path that is not UTF-8")?, &arguments, &sources())
    })?;
    Ok(interpreter)
}

/// No peer, but ours; it takes the same interpreter.
fn worker_python(directory: &Path) -> Found {
    let programs = python_package(directory, "").map_err(|problem| {
        println!("{problem}");
        "the package for Python could not be installed"
    })?;
    Ok(programs.join("worker-python"))
}

fn node(directory: &Path) -> Found {
    let list = sources().join("node/package-lock.json");
    fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    // Node looks for modules beside the script.
    let files = fs::read_dir(sources().join("node")).map_err(|error| error.to_string())?;
    for file in files.flatten() {
        fs::copy(file.path(), directory.join(file.file_name())).map_err(|e| e.to_string())?;
    }
    once(directory, &list, || {
        let arguments = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        run("npm", &arguments.map(Path::new), directory)
    })?;
    Ok(directory.to_owned())
}

/// From PATH, or else unpacked from the package of the distribution, which needs no root.
fn parallel(directory: &Path) -> Found {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|place| place.join("parallel"));
    if let Some(found) = on_path.into_iter().find(|program| program.is_file()) {
        return Ok(found);
    }
    let program = directory.join("usr/bin/parallel");
    if !program.is_file() {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        run(
            "apt-get",
            &["download".as_ref(), "--quiet=2".as_ref(), "parallel".as_ref()],
            directory,
        )?;
        let files = fs::read_dir(directory).map_err(|error| error.to_string())?;
        let mut files = files.flatten().map(|file| file.path());
        let package = files.find(|file| file.extension().is_some_and(|end| end == "deb"));
        let package = package.ok_or("there is no package of GNU parallel")?;
        run("dpkg", &["-x".as_ref(), package.as_ref(), directory], directory)?;
    }
    Ok(program)
}

fn rust(directory: &Path) -> Found {
    let manifest = sources().join("rust/Cargo.toml");
    let mut arguments = vec![Path::new("build"), "--release".as_ref(), "--locked".as_ref()];
    arguments.extend([Path::new("--quiet"), "--manifest-path".as_ref(), &manifest]);
    arguments.extend([Path::new("--target-dir"), directory]);
    run(env!("CARGO"), &arguments, &sources())?;
    Ok(directory.join("release"))
}

/// Installs what a list of versions says, unless it was done for the same list before.
fn once(
    directory: &Path,
    list: &Path,
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let wanted = fs::read(list).map_err(|error| format!("no list of versions: {error}"))?;
    let stamp = directory.join("installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(stamp, wanted).map_err(|error| error.to_string())
}

fn run(program: &str, arguments: &[&Path], directory: &Path) -> Result<(), String> {
    let name = Path::new(program).file_name().unwrap_or_default().display().to_string();
    let child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{name} cannot be started: {}", error.kind()))?;
    let status = wait(child, TIME_LIMIT)?;
    if status.success() { Ok(()) } else { Err(format!("{name} could not install it")) }
}
