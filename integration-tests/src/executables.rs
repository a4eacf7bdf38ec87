//! The executables under test, freshly built.
//!
//! Cargo builds the programs of other packages for a test of this package only if it is asked to
//! (`CARGO_BIN_EXE_*` is for one's own), so `cargo test -p integration-tests` could run a stale
//! `master`. Thin programs here that wrap the libraries would be fresh, but would not be the
//! programs that users run. So each test process asks Cargo once, before its first run. When
//! nothing has changed that takes a fraction of a second; and Cargo's own lock on the target
//! directory makes it safe with many test processes at once, as under `cargo nextest`.
//!
//! Target directory and profile are those of the running test, read off its own path, so that
//! `CARGO_TARGET_DIR`, `--target-dir` and `--release` are followed however they were given. Where
//! the executables lie is not guessed either: Cargo says it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

/// Where the executables under test are, as absolute paths.
#[derive(Debug)]
pub struct Executables {
    /// The program `master`.
    pub master: PathBuf,
    /// The reference worker.
    pub worker: PathBuf,
    /// The worker that is made of a command.
    pub worker_exec: PathBuf,
    /// The worker that misbehaves.
    pub misbehaving_worker: PathBuf,
    /// The worker that plays a script.
    pub scripted_worker: PathBuf,
    /// A worker like the reference worker, some of whose functions are wrong.
    pub other_worker: PathBuf,
}

/// The executables, built when this process asks for the first time.
///
/// # Panics
/// When they do not build.
pub fn executables() -> &'static Executables {
    static EXECUTABLES: OnceLock<Executables> = OnceLock::new();
    EXECUTABLES.get_or_init(build)
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

fn build() -> Executables {
    let test = std::env::current_exe().expect("the test has a path");
    let output = match profile_directory(&test) {
        Some(directory) => {
            let profile = match directory.file_name().and_then(|name| name.to_str()) {
                Some("debug") => "dev",
                Some(name) => name,
                None => panic!("{} is no test that Cargo built", test.display()),
            };
            let target = directory.parent().expect("a profile lies in a target");
            cargo(profile, Some(target))
        }
        // An example in the documentation, which lies anywhere.
        None => cargo(if cfg!(debug_assertions) { "dev" } else { "release" }, None),
    };
    assert!(output.status.success(), "cargo cannot build the executables under test");
    let built = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let find = |name: &str| {
        let found = built.lines().find_map(|line| executable_in(line, name));
        found.unwrap_or_else(|| panic!("cargo built no executable `{name}`"))
    };
    Executables {
        master: find("master"),
        worker: find("worker"),
        worker_exec: find("worker-exec"),
        misbehaving_worker: find("misbehaving-worker"),
        scripted_worker: find("scripted-worker"),
        other_worker: find("other-worker"),
    }
}

/// TARGET/PROFILE of TARGET/PROFILE/deps/test.
fn profile_directory(test: &Path) -> Option<&Path> {
    let dependencies = test.parent()?;
    dependencies.parent().filter(|_| dependencies.ends_with("deps"))
}

#[expect(clippy::disallowed_methods, reason = "Cargo runs apart from what is tested")]
fn cargo(profile: &str, target_directory: Option<&Path>) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--workspace", "--bins", "--profile", profile]);
    if let Some(directory) = target_directory {
        cargo.arg("--target-dir").arg(directory);
    }
    cargo
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs")
}

/// The path of the executable `name`, if this line of Cargo's output is about it.
fn executable_in(line: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
}
