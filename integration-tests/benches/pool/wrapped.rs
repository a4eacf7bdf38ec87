//! Programs that are measured as a whole: from their start to their end.

use std::{
    fs::File,
    io::Read,
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::figures::{
    Figures, Parameters, argument, figures, median, medians, rate, sum_of_squares,
};

/// The program behind `--`; `path`: in which alone it looks for others.
fn command(parameters: &Parameters, words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    if let Some(path) = parameters.find::<String>("path") {
        command.env("PATH", path);
    }
    command
}

/// `runs`: how often the program is run; perhaps `prints`: what it has to print.
pub(crate) fn cold(parameters: &Parameters, program: &[String]) -> Figures {
    let prints: Option<String> = parameters.find("prints");
    let run = || {
        let began = Instant::now();
        let output = command(parameters, program)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("the program starts");
        let time = began.elapsed();
        assert!(output.status.success(), "the program fails: {}", output.status);
        if let Some(prints) = &prints {
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), prints);
        }
        time
    };
    run();
    let times: Vec<f64> =
        (0..parameters.get::<usize>("runs")).map(|_| Duration::as_secs_f64(&run()) * 1e3).collect();
    figures([("ms", median(&times))])
}

/// `input`: a file of so many lines, `tasks`; the program has to print their squares, in any
/// order if `ordered=no`.
pub(crate) fn lines(parameters: &Parameters, program: &[String]) -> Figures {
    let input = File::open(parameters.get::<String>("input")).expect("the lines are there");
    let tasks: u64 = parameters.get("tasks");
    let mut output = tempfile::tempfile().expect("a file for what it prints");
    let began = Instant::now();
    let status = command(parameters, program)
        .stdin(input)
        .stdout(output.try_clone().expect("a file"))
        .status()
        .expect("the program starts");
    let time = began.elapsed();
    assert!(status.success(), "the program fails: {status}");

    let mut text = String::new();
    std::io::Seek::rewind(&mut output).expect("a file");
    output.read_to_string(&mut text).expect("it prints numbers");
    let results = || text.lines().map(|line| line.parse::<u64>().expect("it prints numbers"));
    assert_eq!((results().count() as u64, results().sum()), (tasks, sum_of_squares(tasks)));
    if parameters.find::<String>("ordered").is_none_or(|ordered| ordered != "no") {
        assert!((0..tasks).zip(results()).all(|(task, square)| square == argument(task).pow(2)));
    }
    figures([("per_second", rate(tasks, time)), ("seconds", time.as_secs_f64())])
}

/// `workers`: how many connect to the socket whose path is put in place of `SOCKET` in the words
/// of the program; they go on when all are there. `runs`: how often. The figures are the medians
/// of those that the program prints.
pub(crate) fn all_at_once(parameters: &Parameters, program: &[String]) -> Figures {
    let workers: usize = parameters.get("workers");
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let path = directory.path().join("all");
    let listener = UnixListener::bind(&path).expect("a socket");
    let path = path.to_str().expect("a path in UTF-8").to_owned();
    std::thread::spawn(move || {
        loop {
            // Dropped, and so closed, once all are there.
            let all: Vec<_> = listener.incoming().take(workers).collect();
            assert!(all.iter().all(Result::is_ok), "a worker could not come");
        }
    });
    let words: Vec<String> = program.iter().map(|word| word.replace("SOCKET", &path)).collect();
    let runs: Vec<Figures> =
        (0..parameters.get::<usize>("runs")).map(|_| printed(parameters, &words)).collect();
    medians(&runs)
}

fn printed(parameters: &Parameters, words: &[String]) -> Figures {
    let output = command(parameters, words)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "the program fails: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("figures");
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("figures")
}

/// A program that prints `machine: N ns a task`.
pub(crate) fn machine(parameters: &Parameters, program: &[String]) -> Figures {
    let output = command(parameters, program)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "the program fails: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().find_map(|line| {
        let (_, rest) = line.split_once("machine: ")?;
        rest.strip_suffix(" ns a task")?.parse().ok()
    });
    figures([("machine_ns", told.expect("a line `machine: N ns a task`"))])
}
