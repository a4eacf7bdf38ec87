//! The main job on real input: a tree of files, compared with the tools that everybody has.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "tests report by panicking")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use integration_tests::{Program, master, workspace};
use sha2::{Digest as _, Sha256};

/// A copy of the sources of this workspace, and files of the sort that breaks programs.
fn plant_tree(directory: &Path) -> Vec<PathBuf> {
    let tree = directory.join("tree");
    for package in ["protocol", "worker", "master", "integration-tests"] {
        copy(&workspace().join(package), &tree.join(package));
    }
    let odd: &[(&str, &[u8])] = &[
        ("empty", b""),
        ("with space", b"one two  three\n"),
        ("-starts-with-a-hyphen", b"one"),
        ("quote'and\"quote", b"\ttab\x0bvertical\x0cform\rreturn\n"),
        ("t\u{fc}r \u{2603}", "na\u{ef}ve caf\u{e9}\n".as_bytes()),
        ("42", b"a name that is JSON as well\n"),
    ];
    for (name, content) in odd {
        fs::write(tree.join(name), content).unwrap();
    }
    let large: Vec<u8> = (0..5_000_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
    fs::write(tree.join("large"), large).unwrap();
    let mut files = files_below(&tree);
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            if entry.file_name() != "target" {
                copy(&source, &target);
            }
        } else {
            fs::copy(source, target).unwrap();
        }
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The files as lines of input, as `find -type f` prints them.
fn lines(files: &[PathBuf]) -> String {
    files.iter().fold(String::new(), |mut lines, file| {
        writeln!(lines, "{}", file.display()).unwrap();
        lines
    })
}

/// The results that a tool of the system prints for each file: the first word of each line.
fn tool_says(tool: &str, arguments: &[&str], files: &[PathBuf]) -> Vec<String> {
    let finished = Program::new(Path::new("/bin/sh"))
        .args(["-c", "for file do \"$TOOL\" $ARGUMENTS < \"$file\" || exit; done", "sh"])
        .args(files)
        .env("LC_ALL", "C.UTF-8")
        .env("TOOL", tool)
        .env("ARGUMENTS", arguments.join(" "))
        .run();
    let first_word = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let words: Vec<String> = finished.ended(0).stdout.lines().map(first_word).collect();
    assert_eq!(words.len(), files.len(), "{tool} says one line a file");
    words
}

#[test]
fn the_sha_256_of_every_file_of_a_tree() {
    let program = master(["map", "--text", "sha256"]);
    let files = plant_tree(program.directory());
    let found = Program::new(Path::new("/bin/sh")).args(["-c", "command -v sha256sum"]).run();
    let expected = if found.status == 0 {
        tool_says("sha256sum", &[], &files)
    } else {
        eprintln!("there is no sha256sum: compared with the crate sha2 instead");
        files.iter().map(|file| digest(&fs::read(file).unwrap())).collect()
    };
    let expected: String = expected.iter().map(|digest| format!("\"{digest}\"\n")).collect();
    program.stdin(lines(&files)).run().ended(0).printed(&expected).was_quiet();
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of binary files each `wc` has an opinion of its own.
fn is_text(file: &Path) -> bool {
    let is_ordinary = |character: char| match character.is_ascii() {
        true => !character.is_ascii_control() || ('\t'..='\r').contains(&character),
        false => !character.is_whitespace() && !character.is_control(),
    };
    String::from_utf8(fs::read(file).unwrap()).is_ok_and(|text| text.chars().all(is_ordinary))
}

#[test]
fn the_words_of_every_text_of_a_tree() {
    let program = master(["map", "--text", "--processes", "2", "count_words"]);
    let mut files = plant_tree(program.directory());
    files.retain(|file| is_text(file));
    assert!(files.len() > 50, "{} texts", files.len());
    let expected = tool_says("wc", &["-w"], &files).join("\n") + "\n";
    program.stdin(lines(&files)).run().ended(0).printed(&expected).was_quiet();
}

#[test]
fn a_file_that_cannot_be_read_costs_only_itself() {
    let program = master(["map", "--text", "sha256"]);
    let file = program.directory().join("file");
    fs::write(&file, "content").unwrap();
    let file = file.to_str().unwrap();
    let expected = format!("\"{0}\"\n\"{0}\"\n", digest(b"content"));
    let finished = program.args([file, "nowhere", file]).run();
    finished.ended(1).printed(&expected).said("input 2").said("nowhere");
}

#[test]
fn the_pipeline_of_the_readme() {
    let program = Program::new(Path::new("/bin/sh"));
    let files = plant_tree(program.directory());
    let executables = integration_tests::executables();
    let finished = program
        .link("master", &executables.master)
        .args(["-c", "find tree -type f | master map --text sha256 | wc -l"])
        .run();
    finished.ended(0).was_quiet();
    assert_eq!(finished.stdout.trim(), files.len().to_string());
}
