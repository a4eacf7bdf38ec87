//! A worker built with the SDK, and its tests: started by a master this executable is the
//! worker, started by hand it runs the tests with itself as the worker.

#![cfg_attr(
    target_os = "linux",
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stdout,
        missing_docs,
        unreachable_pub,
        reason = "a test fails by panicking"
    )
)]

#[cfg(target_os = "linux")]
mod support;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    if std::env::var_os("WORKER_ADDRESS").is_some() {
        return linux::worker();
    }
    // A lister of tests finds none of its own here.
    if std::env::args().any(|argument| argument == "--list") {
        return std::process::ExitCode::SUCCESS;
    }
    for (name, test) in linux::TESTS {
        println!("test {name} ...");
        test();
    }
    println!("\n{} passed, 0 failed", linux::TESTS.len());
    std::process::ExitCode::SUCCESS
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, path::PathBuf, process::ExitCode};

    use protocol::message::{FromMaster, FromWorker};

    use super::support::{Answer, Connection, pack};

    pub const TESTS: &[(&str, fn())] = &[
        ("panics_are_errors", panics_are_errors),
        ("a_backtrace_if_asked_for", a_backtrace_if_asked_for),
        ("panics_of_other_threads_are_printed", panics_of_other_threads_are_printed),
        ("results_that_cannot_be_sent", results_that_cannot_be_sent),
        ("errors_carry_everything", errors_carry_everything),
        ("functions_know_their_place", functions_know_their_place),
        (
            "progress_and_cancel_belong_to_the_thread_of_the_call",
            progress_and_cancel_belong_to_the_thread_of_the_call,
        ),
        ("long_notes_are_cut", long_notes_are_cut),
        ("asking_often_does_not_wait", asking_often_does_not_wait),
        ("what_is_printed_comes_before_the_answer", what_is_printed_comes_before_the_answer),
        ("wrong_registrations_are_reported", wrong_registrations_are_reported),
        ("threads_before_main_are_refused", threads_before_main_are_refused),
    ];

    pub fn worker() -> ExitCode {
        if std::env::var_os("OWN_WORKER_WRONG").is_some() {
            let one = |_: i64| Ok::<_, String>(());
            let worker = worker::Worker::new("own", "1.2.3");
            return worker
                .function("f(a, b)", "", one)
                .function("f", "", one)
                .function("f", "", one)
                .cancellable("g")
                .main();
        }
        let thread = std::env::var_os("OWN_WORKER_THREAD").map(|_| {
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            (sender, std::thread::spawn(move || receiver.recv()))
        });
        let code = worker::Worker::new("own", "1.2.3")
            .function("panic(text)", "", |text: String| -> Result<(), String> { panic!("{text}") })
            .function("panic_in_thread", "", || {
                let joined = std::thread::spawn(|| panic!("in a thread")).join();
                Ok::<_, String>(joined.is_err())
            })
            .function("deep(levels)", "", |levels: usize| {
                let start = Nested(vec![]);
                let nest = |inner, _| Nested(vec![inner]);
                Ok::<_, String>((0..levels).fold(start, nest))
            })
            .raw_function("nothing()", "", |_, _| Ok(()))
            .raw_function("two()", "", |_, result| {
                result.extend([1, 2]);
                Ok(())
            })
            .function("full()", "", || -> Result<(), worker::Error> {
                let error = worker::Error::new("Kind", "x".repeat(2 << 20));
                Err(error.with_traceback("line 5").with_opaque(*b"\x01\x02"))
            })
            .function("place()", "", || Ok::<_, String>((worker::slot(), worker::pool_name())))
            .function("elsewhere()", "", || {
                while !worker::is_cancelled() {
                    std::thread::yield_now();
                }
                let elsewhere = std::thread::spawn(|| {
                    worker::progress("nobody hears this");
                    worker::is_cancelled()
                });
                elsewhere.join().map_err(|_| "the thread panicked")
            })
            .cancellable("elsewhere")
            .function("report(note)", "", |note: String| {
                worker::progress(&note);
                Ok::<_, String>(())
            })
            .reports_progress("report")
            .function("ask(times)", "", |times: u32| {
                Ok::<_, String>((0..times).filter(|_| worker::is_cancelled()).count())
            })
            .function("print(text)", "", |text: String| {
                print!("{text}");
                Ok::<_, String>(())
            })
            .main();
        drop(thread);
        code
    }

    /// An array in an array in an array.
    #[derive(serde::Serialize)]
    struct Nested(Vec<Nested>);

    fn this() -> PathBuf {
        std::env::current_exe().unwrap()
    }

    fn panics_are_errors() {
        let mut connection = Connection::ready(&this());
        for text in ["first", "second"] {
            let answer = connection.call("panic", &(text,));
            let Answer::Error { kind, message, traceback, opaque } = answer else {
                panic!("expected an error, found {answer:?}");
            };
            assert_eq!((kind.as_str(), message.as_str()), ("Panic", text));
            assert!(traceback.starts_with("at worker/tests/own_worker.rs:"), "{traceback}");
            assert_eq!((traceback.lines().count(), opaque), (1, vec![]), "{traceback}");
        }
        let finished = connection.close();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    }

    fn a_backtrace_if_asked_for() {
        let mut connection = Connection::open_with(&this(), |command| {
            command.env("RUST_BACKTRACE", "1");
        })
        .welcomed();
        let Answer::Error { traceback, .. } = connection.call("panic", &("text",)) else {
            panic!("expected an error");
        };
        assert!(traceback.lines().count() > 5, "{traceback}");
    }

    fn panics_of_other_threads_are_printed() {
        let mut connection = Connection::ready(&this());
        assert!(connection.call("panic_in_thread", &[(); 0]).value::<bool>());
        let finished = connection.close();
        assert!(finished.stderr.contains("in a thread"), "{finished:?}");
    }

    fn results_that_cannot_be_sent() {
        let mut connection = Connection::ready(&this());
        for (function, arguments, expected) in [
            ("nothing", pack(&[(); 0]), "the bytes end at offset 0, inside a value"),
            ("two", pack(&[(); 0]), "1 more bytes follow its value"),
            (
                "deep",
                pack(&(600,)),
                "the value that begins at offset 512 nests deeper than 512 levels",
            ),
        ] {
            connection.send_items(function, &[arguments], false);
            let (message, _) = connection.receive();
            let protocol::message::FromWorker::Error { failure, .. } = message else {
                panic!("expected an error, found {message:?}");
            };
            assert_eq!(failure.kind, "InvalidResult");
            assert_eq!(failure.message, format!("the result cannot be sent: {expected}"));
        }
        assert!(matches!(connection.call("deep", &(3,)), Answer::Value(_)));
    }

    fn errors_carry_everything() {
        let mut connection = Connection::ready(&this());
        let answer = connection.call("full", &[(); 0]);
        let Answer::Error { kind, message, traceback, opaque } = answer else {
            panic!("expected an error, found {answer:?}");
        };
        assert_eq!((kind.as_str(), traceback.as_str()), ("Kind", "line 5"));
        assert!(message.ends_with("x [1048576 more bytes were cut off]"));
        assert_eq!(opaque, [0xc4, 2, 1, 2]);
    }

    fn functions_know_their_place() {
        let mut connection = Connection::ready(&this());
        let place: (Option<u32>, Option<String>) = connection.call("place", &[(); 0]).value();
        assert_eq!(place, (Some(3), Some("tests".to_owned())));
    }

    fn with_features() -> Connection {
        Connection::open(&this()).welcomed_with(&["progress", "cancel"])
    }

    fn progress_and_cancel_belong_to_the_thread_of_the_call() {
        let mut connection = with_features();
        connection.send_items("elsewhere", &[pack(&[(); 0])], false);
        connection.send(&FromMaster::Cancel { id: 1, item: 0 }, &[]);
        // It comes first, and there was no report.
        assert!(!connection.answer(1, 0).value::<bool>());
    }

    fn long_notes_are_cut() {
        let mut connection = with_features();
        for (note, expected) in
            [("x", 1), (&"x".repeat(1024), 1024), (&format!("x{}", "é".repeat(600)), 1023)]
        {
            connection.send_items("report", &[pack(&(note,))], false);
            let FromWorker::Progress { note: found, .. } = connection.receive().0 else {
                panic!("expected progress");
            };
            assert_eq!(found.len(), expected, "{found}");
            assert!(note.starts_with(&found), "{found}");
            connection.receive();
        }
    }

    fn asking_often_does_not_wait() {
        let mut connection = with_features();
        assert_eq!(connection.call("ask", &(100_000,)).value::<u32>(), 0);
        let mut without = Connection::ready(&this());
        assert_eq!(without.call("ask", &(100_000,)).value::<u32>(), 0);
    }

    fn what_is_printed_comes_before_the_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stdout");
        let file = fs::File::create(&path).unwrap();
        let mut connection = Connection::open_with(&this(), |command| {
            command.stdout(file);
        })
        .welcomed();
        connection.call("print", &("half a line",));
        assert_eq!(fs::read_to_string(&path).unwrap(), "half a line");
    }

    fn wrong_registrations_are_reported() {
        let finished = super::support::Process::start(&this(), |command| {
            command.env("OWN_WORKER_WRONG", "1");
            command.env("WORKER_ADDRESS", "/does/not/exist").env("WORKER_TOKEN", "token");
        })
        .finish();
        assert_eq!(finished.code, Some(2));
        assert_eq!(
            finished.stderr,
            "own: the signature `f(a, b)` names 2 parameters, the function has 1: make them agree\n\
             own: there are two functions named `f`: rename one\n\
             own: `cancellable` is for a function that was registered before, and `g` was not; \
             there are `f`\n"
        );
    }

    fn threads_before_main_are_refused() {
        let finished = super::support::Process::start(&this(), |command| {
            command.env("OWN_WORKER_THREAD", "1");
            command.env("WORKER_ADDRESS", "/does/not/exist").env("WORKER_TOKEN", "token");
        })
        .finish();
        assert_eq!(finished.code, Some(2));
        assert!(finished.stderr.contains("while there are 2 threads"), "{finished:?}");
    }
}
