//! The README is true: every command in it is run, and prints what it says; every piece of Rust
//! in it is compiled; every link in the documents leads somewhere.
//!
//! How the README has to be written:
//! - A block marked `console` holds commands, each behind `$ ` and perhaps continued behind `> `,
//!   and below each what it prints: the lines of standard output and those of standard error,
//!   each in their order, one stream between the other as one likes. With
//!   `console, in any order` the lines may come in any order.
//! - In what is printed `4711` stands for any number, and `...` for any text within a line.
//! - A command has to end with status 0; one that does not shows so by `; echo "status $?"`.
//! - A block marked `rust` is the end of one of the files in [`COMPILED`].
//! - A block marked `text` holds no commands. There are no other blocks.
//!
//! All commands run in one directory, in order, each in a shell of its own. It holds copies of
//! the packages, and `target/release` with the freshly built executables, which is on PATH.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use integration_tests::{Executables, Program, executables, workspace};
use tempfile::TempDir;

/// The commands that are not run here, each with the reason.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "cargo build --release && find . -name '*.rs' -not -path './target/*' -type f | \
         target/release/master map --text sha256",
        "it builds everything anew; CI runs it",
    ),
    ("cargo test --workspace", "it is what runs this; CI runs it"),
    (
        "CHAOS_SECONDS=60 cargo test --release -p integration-tests --test chaos -- --nocapture",
        "it takes minutes; the tests run the same for seconds",
    ),
    ("cargo build --release --examples", "the test builds them in its own way; CI runs it"),
    ("export PATH=\"$PWD/target/release:$PATH\"", "the test sets PATH like that for each command"),
];

/// The files that the blocks of Rust are from, in the order of the blocks.
const COMPILED: &[&str] =
    &["master/examples/tutorial.rs", "master/examples/lazy.rs", "worker/examples/greeter.rs"];

/// A block of code.
struct Block {
    /// What stands behind the opening fence.
    info: String,
    text: String,
}

/// A command and what it is to print.
struct Step {
    command: String,
    expected: Vec<String>,
    in_any_order: bool,
}

#[test]
fn every_command_prints_what_the_readme_says() {
    let steps = steps(&read("README.md"));
    let directory = prepare();
    let mut failures = String::new();
    for step in steps.iter().filter(|step| !is_not_run(&step.command)) {
        failures.extend(run(directory.path(), step).err());
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn every_command_that_is_not_run_is_in_the_readme_and_run_by_ci() {
    let steps = steps(&read("README.md"));
    let continuous_integration = read(".ci/run");
    assert!(continuous_integration.contains(r"s/^\$ \(cargo .*"), ".ci/run runs them otherwise");
    for (command, reason) in NOT_RUN {
        assert!(steps.iter().any(|step| step.command == *command), "not in README: {command}");
        let by_ci = reason.ends_with("CI runs it");
        assert_eq!(by_ci, command.starts_with("cargo "), "CI runs what begins with cargo");
    }
}

#[test]
fn every_piece_of_rust_is_compiled() {
    let blocks = blocks(&read("README.md"));
    let rust: Vec<&Block> = blocks.iter().filter(|block| block.info == "rust").collect();
    assert_eq!(rust.len(), COMPILED.len(), "blocks of Rust");
    for (block, file) in rust.iter().zip(COMPILED) {
        assert!(read(file).ends_with(&format!("\n{}", block.text)), "differs from {file}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        for link in read(document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let found = link.contains("://") || workspace().join(link).exists();
            assert!(found, "{document} has a link to {link}, which is not there");
        }
    }
}

/// The table of what can go wrong names a test for each row.
#[test]
fn every_fault_has_its_test() {
    let readme = read("README.md");
    let section = readme.split("## When something goes wrong").nth(1).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let named = row.trim_end_matches(" |").rsplit(" | ").next().unwrap().trim_matches('`');
        let (file, test) = named.split_once("::").unwrap_or_else(|| panic!("no test in: {row}"));
        let places = [format!("{file}.rs"), format!("{file}/main.rs")];
        let source = places.iter().find_map(|place| {
            fs::read_to_string(workspace().join("integration-tests/tests").join(place)).ok()
        });
        let test = format!("#[test]\nfn {test}() {{");
        assert!(source.is_some_and(|text| text.contains(&test)), "there is no test {named}");
    }
}

fn read(document: &str) -> String {
    let path = workspace().join(document);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let mut text = String::new();
        loop {
            match lines.next() {
                Some(line) if line.starts_with("```") => break,
                Some(line) => writeln!(text, "{line}").unwrap(),
                None => panic!("a block is not closed: ```{info}"),
            }
        }
        blocks.push(Block { info: info.to_owned(), text });
    }
    blocks
}

fn steps(document: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for Block { info, text } in blocks(document) {
        match info.as_str() {
            "console" => append_steps(&mut steps, &text, false),
            "console, in any order" => append_steps(&mut steps, &text, true),
            "rust" => {}
            "text" => assert!(!text.contains("\n$ "), "a command that is not run:\n{text}"),
            _ => panic!("a block that nobody checks: ```{info}"),
        }
    }
    steps
}

fn append_steps(steps: &mut Vec<Step>, text: &str, in_any_order: bool) {
    assert!(text.starts_with("$ "), "a block that begins without a command:\n{text}");
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, expected) = (command.to_owned(), Vec::new());
            steps.push(Step { command, expected, in_any_order });
            continue;
        }
        let step = steps.last_mut().expect("a command came before");
        match line.strip_prefix("> ") {
            Some(more) if step.expected.is_empty() => write!(step.command, "\n{more}").unwrap(),
            _ => step.expected.push(line.to_owned()),
        }
    }
}

