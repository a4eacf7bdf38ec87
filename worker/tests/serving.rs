//! The reference worker under a scripted master: what it says, and in which order.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

use std::{collections::HashMap, ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use protocol::message::{FromMaster, FromWorker, Welcome};
use serde::Deserialize;
use serde_bytes::{ByteBuf, Bytes};
use support::{Answer, Connection, Gate, TOKEN, pack, reference};

/// What `exec` gives.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Outcome {
    status: Option<i32>,
    signal: Option<i32>,
    stdout: String,
    stderr: String,
}

fn outcome(status: Option<i32>, signal: Option<i32>, stdout: &str, stderr: &str) -> Outcome {
    Outcome { status, signal, stdout: stdout.into(), stderr: stderr.into() }
}

#[test]
fn the_hello_comes_unasked() {
    let mut connection = Connection::open(reference());
    let (message, payload) = connection.receive();
    let FromWorker::Hello(hello) = message else { panic!("expected a hello, found {message:?}") };
    assert_eq!(hello.token, TOKEN);
    assert_eq!((hello.oldest, hello.newest), (1, 1));
    assert_eq!((hello.name.as_str(), hello.version.as_str()), ("worker", "0.1.0"));
    assert_eq!(
        hello.features,
        ["progress", "cancel", "shared_output", "shared_results", "shared_arguments"]
    );
    assert_eq!(payload, []);
    let names: Vec<String> = hello
        .functions
        .iter()
        .map(|function| format!("{}{}", function.name, function.parameters))
        .collect();
    let expected = [
        "square(n, seconds?)",
        "cube(n, seconds?)",
        "sum_primes(n)",
        "pid(...)",
        "introduce(name)",
        "echo(value)",
        "sleep(seconds, value?)",
        "tick(times, seconds)",
        "sha256(path)",
        "count_words(path)",
        "exec(command, arguments?, stdin?)",
        "fail(message, kind?, times?)",
    ];
    assert_eq!(names, expected);
    assert!(hello.functions.iter().all(|function| !function.help.is_empty()));
    for function in &hello.functions {
        let expected = function.name == "tick";
        assert_eq!((function.progress, function.cancel), (expected, expected), "{function:?}");
    }
    assert_eq!(connection.close().code, Some(0));
}

#[test]
fn functions_do_not_see_the_launch() {
    let mut connection = Connection::ready(reference());
    let environment: Outcome = connection.call("exec", &("env",)).value();
    assert_eq!(environment.status, Some(0));
    assert!(environment.stdout.contains("PATH="), "{environment:?}");
    assert!(!environment.stdout.contains("WORKER_"), "{environment:?}");
    let files: Outcome = connection.call("exec", &("ls", ["-l", "/proc/self/fd"])).value();
    assert!(!files.stdout.contains("socket:"), "{files:?}");
}

