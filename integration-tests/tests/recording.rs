//! Recordings: everything that is said is in them, but for tokens; and what is left of one can be
//! read.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use integration_tests::{Finished, Program, check_all, executables, master, master_with};
use master::recording::{self, Message, Notation};
use protocol::frame::Decoder;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// A file to record to.
struct Recording {
    _directory: TempDir,
    path: PathBuf,
}

impl Recording {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("recording-").tempdir().unwrap();
        Self { path: directory.path().join("recording"), _directory: directory }
    }

    /// A run of this program that is recorded.
    fn of(&self, program: Program) -> Program {
        program.arg("--record").arg(&self.path)
    }

    fn frames(&self, options: &[&str]) -> Finished {
        frames(&self.path, options)
    }

    /// The lines of `master frames`, without the time.
    fn lines(&self, options: &[&str]) -> Vec<String> {
        let finished = self.frames(options);
        finished.ended(0).was_quiet();
        let without_time = |line: &str| line.trim_start().split_once(' ').unwrap().1.to_owned();
        finished.stdout.lines().map(without_time).collect()
    }

    fn json(&self) -> Vec<Value> {
        let finished = self.frames(&["--json"]);
        finished.ended(0);
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }
}

/// Where the record of the end begins.
fn end_of(recording: &[u8]) -> usize {
    let record = b"\x92\xa3end";
    recording.windows(record.len()).rposition(|window| window == record).unwrap()
}

fn frames(path: &Path, options: &[&str]) -> Finished {
    master(["frames"]).arg(path).args(options).run()
}

/// Whether some lines begin like that, in this order, whatever else there is.
#[track_caller]
fn begin_like(lines: &[String], expected: &[&str]) {
    let mut left = lines.iter();
    for start in expected {
        assert!(left.any(|line| line.starts_with(start)), "no {start:?} in {lines:#?}");
    }
}

#[test]
fn a_session_is_recorded_frame_by_frame() {
    let recording = Recording::new();
    let options = ["map", "--processes", "1", "--chunksize", "3", "square", "2", "x", "3"];
    recording.of(master(options)).run().ended(1).printed("4\n9\n");
    let lines = recording.lines(&[]);
    let expected = [
        "0/0 -- started, pid ",
        "0/0 <- hello token=\"\" oldest=1 newest=1 ",
        "0/0 -> welcome version=1 features=[\"progress\",\"cancel\"] slot=0",
        "0/0 <- ready",
        "0/0 -> call id=0 function=\"square\" items=3  [2] [\"x\"] [3]",
        "0/0 <- result id=0 item=0  4",
        "0/0 <- error id=0 item=1 failure={\"kind\":\"InvalidArguments\",",
        "0/0 <- result id=0 item=2  9",
        "0/0 -> drain",
        "0/0 -- exited with status 0",
    ];
    begin_like(&lines, &expected);
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    let errors = recording.lines(&["--errors"]);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(recording.lines(&["--slot", "1"]).is_empty());
    assert_eq!(recording.lines(&["--worker", "0", "--slot", "0"]), lines);
}

#[test]
fn starmap_and_apply_are_recorded_too() {
    for (verb, argument) in [("starmap", "[5]"), ("apply", "5")] {
        let recording = Recording::new();
        recording.of(master([verb, "square", argument])).run().ended(0).printed("25\n");
        let lines = recording.lines(&[]);
        let call = "0/0 -> call id=0 function=\"square\"  [5]";
        begin_like(&lines, &[call, "0/0 <- result id=0 item=0  25", "0/0 -- exited"]);
    }
}

#[test]
fn values_are_told_apart_for_machines() {
    let recording = Recording::new();
    let inputs = ["1", "1.0", "\"\u{fc}\"", "9007199254740993", "{\"$bin\": 0}"];
    let map = master(["map", "--processes", "1", "--chunksize", "9", "echo"]);
    recording.of(map.args(inputs)).run().ended(0);
    let lines = recording.json();
    let call = lines.iter().find(|line| line["message"] == "call").unwrap();
    let expected: Value = serde_json::from_str(
        r#"[[1], [{"$float": "1.0"}], ["ü"], [{"$integer": "9007199254740993"}],
            [{"$map": [["$bin", 0]]}]]"#,
    )
    .unwrap();
    assert_eq!(call["payload"], expected);
    assert_eq!(call["fields"]["items"], 5);
    assert_eq!((&call["worker"], &call["direction"]), (&0.into(), &"to_worker".into()));
    assert!(lines.iter().all(|line| line["at"].is_f64() && line["pid"].is_u64()), "{lines:?}");
    assert_eq!(lines.last().unwrap()["event"], "ended");
}

