//! One run of an executable, before it starts.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt as _, fs::symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    executables::executables,
    leftovers::MARK,
    misbehaving::STARTS_VARIABLE,
    running::{Finished, Running},
};

/// How long a run may take unless told.
const WATCHDOG: Duration = Duration::from_secs(60);

/// The file in the directory of a run in which the starts of misbehaving workers are noted.
pub(crate) const STARTS_FILE: &str = "starts";

/// What the program finds on its standard input.
pub(crate) enum Input {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// What the test writes while the program runs.
    Open,
}

/// An executable with its arguments and its surroundings: a private directory for temporary
/// files, and a PATH that begins with a private directory.
///
/// ```no_run
/// integration_tests::master(["map", "square", "2", "3"]).run().ended(0).printed("4\n9\n");
/// ```
#[must_use]
pub struct Program {
    pub(crate) command: Command,
    pub(crate) directory: TempDir,
    pub(crate) input: Input,
    pub(crate) stdout_lines: Option<usize>,
    pub(crate) stderr_unread: bool,
    pub(crate) watchdog: Duration,
    pub(crate) may_leave_processes: bool,
}

/// `master`, with `worker` and `misbehaving-worker` on its PATH.
pub fn master<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Program {
    let executables = executables();
    Program::new(&executables.master)
        .link("worker", &executables.worker)
        .link("misbehaving-worker", &executables.misbehaving_worker)
        .link("scripted-worker", &executables.scripted_worker)
        .link("other-worker", &executables.other_worker)
        .args(arguments)
}

/// As [`master()`], with the misbehaving worker in this mode as the worker, before the other
/// arguments: `verb --worker "misbehaving-worker MODE" ARGUMENTS`.
pub fn master_with<A: AsRef<OsStr>>(
    mode: &str,
    verb: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Program {
    master([verb, "--worker", &format!("misbehaving-worker {mode}")]).args(arguments)
}

impl Program {
    /// Any executable, with nothing in its private PATH directory.
    pub fn new(executable: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("run-").tempdir().expect("a directory");
        for name in ["bin", "temporary", "runtime"] {
            fs::create_dir(directory.path().join(name)).expect("a directory in a new directory");
        }
        #[expect(clippy::disallowed_methods, reason = "to run programs is what this is for")]
        let mut command = Command::new(executable);
        let system = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{system}", directory.path().join("bin").display()))
            .env("TMPDIR", directory.path().join("temporary"))
            .env("XDG_RUNTIME_DIR", directory.path().join("runtime"))
            .env(MARK, directory.path())
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            command,
            directory,
            input: Input::Bytes(Vec::new()),
            stdout_lines: None,
            stderr_unread: false,
            watchdog: WATCHDOG,
            may_leave_processes: false,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Puts these bytes on standard input, which is empty unless told.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Keeps standard input open for [`Running::write_line`].
    pub fn stdin_open(mut self) -> Self {
        self.input = Input::Open;
        self
    }

    /// Closes standard output after so many lines, as `head` does.
    pub const fn close_stdout_after(mut self, lines: usize) -> Self {
        self.stdout_lines = Some(lines);
        self
    }

    /// Reads nothing of standard error until the test waits for the end of the program.
    pub const fn leave_stderr_unread(mut self) -> Self {
        self.stderr_unread = true;
        self
    }

    /// Sets the time after which the run is killed and the test fails.
    pub const fn watchdog(mut self, limit: Duration) -> Self {
        self.watchdog = limit;
        self
    }

    /// Does not mind processes that are left; they are killed.
    pub const fn may_leave_processes(mut self) -> Self {
        self.may_leave_processes = true;
        self
    }

    /// Puts a link into the private directory on PATH.
    pub fn link(self, name: &str, target: &Path) -> Self {
        symlink(target, self.bin().join(name)).expect("a link in a private directory");
        self
    }

    /// Puts a shell script into the private directory on PATH.
    pub fn script(self, name: &str, body: &str) -> Self {
        write_script(&self.bin().join(name), body);
        self
    }

    /// Counts the starts of misbehaving workers, see [`Finished::starts`].
    pub fn count_starts(self) -> Self {
        let file = self.directory.path().join(STARTS_FILE);
        self.env(STARTS_VARIABLE, file)
    }

    /// The directory in which the program runs; its own for this run.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The private directory on PATH.
    pub fn bin(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    /// Makes the private directory the only one on PATH.
    pub fn only_private_path(mut self) -> Self {
        self.command.env("PATH", self.bin());
        self
    }

    /// Puts a directory before all others on PATH.
    pub fn path_first(mut self, directory: &Path) -> Self {
        let rest = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{rest}", directory.display(), self.bin().display());
        self.command.env("PATH", path);
        self
    }

    /// Starts the program and waits for its end.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.start().finish()
    }

    /// Starts the program.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(self) -> Running {
        Running::start(self)
    }
}

/// Writes an executable shell script.
///
/// # Panics
/// When it cannot be written.
pub fn write_script(path: &Path, body: &str) {
    // Closed before anyone executes it: a file that is open for writing cannot be executed.
    let mut file = fs::File::create(path).expect("a file in a private directory");
    write!(file, "#!/bin/sh\n{body}\n").expect("a script is written");
    file.set_permissions(fs::Permissions::from_mode(0o755)).expect("a script is executable");
}
