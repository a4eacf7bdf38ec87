//! The harness itself: its checks can fail, and the worker it misbehaves with can behave.

#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use integration_tests::{Program, leftovers};
use protocol::{
    envelope,
    frame::Decoder,
    launch,
    message::{Call, FromMaster, FromWorker, Welcome},
};

fn shell(script: &str) -> Program {
    Program::new(Path::new("/bin/sh")).args(["-c", script])
}

/// The message of the panic that `run` ends in.
fn complaint<T>(run: impl FnOnce() -> T) -> String {
    *catch_unwind(AssertUnwindSafe(run)).err().unwrap().downcast::<String>().unwrap()
}

#[test]
fn a_run_gives_status_and_output() {
    let finished = shell("read line; echo \"$line\"; echo two >&2; exit 3").stdin("one\n").run();
    finished.ended(3).printed("one\n").said("two");
    shell("kill -KILL $$").run().ended(137).printed("").was_quiet();
}

#[test]
fn what_is_not_as_expected_is_told() {
    let finished = shell("echo out; echo err >&2").run();
    for complaint in [
        complaint(|| finished.ended(1)),
        complaint(|| finished.printed("in\n")),
        complaint(|| finished.said("nothing")),
        complaint(|| finished.was_quiet()),
    ] {
        assert!(complaint.contains("stdout\nout") && complaint.contains("stderr\nerr"));
    }
}

#[test]
fn a_run_that_does_not_end_is_killed() {
    let running = shell("echo started; sleep 100 & wait").watchdog(Duration::from_secs(1)).start();
    let mark = running.mark().to_owned();
    let complaint = complaint(|| running.finish());
    assert!(complaint.contains("watchdog") && complaint.contains("started"), "{complaint}");
    assert_eq!(leftovers::count_processes(&mark), 0);
}

#[test]
fn a_process_that_is_left_is_found_and_killed() {
    let running = shell("sleep 100 >/dev/null 2>&1 &").start();
    let mark = running.mark().to_owned();
    let complaint = complaint(|| running.finish());
    assert!(complaint.contains("sleep 100"), "{complaint}");
    assert_eq!(leftovers::count_processes(&mark), 0);
}

#[test]
fn a_file_that_is_left_is_found() {
    for variable in ["TMPDIR", "XDG_RUNTIME_DIR"] {
        let complaint = complaint(|| shell(&format!("touch ${variable}/forgotten")).run());
        assert!(complaint.contains("forgotten"), "{complaint}");
    }
}

#[test]
fn the_misbehaving_worker_can_behave() {
    let program = Program::new(Path::new(env!("CARGO_BIN_EXE_misbehaving-worker")));
    let address = program.directory().join("socket");
    let listener = UnixListener::bind(&address).unwrap();
    let running = program
        .arg("well-behaved")
        .env(launch::ADDRESS_VARIABLE, &address)
        .env(launch::TOKEN_VARIABLE, "token")
        .start();
    let (mut stream, _) = listener.accept().unwrap();
    let mut decoder = Decoder::new();
    let mut receive = |mut stream: &std::os::unix::net::UnixStream| loop {
        if let Some(body) = decoder.next_frame().unwrap() {
            let (message, payload) = envelope::open::<FromWorker>(body).unwrap();
            envelope::check_worker_payload(&message, payload).unwrap();
            return (message, payload.to_vec());
        }
        let count = stream.read(decoder.spare()).unwrap();
        assert_ne!(count, 0, "the worker left");
        decoder.commit(count);
    };
    let send = |message: &FromMaster<'_>, payload: &[u8]| {
        let mut bytes = Vec::new();
        envelope::append_frame(&mut bytes, message, payload).unwrap();
        bytes
    };

    let (FromWorker::Hello(hello), _) = receive(&stream) else { unreachable!("hello is first") };
    assert_eq!(hello.token, "token");
    let welcome = Welcome { version: hello.newest, ..Welcome::default() };
    stream.write_all(&send(&FromMaster::Welcome(welcome), &[])).unwrap();
    assert_eq!(receive(&stream).0, FromWorker::Ready { shared_arguments: false });
    let call = |id, function: &'static str, items| {
        FromMaster::Call(Call {
            id,
            function: function.into(),
            items,
            keywords: false,
            last: false,
            shared: None,
        })
    };
    // echo("bad"), echo(7), and then square("x").
    stream.write_all(&send(&call(1, "echo", 2), b"\x91\xa3bad\x91\x07")).unwrap();
    stream.write_all(&send(&call(2, "square", 1), b"\x91\xa1x")).unwrap();
    assert_eq!(receive(&stream), (FromWorker::Result { id: 1, item: 0 }, b"\xa3bad".to_vec()));
    assert_eq!(receive(&stream), (FromWorker::Result { id: 1, item: 1 }, b"\x07".to_vec()));
    assert!(matches!(receive(&stream).0, FromWorker::Error { id: 2, item: 0, .. }));
    stream.write_all(&send(&FromMaster::Drain {}, &[])).unwrap();
    running.finish().ended(0).was_quiet();
}

#[test]
fn the_misbehaving_worker_tells_its_modes() {
    let worker = Path::new(env!("CARGO_BIN_EXE_misbehaving-worker"));
    let finished = Program::new(worker).arg("--list").run();
    assert!(finished.ended(0).stdout.lines().count() > 30);
    Program::new(worker).arg("polite").run().ended(2).said("polite");
}