#[test]
fn large_values_go_through_the_socket_and_are_all_there() {
    let recording = Recording::new();
    let large = "x".repeat(300_000);
    let map = master(["map", "--text", "--processes", "1", "echo"]);
    recording.of(map).stdin(format!("{large}\n")).run().ended(0).printed(&format!("\"{large}\"\n"));
    let lines = recording.json();
    let welcome = lines.iter().find(|line| line["message"] == "welcome").unwrap();
    assert_eq!(welcome["fields"]["features"], serde_json::json!(["progress", "cancel"]));
    for (message, value) in
        [("call", serde_json::json!([[large]])), ("result", serde_json::json!([large]))]
    {
        let line = lines.iter().find(|line| line["message"] == message).unwrap();
        assert!(line["payload"] == value, "the payload of the {message}");
    }
    let short = recording.lines(&[]);
    assert!(short.iter().all(|line| line.len() < 1000));
    assert!(recording.lines(&["--all"]).iter().any(|line| line.contains(&large)));
}

/// Workers that note their token, and what they are then.
#[test]
fn no_token_is_in_a_recording() {
    let workers = ["worker", "misbehaving-worker hello-twice", "misbehaving-worker wrong-token"];
    check_all(&workers, |worker| {
        let recording = Recording::new();
        let tokens = recording.path.with_extension("tokens");
        let note = format!("echo \"$WORKER_TOKEN\" >> '{}'; exec {worker}", tokens.display());
        let map = master(["map", "--worker", "noting", "--start-timeout", "2s", "echo", "1"]);
        recording.of(map.script("noting", &note)).run();
        let tokens = fs::read_to_string(tokens).unwrap();
        assert!(tokens.lines().next().is_some_and(|token| token.len() >= 16), "{tokens:?}");
        let bytes = recording.bytes();
        for token in tokens.lines() {
            let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
            assert!(!found, "{worker}: a token is in the recording");
        }
        recording.frames(&[]).ended(0);
    });
}

#[test]
fn what_a_worker_that_dies_had_written_is_recorded_and_the_next_has_another_number() {
    let recording = Recording::new();
    let arguments = ["--processes", "1", "--chunksize", "3", "echo", "1", "bad", "2"];
    let map = master_with("half-a-result-then-exit", "map", arguments);
    recording.of(map).run().ended(1).printed("1\n2\n");
    let lines = recording.lines(&[]);
    begin_like(
        &lines,
        &[
            "0/0 -- started, pid ",
            "0/0 -> call id=0 function=\"echo\" items=3  [1] [\"bad\"] [2]",
            "0/0 <- result id=0 item=0  1",
            "0/0 <- no whole frame, ",
            "0/0 -- exited with status 0",
            "0/1 -- started, pid ",
            "0/1 -> call id=1 function=\"echo\"  [2]",
            "0/1 <- result id=1 item=0  2",
            "0/1 -- exited with status 0",
        ],
    );
    let errors = recording.lines(&["--errors"]);
    assert!(errors.len() == 1 && errors[0].contains("no whole frame"), "{errors:#?}");
    assert!(recording.lines(&["--worker", "1"]).iter().all(|line| line.starts_with("0/1")));
}

#[test]
fn deaths_and_malformed_frames_are_told() {
    for (mode, text) in [
        ("crash-in-call KILL", "ended by SIGKILL"),
        ("crash-in-call 41", "exited with status 41"),
        ("malformed-envelope", "no message ("),
    ] {
        let recording = Recording::new();
        let map = master_with(mode, "map", ["--processes", "1", "echo", "1", "bad", "2"]);
        recording.of(map).run().ended(1);
        let errors = recording.lines(&["--errors"]);
        assert!(errors.iter().any(|line| line.contains(text)), "{mode}: {errors:#?}");
    }
    let recording = Recording::new();
    // Found, and then not to be started.
    let map = master(["map", "--worker", "gone", "--processes", "1", "echo", "1"]);
    let map = map.script("gone", "");
    fs::write(map.bin().join("gone"), "#!/nowhere/shell").unwrap();
    recording.of(map).run().ended(3);
    begin_like(&recording.lines(&["--errors"]), &["0/0 -- could not be started: "]);
}

