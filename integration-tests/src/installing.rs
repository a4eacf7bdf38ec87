//! Builds and installs what is not made by Cargo. Whatever goes wrong is told as a reason, so that
//! it can be left out and told.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::executables::workspace;

/// Installs the package of `worker/python`, with these of its extras, such as `[test]`, into an environment of its
/// own in this directory, which is made anew where anything has changed. Gives the directory of the
/// environment's programs.
///
/// # Errors
/// For want of Python, or of what the package needs.
pub fn python_package(directory: &Path, extras: &str) -> Result<PathBuf, String> {
    let mut version = command("python3");
    version.args(["-c", "import sys; print(sys.executable, sys.version)", extras]);
    let mut state = run(version, "python3")?;
    let package = workspace().join("worker/python");
    let mut files = vec![package.join("pyproject.toml"), package.join("README.md")];
    let modules = fs::read_dir(package.join("src/pool_worker")).map_err(|e| e.to_string())?;
    files.extend(modules.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
    files.sort();
    for file in &files {
        state.extend(file.as_os_str().as_encoded_bytes());
        state.extend(fs::read(file).map_err(|error| error.to_string())?);
    }
    let (environment, installed) = (directory.join("environment"), directory.join("installed"));
    if fs::read(&installed).ok().as_ref() != Some(&state) {
        // It may not be there yet; and what cannot be removed cannot be written either.
        let _ = fs::remove_dir_all(directory);
        // From a copy, as what builds a package leaves files beside its source.
        for file in &files {
            let copy = directory.join("source").join(file.strip_prefix(&package).unwrap_or(file));
            fs::create_dir_all(copy.parent().unwrap_or(directory))
                .and_then(|()| fs::copy(file, &copy))
                .map_err(|error| format!("{} cannot be written: {error}", copy.display()))?;
        }
        let mut make = command("python3");
        make.args(["-m", "venv"]).arg(&environment);
        run(make, "python3 -m venv")?;
        let mut install = command(environment.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.current_dir(directory).arg(format!("./source{extras}"));
        run(install, "pip install worker/python")?;
        fs::write(&installed, state).map_err(|error| error.to_string())?;
    }
    Ok(environment.join("bin"))
}

/// A program that is no part of what is tested.
#[expect(clippy::disallowed_methods, reason = "what builds workers runs apart from what is tested")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// What the command prints, if it succeeds.
///
/// # Errors
/// If it cannot be run, or fails: what it says.
pub fn run(mut command: Command, name: &str) -> Result<Vec<u8>, String> {
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