#[test]
fn results() {
    let mut connection = Connection::ready(reference());
    let id = connection.process_id();
    let nil = pack(&());
    let binary = pack(&Bytes::new(b"\xff\x00"));
    for (function, arguments, expected) in [
        ("square", pack(&(10, 0)), pack(&100)),
        ("square", pack(&(-3,)), pack(&9)),
        ("square", pack(&(4_294_967_295_u64, 0.001)), pack(&18_446_744_065_119_617_025_u64)),
        ("cube", pack(&(15,)), pack(&3375)),
        ("cube", pack(&(-2, None::<f64>)), pack(&-8)),
        ("pid", pack(&[(); 0]), pack(&id)),
        ("pid", pack(&(1, "two", [3])), pack(&id)),
        ("introduce", pack(&("m1",)), nil.clone()),
        ("echo", pack(&(Bytes::new(b"\xff\x00"),)), binary),
        // Longer than it need be, and an extension type: not a byte is changed.
        ("echo", vec![0x91, 0xd3, 0, 0, 0, 0, 0, 0, 0, 1], vec![0xd3, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("echo", vec![0x91, 0xd4, 5, 6], vec![0xd4, 5, 6]),
        ("sleep", pack(&(0,)), nil.clone()),
        ("sleep", pack(&(0.001, "done")), pack("done")),
        ("tick", pack(&(3, 0.001)), pack(&3)),
        ("tick", pack(&(0, 1)), pack(&0)),
        ("sum_primes", pack(&(100,)), pack(&1060)),
    ] {
        connection.send_items(function, &[arguments], false);
        let (message, payload) = connection.receive();
        assert!(matches!(message, FromWorker::Result { item: 0, .. }), "{function}: {message:?}");
        assert_eq!(payload, expected, "{function}");
    }
    let finished = connection.close();
    assert_eq!(finished.stdout, format!("I am m1, process {id}\n"));
    assert_eq!(finished.stderr, "");
}

#[test]
fn errors() {
    let mut connection = Connection::ready(reference());
    for (function, arguments, expected) in [
        (
            "nope",
            pack(&(1,)),
            "UnknownFunction: no function is named `nope`; this worker has `square`, `cube`, \
             `sum_primes`, `pid`, `introduce`, `echo`, `sleep`, `tick`, `sha256`, `count_words`, \
             `exec`, `fail`",
        ),
        (
            "square",
            pack(&("x",)),
            "InvalidArguments: argument 1 (`n`) of `square(n, seconds?)`: invalid type: \
             string \"x\", expected an integer",
        ),
        (
            "square",
            pack(&(1.0,)),
            "InvalidArguments: argument 1 (`n`) of `square(n, seconds?)`: invalid type: \
             floating point `1.0`, expected an integer",
        ),
        (
            "square",
            pack(&(1, f64::NAN)),
            "InvalidArguments: argument 2 (`seconds`) of `square(n, seconds?)`: invalid value: \
             floating point `NaN`, expected a number of seconds from 0 to 1000000000",
        ),
        (
            "sleep",
            pack(&(-1,)),
            "InvalidArguments: argument 1 (`seconds`) of `sleep(seconds, value?)`: invalid value: \
             integer `-1`, expected a number of seconds from 0 to 1000000000",
        ),
        ("echo", pack(&(1, 2)), "InvalidArguments: `echo(value)`: takes 1 argument, found 2"),
        (
            "sum_primes",
            pack(&(-1,)),
            "InvalidArguments: argument 1 (`n`) of `sum_primes(n)`: invalid value: \
             integer `-1`, expected u64",
        ),
        (
            "cube",
            pack(&(u64::MAX,)),
            "Overflow: 18446744073709551615 to the power of 3 does not fit 64 bits",
        ),
        ("fail", pack(&("on purpose",)), "Error: on purpose"),
        ("fail", pack(&("on purpose", "Kind")), "Kind: on purpose"),
        (
            "sha256",
            pack(&("/does/not/exist",)),
            "NotFound: cannot open /does/not/exist: No such file or directory (os error 2)",
        ),
        (
            "exec",
            pack(&("/does/not/exist",)),
            "NotFound: cannot run /does/not/exist: there is no such command",
        ),
    ] {
        connection.send_items(function, &[arguments], false);
        let (message, payload) = connection.receive();
        let FromWorker::Error { item: 0, failure, .. } = message else {
            panic!("expected an error of {function}, found {message:?}");
        };
        assert_eq!(format!("{}: {}", failure.kind, failure.message), expected);
        assert_eq!(payload, []);
    }
    assert_eq!(connection.call("square", &(5,)).value::<i64>(), 25);
}

#[test]
fn keywords() {
    let mut connection = Connection::ready(reference());
    let none = HashMap::<&str, i64>::new();
    let mut call = |function: &str, arguments: &[i64], keywords: &[(&str, i64)]| {
        let keywords: HashMap<&str, i64> = keywords.iter().copied().collect();
        connection.call_with_keywords(function, &arguments, &keywords)
    };
    assert_eq!(call("square", &[], &[("n", 5), ("seconds", 0)]).value::<i64>(), 25);
    assert_eq!(call("square", &[5], &[("seconds", 0)]).value::<i64>(), 25);
    assert_eq!(call("sleep", &[0], &[("value", 7)]).value::<i64>(), 7);
    assert!(call("pid", &[1], &[("any", 1)]).value::<u32>() > 0);
    assert_eq!(
        call("square", &[5], &[("m", 0)]).error(),
        "InvalidArguments: `square(n, seconds?)`: has no parameter `m`, only `n`, `seconds`"
    );
    assert_eq!(
        call("square", &[5], &[("n", 5)]).error(),
        "InvalidArguments: `square(n, seconds?)`: argument `n` comes twice"
    );
    assert_eq!(connection.call_with_keywords("cube", &(2,), &none).value::<i64>(), 8);
}

#[test]
fn an_item_is_answered_before_the_next_one_begins() {
    let mut gate = Gate::new();
    let mut connection = Connection::ready(reference());
    // The second item cannot end before the answer to the first has been read.
    let read = format!("read line < '{}'", gate.path.display());
    let items = [pack(&("true",)), pack(&("sh", ["-c", &read])), pack(&("false",))];
    connection.send_items("exec", &items, false);
    connection.send_items("square", &[pack(&(3,))], false);
    assert_eq!(connection.answer(1, 0).value::<Outcome>(), outcome(Some(0), None, "", ""));
    gate.open();
    assert_eq!(connection.answer(1, 1).value::<Outcome>(), outcome(Some(0), None, "", ""));
    assert_eq!(connection.answer(1, 2).value::<Outcome>(), outcome(Some(1), None, "", ""));
    assert_eq!(connection.answer(2, 0).value::<i64>(), 9);
}

#[test]
fn one_failing_item_does_not_take_its_neighbours_with_it() {
    let mut connection = Connection::ready(reference());
    connection.send_items("square", &[pack(&(2,)), pack(&("x",)), pack(&(3,))], false);
    assert_eq!(connection.answer(1, 0).value::<i64>(), 4);
    assert!(matches!(connection.answer(1, 1), Answer::Error { .. }));
    assert_eq!(connection.answer(1, 2).value::<i64>(), 9);
}

#[test]
fn frames_in_any_pieces() {
    let mut bytes = Vec::new();
    for n in 0..3_u64 {
        let call = protocol::message::Call {
            id: n,
            function: "square".into(),
            items: 1,
            keywords: false,
            last: false,
            shared: None,
        };
        let payload = pack(&(n,));
        protocol::envelope::append_frame(&mut bytes, &FromMaster::Call(call), &payload).unwrap();
    }
    let mut connection = Connection::ready(reference());
    for byte in &bytes {
        connection.send_bytes(&[*byte]);
    }
    connection.send_bytes(&bytes);
    for n in [0, 1, 2, 0, 1, 2] {
        assert_eq!(connection.answer(n, 0).value::<u64>(), n * n);
    }
}

#[test]
fn large_values_pass_through() {
    let large = vec![7; 5 << 20];
    let mut connection = Connection::ready(reference());
    let echoed: ByteBuf = connection.call("echo", &(Bytes::new(&large),)).value();
    assert!(echoed == large);
    // More than any pipe holds, in both directions at once.
    let text = "words and words\n".repeat(1 << 17);
    let Outcome { status, signal, stdout, stderr } =
        connection.call("exec", &("sh", ["-c", "tee /dev/stderr"], &text)).value();
    assert_eq!((status, signal), (Some(0), None));
    assert!(stdout == text && stderr == text);
}

#[test]
fn commands() {
    let mut connection = Connection::ready(reference());
    let mut shell = |script: &str, input: Option<&str>| {
        connection.call("exec", &("sh", ["-c", script], input)).value::<Outcome>()
    };
    assert_eq!(shell("cat; echo err >&2; exit 3", None), outcome(Some(3), None, "", "err\n"));
    assert_eq!(shell("cat", Some("input")), outcome(Some(0), None, "input", ""));
    assert_eq!(shell("kill -9 $$", None), outcome(None, Some(9), "", ""));
    // What a command does not read is no error.
    let unread = "x".repeat(1 << 20);
    assert_eq!(shell("exec <&-; true", Some(&unread)), outcome(Some(0), None, "", ""));
    // Output that is not UTF-8 is binary data.
    let Answer::Value(encoded) = connection.call("exec", &("printf", [r"\377"])) else {
        panic!("expected a value");
    };
    assert!(encoded.windows(3).any(|window| window == [0xc4, 1, 0xff]), "{encoded:?}");
}

#[test]
fn files_as_the_tools_see_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut connection = Connection::ready(reference());
    let long = "one two\tthree\n\nfour\r\x0b\x0cfive ".repeat(10_000);
    for (name, content) in [
        (&b"empty"[..], ""),
        (b"a word", "word"),
        (b"spaces", " \n\t\r\x0b\x0c "),
        (b"not \xff UTF-8", "in the name only\n"),
        (b"long", &long),
    ] {
        let path = directory.path().join(OsStr::from_bytes(name));
        fs::write(&path, content).unwrap();
        let path = Bytes::new(path.as_os_str().as_bytes());
        let mut first_word = |command: &str| {
            let script = format!("LC_ALL=C {command} < \"$1\"");
            let arguments =
                [Bytes::new(b"-c"), Bytes::new(script.as_bytes()), Bytes::new(b"sh"), path];
            let Outcome { stdout, .. } = connection.call("exec", &("sh", arguments)).value();
            stdout.split_whitespace().next().unwrap().to_owned()
        };
        let (sum, words) = (first_word("sha256sum"), first_word("wc -w"));
        assert_eq!(connection.call("sha256", &(path,)).value::<String>(), sum);
        assert_eq!(connection.call("count_words", &(path,)).value::<u64>().to_string(), words);
    }
}

#[test]
fn initializers() {
    let welcome = |initializer: &str, keywords| {
        let initializer = Some(initializer.to_owned());
        FromMaster::Welcome(Welcome { version: 1, initializer, keywords, ..Welcome::default() })
    };
    let start = |message: &FromMaster<'_>, payload: &[u8]| {
        let mut connection = Connection::open(reference());
        assert!(matches!(connection.receive(), (FromWorker::Hello(_), _)));
        connection.send(message, payload);
        let answer = connection.receive().0;
        (connection, answer)
    };

    let (mut connection, answer) = start(&welcome("introduce", false), &pack(&("first",)));
    assert_eq!(answer, FromWorker::Ready { shared_arguments: false });
    assert_eq!(connection.call("square", &(2,)).value::<i64>(), 4);
    let finished = connection.close();
    assert!(finished.stdout.starts_with("I am first, "), "{finished:?}");
    assert_eq!(finished.code, Some(0));

    let keywords = [pack(&[(); 0]), pack(&HashMap::from([("name", "first")]))].concat();
    let (connection, answer) = start(&welcome("introduce", true), &keywords);
    assert_eq!(answer, FromWorker::Ready { shared_arguments: false });
    assert!(connection.close().stdout.starts_with("I am first, "));

    for (initializer, arguments, expected) in [
        ("fail", pack(&("no database", "Offline")), "Offline: no database"),
        ("nope", pack(&[(); 0]), "UnknownFunction: no function is named `nope`"),
        ("square", pack(&[(); 0]), "InvalidArguments: `square(n, seconds?)`: takes 1 to 2"),
    ] {
        let (connection, answer) = start(&welcome(initializer, false), &arguments);
        let FromWorker::InitializerFailed(failure) = answer else {
            panic!("expected a failure, found {answer:?}");
        };
        let found = format!("{}: {}", failure.kind, failure.message);
        assert!(found.starts_with(expected), "{found}");
        assert_eq!(connection.finish().code, Some(1));
    }
}