#[test]
fn a_file_that_cannot_be_written_is_told() {
    for file in ["/dev/full", "/nowhere/recording"] {
        let finished = master(["map", "square", "2", "--record", file]).run();
        finished.ended(2).printed("").said("cannot record to").said(file);
    }
}

/// A pipe whose reader goes: the disk that is full in the middle of a run.
#[test]
fn a_recording_that_ends_early_costs_no_result_and_is_told_once() {
    let script = "mkfifo pipe; head -c 100 pipe > start & \
                  seq 20000 | master map --record pipe square; echo \"status $?\"; wait";
    let program = Program::new(Path::new("/bin/sh"))
        .args(["-c", script])
        .link("master", &integration_tests::executables().master)
        .link("worker", &integration_tests::executables().worker);
    let finished = program.run();
    let numbers: String = (1..=20_000_u64).map(|n| format!("{}\n", n * n)).collect();
    finished.ended(0).printed(&format!("{numbers}status 1\n")).said("cannot record to pipe");
    assert_eq!(finished.stderr.matches("cannot record").count(), 1, "{}", finished.stderr);
}

#[test]
fn a_recording_that_was_cut_is_printed_up_to_there() {
    let recording = Recording::new();
    recording.of(master(["map", "--processes", "1", "square", "2", "3"])).run().ended(0);
    let whole = recording.frames(&[]).stdout.clone();
    let bytes = recording.bytes();
    for length in (0..bytes.len()).step_by(bytes.len() / 40) {
        fs::write(&recording.path, &bytes[..length]).unwrap();
        let finished = recording.frames(&[]);
        assert!(whole.starts_with(&finished.stdout), "{}", finished.describe());
        match finished.status {
            0 => finished.said("has no end"),
            _ => finished.ended(2).said("byte ").said("record "),
        };
    }
    // Without the record of its end.
    fs::write(&recording.path, &bytes[..end_of(&bytes)]).unwrap();
    assert_eq!(recording.frames(&[]).stdout, whole);
}

#[test]
fn what_is_no_recording_is_told_with_its_place() {
    let recording = Recording::new();
    recording.of(master(["map", "--processes", "1", "square", "2"])).run().ended(0);
    let good = recording.bytes();
    let whole = recording.frames(&[]).stdout.clone();
    let damaged = [&good[..], b"\xc1"].concat();
    let other_version = [&good[..18], b"\x63", &good[19..]].concat();
    let path = &recording.path;
    for (bytes, status, printed, texts) in [
        // What stands behind the end is nobody's.
        (damaged, 0, whole.as_str(), &[][..]),
        (other_version, 2, "", &["version 99", "byte 0"][..]),
        (b"no recording at all".to_vec(), 2, "", &["no recording"]),
        (Vec::new(), 2, "", &["empty"]),
    ] {
        fs::write(path, bytes).unwrap();
        let finished = frames(path, &[]);
        finished.ended(status).printed(printed);
        for text in texts {
            finished.said(text);
        }
    }
    let garbage = [&good[..end_of(&good)], b"\xc1garbage"].concat();
    fs::write(path, garbage).unwrap();
    let finished = frames(path, &[]);
    finished.ended(2).printed(&whole).said("not MessagePack").said("behind 6 frames");
    frames(Path::new("/nowhere"), &[]).ended(2).said("cannot open the recording /nowhere");
}

