//! The processor alone: bare processes that do an equal share of the tasks each.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use crate::figures::{Figures, Parameters, figures};

/// `worker`, `processes`, `tasks`, `rounds`: of one task, `work`: the seconds that all of it takes
/// one process.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let worker: String = parameters.get("worker");
    let tasks: u64 = parameters.get("tasks");
    let rounds: u64 = parameters.get("rounds");
    let processes: u64 = parameters.get("processes");
    let started: Vec<_> = (0..processes)
        .map(|process| {
            let share = tasks * (process + 1) / processes - tasks * process / processes;
            Command::new(&worker)
                .args(["--burn", &share.to_string(), &rounds.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the bare process starts")
        })
        .collect();
    // They are there and wait.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let began = Instant::now();
    for process in &started {
        process.stdin.as_ref().expect("a pipe").write_all(b"!").expect("the process waits");
    }
    let mut sum = 0_u64;
    for process in started {
        let output = process.wait_with_output().expect("the process ends");
        let text = String::from_utf8(output.stdout).expect("a number");
        sum = sum.wrapping_add(text.trim().parse().expect("a number"));
    }
    let seconds = began.elapsed().as_secs_f64();
    // A share is a multiple of the same state.
    assert!(tasks == 0 || sum != 0, "nothing was computed");
    figures([("seconds", seconds), ("speed_up", parameters.get::<f64>("work") / seconds)])
}
