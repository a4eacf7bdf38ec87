//! Memory of the program `master`, and of an idle worker.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use crate::figures::{Figures, Parameters, figures};

/// Lines that are given to the program before its memory is looked at.
const LINES: u64 = 100_000;

/// Behind `--`: the program `master` with its arguments for a map of `square`; `path`: where its
/// worker is.
pub(crate) fn run(parameters: &Parameters, program: &[String]) -> Figures {
    let mut master = Command::new(&program[0])
        .args(&program[1..])
        .env("PATH", parameters.get::<String>("path"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("master starts");
    let mut input = master.stdin.take().expect("a pipe");
    let mut output = BufReader::new(master.stdout.take().expect("a pipe"));
    // Its input stays open, so that it is still there when all results are.
    let feeding = std::thread::spawn(move || {
        let lines: String = (0..LINES).map(|task| format!("{}\n", task % 1000)).collect();
        input.write_all(lines.as_bytes()).expect("master reads");
        input
    });
    for _ in 0..LINES {
        let mut line = String::new();
        output.read_line(&mut line).expect("master prints");
        assert!(!line.is_empty(), "a result is missing");
    }
    let input = feeding.join().expect("the lines were written");

    let pid = master.id();
    let workers = workers_of(pid, "worker");
    assert!(!workers.is_empty(), "master has no worker");
    let mean =
        |of: fn(u32) -> f64| workers.iter().map(|pid| of(*pid)).sum::<f64>() / workers.len() as f64;
    let figures = figures([
        ("master_peak_mib", status(pid, "VmHWM:") / 1024.0),
        ("worker_resident_mib", mean(|pid| status(pid, "VmRSS:")) / 1024.0),
        ("worker_share_mib", mean(share) / 1024.0),
    ]);
    drop(input);
    assert!(master.wait().expect("it is ours").success());
    figures
}

/// The children of a process that run an executable of this name.
fn workers_of(parent: u32, name: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").expect("there is /proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let parents = read("status");
        let line = parents.lines().find_map(|line| line.strip_prefix("PPid:"));
        read("comm").trim() == name && line.is_some_and(|line| line.trim() == parent.to_string())
    })
    .collect()
}

/// Its resident memory, with what it shares with others divided by how many share it, in KiB.
fn share(pid: u32) -> f64 {
    number(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn status(pid: u32, name: &str) -> f64 {
    number(&format!("/proc/{pid}/status"), name)
}

fn number(path: &str, name: &str) -> f64 {
    let text = fs::read_to_string(path).expect("the process is there");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is told");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}