#[test]
fn the_recording_of_a_master_that_is_killed_can_be_read() {
    let recording = Recording::new();
    let map = recording.of(master(["map", "--processes", "1", "square"]));
    let mut running = map.stdin_open().start();
    running.write_line("7");
    assert_eq!(running.next_line(), "49");
    // By then the answer is on its way to the file: the next is not answered before it is there.
    running.write_line("8");
    assert_eq!(running.next_line(), "64");
    let deadline = integration_tests::Deadline::after(std::time::Duration::from_secs(20));
    while !recording.frames(&[]).stdout.contains("item=0  64") {
        assert!(!deadline.left().is_zero(), "the answer is not recorded");
    }
    running.signal(Signal::KILL);
    running.finish().ended(137);
    let finished = recording.frames(&[]);
    finished.ended(0).said("has no end");
    assert!(finished.stdout.contains("item=0  49"), "{}", finished.describe());
}

#[test]
fn output_that_is_closed_early_is_no_error() {
    let recording = Recording::new();
    let numbers: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let map = master(["map", "--processes", "2", "--chunksize", "1", "square"]);
    recording.of(map).stdin(numbers).run().ended(0);
    let finished = master(["frames"]).arg(&recording.path).close_stdout_after(3).run();
    finished.ended(0).was_quiet();
    let lines = recording.lines(&[]);
    let answers = lines.iter().filter(|line| line.contains(" <- result ")).count();
    assert_eq!(answers, 20_000);
}

/// The system would end a program that writes beyond its limit, unless that was told otherwise.
#[test]
fn a_recording_that_may_not_grow_ends_early() {
    let script = "ulimit -f 8; exec \"$0\" map --processes 1 --record recording square";
    let numbers: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let squares: String = (0..20_000_u64).map(|n| format!("{}\n", n * n)).collect();
    let master = executables().master.clone();
    let run = Program::new(Path::new("/bin/sh")).args(["-c", script]).arg(master);
    let finished = run.link("worker", &executables().worker).stdin(numbers).run();
    finished.ended(1).printed(&squares).said("the recording ends early: File too large");
}

/// A list of many small values takes far more room than its bytes when all of it is read.
#[test]
fn of_a_large_list_only_what_is_shown_is_read() {
    let recording = Recording::new();
    let list = format!("[{}0]\n", "0,".repeat(4_000_000));
    recording.of(master(["map", "--processes", "1", "echo"])).stdin(list).run().ended(0);
    let script = "ulimit -v 100000; exec \"$0\" frames \"$1\"";
    let frames = Program::new(Path::new("/bin/sh")).args(["-c", script]);
    let finished = frames.arg(&executables().master).arg(&recording.path).run();
    finished.ended(0).shows("[0,0,0,0,").shows("0,0...\n");
}

/// Every frame of the vectors, taken apart and written, is what the vectors say it is.
#[test]
fn values_are_written_as_in_the_vectors() {
    let vectors = integration_tests::workspace().join("protocol/vectors/valid");
    let mut count = 0;
    for entry in fs::read_dir(vectors).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let vector: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let bytes = fs::read(path.with_extension("bin")).unwrap();
        let mut decoder = Decoder::new();
        decoder.set_limit(1 << 30);
        decoder.push(&bytes);
        for frame in vector["frames"].as_array().unwrap() {
            let message = Message::read(decoder.next_frame().unwrap().unwrap()).unwrap();
            let json =
                |value| -> Value { serde_json::from_str(&Notation::EXACT.text(&value)).unwrap() };
            let fields = json(recording::Value::Map(message.fields));
            let payload = json(recording::Value::Array(message.payload));
            let envelope = serde_json::json!({ message.name: fields });
            assert!(envelope == expanded(&frame["envelope"]), "{}: {envelope}", path.display());
            assert!(payload == expanded(&frame["payload"]), "{}: {payload}", path.display());
            count += 1;
        }
    }
    assert!(count > 50, "{count} frames");
}

/// A value of the vectors with its repeated strings in full.
fn expanded(value: &Value) -> Value {
    match value {
        Value::Array(elements) => elements.iter().map(expanded).collect(),
        Value::Object(entries) => match entries.get("$repeat").and_then(Value::as_array) {
            Some(repeat) => {
                let times = usize::try_from(repeat[1].as_u64().unwrap()).unwrap();
                repeat[0].as_str().unwrap().repeat(times).into()
            }
            None => entries.iter().map(|(key, value)| (key.clone(), expanded(value))).collect(),
        },
        other => other.clone(),
    }
}
