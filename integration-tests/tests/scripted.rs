//! The worker that plays a script: this project's master passes, and what other masters do wrong is
//! told by the requirement that it breaks.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use integration_tests::{Deadline, Finished, check_all, executables, master, workspace};
use protocol::strict::{Value, envelope, frame, framed};
use serde_json::Value as Json;

/// Runs this project's master against a script, and gives what the script reports as well.
fn play(script: &str) -> (Finished, Vec<Json>) {
    let path = workspace().join("protocol/scripts").join(script);
    let program = master(["map", "square", "2", "3", "--processes", "1", "--chunksize", "2"]);
    let report = program.directory().join("report");
    let worker = format!("scripted-worker {} --report {}", path.display(), report.display());
    // The report lies beside the program, whose directory is gone when it has ended.
    let copy = tempfile::tempdir().unwrap();
    let kept = copy.path().join("report");
    let worker = worker.replace(report.to_str().unwrap(), kept.to_str().unwrap());
    let finished = program.args(["--worker", &worker]).run();
    (finished, lines(&kept))
}

fn lines(report: &Path) -> Vec<Json> {
    let text = fs::read_to_string(report).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn this_master_passes() {
    let (finished, report) = play("session.jsonl");
    finished.ended(0).printed("4\n9\n");
    assert!(report.iter().any(|line| line["verdict"] == "pass"), "{report:?}");
    let (finished, report) = play("fails.jsonl");
    finished.ended(1).printed("9\n").said("ValueError: no such number");
    assert_eq!(report[0]["verdict"], "pass");
    let (finished, _) = play("dies.jsonl");
    finished.ended(1).printed("4\n").said("input 2: lost").said("SIGKILL");
    let (finished, _) = play("out-of-order.jsonl");
    finished.ended(1).said("input 1: lost").said("broke the protocol");
    let (finished, report) = play("future.jsonl");
    finished.ended(3).printed("").said("900");
    assert!(report.iter().all(|line| line["verdict"] == "pass"), "{report:?}");
}

/// The start of a script: the worker is ready, has two features and one function.
const READY: &str = r#"
{"send": {"hello": {"token": "$token", "oldest": 1, "newest": 1, "features": ["progress"], "name": "", "version": "", "functions": [{"name": "square"}]}}}
{"expect": {"welcome": {}}}
{"send": {"ready": {}}}
"#;

/// The same without `ready`.
fn not_ready() -> String {
    READY.lines().filter(|line| !line.contains("ready")).collect::<Vec<_>>().join("\n")
}

/// Plays a script to a master that says these bytes after the hello, and gives the status of the worker
/// and its report.
fn against(script: &str, bytes: &[u8]) -> (i32, Json, String) {
    let directory = tempfile::tempdir().unwrap();
    let [socket, file, report] = ["socket", "script", "report"].map(|n| directory.path().join(n));
    fs::write(&file, script).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    #[expect(clippy::disallowed_methods, reason = "this test plays the master")]
    let mut worker = Command::new(&executables().scripted_worker)
        .arg(&file)
        .arg("--report")
        .arg(&report)
        .args(["--patience", "5"])
        .env("WORKER_ADDRESS", &socket)
        .env("WORKER_TOKEN", "0123456789abcdef")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut hello = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut hello).unwrap();
    stream.write_all(bytes).unwrap();
    let deadline = Deadline::after(Duration::from_secs(20));
    let status = loop {
        if let Some(status) = worker.try_wait().unwrap() {
            break status;
        }
        assert!(!deadline.left().is_zero(), "the worker does not end");
        deadline.pause(Duration::from_millis(5));
    };
    let mut stderr = String::new();
    worker.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let report = lines(&report).pop().unwrap_or_default();
    (status.code().unwrap_or(-1), report, stderr)
}

fn welcome() -> Vec<u8> {
    let fields = [("version", Value::Integer(1)), ("slot", Value::Integer(0))];
    frame(&envelope("welcome", fields), &[])
}

fn call_with(id: i128, function: &str, more: &[(&str, Value)], payload: &[Value]) -> Vec<u8> {
    let fields = [("id", Value::Integer(id)), ("function", Value::text(function))];
    let fields = fields.into_iter().chain(more.iter().cloned());
    frame(&envelope("call", fields), payload)
}

fn call(id: i128) -> Vec<u8> {
    call_with(id, "square", &[], &[Value::Array(vec![Value::Integer(2)])])
}