fn is_not_run(command: &str) -> bool {
    NOT_RUN.iter().any(|(not_run, _)| *not_run == command)
}

/// The root of the project as the reader of the README has it.
fn prepare() -> TempDir {
    let directory = tempfile::Builder::new().prefix("readme-").tempdir().unwrap();
    let root = directory.path();
    for package in ["protocol", "worker", "master"] {
        copy(&workspace().join(package), &root.join(package));
    }
    let release = root.join("target/release");
    fs::create_dir_all(release.join("examples")).unwrap();
    // No links: the program looks for a worker beside itself, wherever it really is.
    let Executables { master, worker, worker_exec, misbehaving_worker, .. } = executables();
    for executable in [master, worker, worker_exec, misbehaving_worker] {
        fs::copy(executable, release.join(executable.file_name().unwrap())).unwrap();
    }
    let examples = build_examples();
    for name in ["greeter", "lazy", "tutorial"] {
        symlink(examples.join(name), release.join("examples").join(name)).unwrap();
    }
    directory
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match source.is_dir() {
            true => copy(&source, &target),
            false => _ = fs::copy(source, target).unwrap(),
        }
    }
}

/// Builds the examples where the executables are, and gives their directory.
#[expect(clippy::disallowed_methods, reason = "Cargo runs apart from what is tested")]
fn build_examples() -> PathBuf {
    let profile_directory = executables().master.parent().unwrap();
    let profile = match profile_directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        name => name,
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--examples", "--profile", profile])
        .arg("--target-dir")
        .arg(profile_directory.parent().unwrap())
        .current_dir(workspace())
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "cargo cannot build the examples");
    profile_directory.join("examples")
}

fn run(directory: &Path, step: &Step) -> Result<(), String> {
    let finished = Program::new(Path::new("/bin/sh"))
        .args(["-c", "cd \"$1\" && eval \"$2\"", "sh"])
        .arg(directory)
        .arg(&step.command)
        .path_first(&directory.join("target/release"))
        .run();
    let expected: Vec<&str> = step.expected.iter().map(String::as_str).collect();
    let stdout: Vec<&str> = finished.stdout.lines().collect();
    let stderr: Vec<&str> = finished.stderr.lines().collect();
    let as_told = match step.in_any_order {
        true => same_in_any_order(&expected, &[stdout, stderr].concat()),
        false => is_merge(&expected, &stdout, &stderr),
    };
    if as_told && finished.status == 0 {
        return Ok(());
    }
    let Step { command, expected, .. } = step;
    Err(format!(
        "\n$ {command}\n--- expected, with status 0\n{}{}\n",
        expected.join("\n"),
        finished.describe()
    ))
}

/// Whether `expected` is the lines of both streams, each in their order.
fn is_merge(expected: &[&str], stdout: &[&str], stderr: &[&str]) -> bool {
    let Some((first, rest)) = expected.split_first() else {
        return stdout.is_empty() && stderr.is_empty();
    };
    let next_is = |lines: &[&str]| lines.first().is_some_and(|line| matches(first, line));
    next_is(stdout) && is_merge(rest, &stdout[1..], stderr)
        || next_is(stderr) && is_merge(rest, stdout, &stderr[1..])
}

fn same_in_any_order(expected: &[&str], lines: &[&str]) -> bool {
    let mut left = expected.to_vec();
    let each_is_expected = lines.iter().all(|line| {
        let place = left.iter().position(|pattern| matches(pattern, line));
        place.map(|place| left.remove(place)).is_some()
    });
    each_is_expected && left.is_empty()
}

/// Whether a line is as expected, where `4711` is any number and `...` any text.
fn matches(pattern: &str, line: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("...") {
        let mut ends = line.char_indices().map(|(end, _)| end).chain([line.len()]);
        return ends.any(|end| matches(rest, &line[end..]));
    }
    if let Some(rest) = pattern.strip_prefix("4711") {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        return digits > 0 && matches(rest, &line[digits..]);
    }
    let (mut pattern, mut line) = (pattern.chars(), line.chars());
    match (pattern.next(), line.next()) {
        (None, None) => true,
        (one, other) => one == other && matches(pattern.as_str(), line.as_str()),
    }
}

#[test]
fn lines_match_by_their_placeholders_alone() {
    for (pattern, line, expected) in [
        ("", "", true),
        ("a", "", false),
        ("", "a", false),
        ("pid 4711, done", "pid 3, done", true),
        ("pid 4711", "pid x", false),
        ("pid 4711", "pid 12 ", false),
        ("`.../worker` was", "`/a/b/worker` was", true),
        ("`.../worker` was", "`/a/b/worker` is", false),
        ("after ...", "after ", true),
    ] {
        assert_eq!(matches(pattern, line), expected, "{pattern:?} {line:?}");
    }
}

#[test]
fn streams_may_be_merged_but_not_reordered() {
    for (expected, stdout, stderr, merged) in [
        (&["1", "e", "2"][..], &["1", "2"][..], &["e"][..], true),
        (&["1", "2", "e"], &["1", "2"], &["e"], true),
        (&["2", "1"], &["1", "2"], &[], false),
        (&["1"], &["1", "2"], &[], false),
        (&["1", "2"], &["1"], &[], false),
        (&["1"], &["1"], &["e"], false),
        (&["a", "b"], &["a"], &["b"], true),
    ] {
        assert_eq!(is_merge(expected, stdout, stderr), merged, "{expected:?}");
    }
    assert!(same_in_any_order(&["a 4711", "b"], &["b", "a 1"]));
    assert!(!same_in_any_order(&["a", "b"], &["b", "b"]));
    assert!(!same_in_any_order(&["a", "b"], &["b"]));
}