#[test]
fn each_breach_of_a_master_is_told_by_its_number() {
    let serve = format!("{READY}{{\"serve\": null}}\n");
    let drain = || frame(&envelope("drain", []), &[]);
    let item = || Value::Array(vec![Value::Nil]);
    let range = [("offset", Value::Integer(8)), ("length", Value::Integer(1))];
    let with_feature = {
        let feature = Value::Array(vec![Value::text("shared_output")]);
        let fields = [("version", Value::Integer(1)), ("features", feature)];
        frame(&envelope("welcome", fields), &[])
    };
    let later = frame(&envelope("welcome", [("version", Value::Integer(2))]), &[]);
    let cancel = {
        let fields = [("id", Value::Integer(1)), ("item", Value::Integer(0))];
        frame(&envelope("cancel", fields), &[])
    };
    let breaches: Vec<(&str, String, Vec<u8>)> = vec![
        ("M-6", serve.clone(), [welcome(), vec![0; 4]].concat()),
        ("M-6", serve.clone(), [welcome(), vec![0xff; 4]].concat()),
        ("M-10", serve.clone(), [welcome(), framed(&[0x93, 1, 2, 3])].concat()),
        (
            "M-10",
            serve.clone(),
            [welcome(), call_with(1, "square", &[("x", Value::float(1.5))], &[item()])].concat(),
        ),
        ("M-13", serve.clone(), {
            let mut call = call(1);
            let last = call.len() - 1;
            call[last] = 0xc1;
            [welcome(), call].concat()
        }),
        ("M-13", serve.clone(), [welcome(), call_with(1, "square", &[], &[])].concat()),
        ("M-15", not_ready() + "\n{\"expect\": {\"call\": {}}}\n", [welcome(), call(1)].concat()),
        ("M-15", serve.clone(), [welcome(), call_with(1, "cube", &[], &[item()])].concat()),
        (
            "M-15",
            serve.clone(),
            [welcome(), call_with(1, "square", &[("items", Value::Integer(0))], &[])].concat(),
        ),
        ("M-16", serve.clone(), [welcome(), call(5), call(5)].concat()),
        (
            "M-17",
            format!("{READY}{{\"expect\": {{\"drain\": {{}}}}}}\n{{\"expect\": \"end\"}}\n"),
            [welcome(), drain(), call(1)].concat(),
        ),
        ("M-18", READY.to_owned(), call(1)),
        ("M-18", READY.to_owned(), later),
        ("M-19", READY.to_owned(), with_feature),
        ("M-38", serve.clone(), [welcome(), call(1), cancel].concat()),
        (
            "M-57",
            serve,
            [welcome(), call_with(1, "square", &[("shared", Value::fields(range))], &[])].concat(),
        ),
    ];
    check_all(&breaches, |(requirement, script, bytes)| {
        let (status, report, stderr) = against(script, bytes);
        assert_eq!(report["requirement"], *requirement, "{report} {stderr}");
        assert_eq!((status, &report["verdict"]), (76, &Json::from("fail")));
        assert!(stderr.contains(&format!("the master broke {requirement}:")), "{stderr}");
    });
}

#[test]
fn what_a_script_does_not_expect_is_told_with_its_line() {
    let script = format!("{READY}{{\"expect\": {{\"call\": {{\"function\": \"cube\"}}}}}}\n");
    let (status, report, stderr) = against(&script, &[welcome(), call(7)].concat());
    assert_eq!((status, &report["line"]), (1, &Json::from(5)));
    assert!(stderr.contains("expected: call: {\"function\":\"cube\"}"), "{stderr}");
    assert!(stderr.contains("came:     call: {\"id\": 7, \"function\": \"square\"}"), "{stderr}");
    let script = format!("{READY}{{\"silence\": 5}}\n");
    let (status, report, _) = against(&script, &[welcome(), call(7)].concat());
    assert_eq!((status, &report["expected"]), (1, &Json::from("nothing")));
}

#[test]
fn a_script_that_cannot_be_read_is_told_before_anything_begins() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    fs::write(&script, "{\"send\": {\"ready\": {}}}\n{\"dance\": true}\n").unwrap();
    #[expect(clippy::disallowed_methods, reason = "it is started by hand")]
    let output =
        Command::new(&executables().scripted_worker).arg(&script).arg("--check").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("line 2: there is no step `dance`"), "{stderr}");
}

#[test]
fn every_script_of_the_project_can_be_read() {
    let folder = workspace().join("protocol/scripts");
    let mut scripts = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            #[expect(clippy::disallowed_methods, reason = "it is started by hand")]
            let status = Command::new(&executables().scripted_worker)
                .arg(&path)
                .arg("--check")
                .status()
                .unwrap();
            assert!(status.success(), "{}", path.display());
            scripts += 1;
        }
    }
    assert!(scripts >= 5);
}
