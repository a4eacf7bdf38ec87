//! Modes that strike before the first call.

use std::{
    io::Write as _,
    os::unix::process::{CommandExt as _, parent_id},
    process::{self, Command, Stdio},
};

use protocol::{
    limits::MAX_FRAME_BEFORE_WELCOME,
    message::{Failure, FromWorker, FunctionDescription},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{
    Misdeed::{Alone, InHandshake, Ready},
    Mode, Outcome,
    connection::{Connection, frame, raw_frame},
    functions::hang,
    serve::{finish_handshake, serve, shake_hands},
};

pub(super) const MODES: &[Mode] = &[
    Mode {
        name: "never-connects",
        argument: "",
        help: "stays, and never connects",
        misdeed: Alone(|_| hang()),
    },
    Mode {
        name: "exits-at-once",
        argument: "[STATUS]",
        help: "says why on stderr and exits, before it connects; status 0 unless told",
        misdeed: Alone(exit_at_once),
    },
    Mode {
        name: "prints-text",
        argument: "",
        help: "is no worker: prints a text on stdout and exits with status 0",
        misdeed: Alone(|_| print_text()),
    },
    Mode {
        name: "prints-text-and-stays",
        argument: "",
        help: "prints a text on stdout and stays, and never connects",
        misdeed: Alone(|_| print_text().and_then(|()| hang())),
    },
    Mode {
        name: "connects-and-stays-silent",
        argument: "",
        help: "connects, and never says hello",
        misdeed: InHandshake(|_connection, _| hang()),
    },
    Mode {
        name: "connects-and-exits",
        argument: "",
        help: "connects and exits with status 0, without a word",
        misdeed: InHandshake(|_, _| Ok(())),
    },
    Mode {
        name: "wrong-token",
        argument: "",
        help: "shows a token of the right length that the master never gave out",
        misdeed: InHandshake(|connection, _| {
            let length = connection.hello().token.len();
            greet_with_token(connection, "0".repeat(length))
        }),
    },
    Mode {
        name: "no-token",
        argument: "",
        help: "shows an empty token",
        misdeed: InHandshake(|connection, _| greet_with_token(connection, String::new())),
    },
    Mode {
        name: "old-token",
        argument: "",
        help: "is well behaved, but lets a second connection show the same token once more",
        misdeed: InHandshake(use_token_twice),
    },
    Mode {
        name: "future-version",
        argument: "",
        help: "speaks only version 999 of the protocol",
        misdeed: InHandshake(speak_future_version),
    },
    Mode {
        name: "garbage-hello",
        argument: "",
        help: "says hello in a frame that holds no message",
        misdeed: InHandshake(|connection, _| say(connection, &raw_frame(b"\xc1 hello?"))),
    },
    Mode {
        name: "speaks-another-protocol",
        argument: "",
        help: "sends the first lines of an HTTP request",
        misdeed: InHandshake(|connection, _| say(connection, b"GET / HTTP/1.1\r\n\r\n")),
    },
    Mode {
        name: "half-a-hello-then-exit",
        argument: "",
        help: "exits with status 0 in the middle of its hello",
        misdeed: InHandshake(|mut connection, _| {
            let hello = frame(&FromWorker::Hello(connection.hello()), &[])?;
            connection.send_bytes(&hello[..hello.len() / 2])
        }),
    },
    Mode {
        name: "huge-length",
        argument: "",
        help: "begins with a frame that claims 4 GiB - 1 bytes",
        misdeed: InHandshake(|connection, _| say(connection, &[0xff; 4])),
    },
    Mode {
        name: "hello-over-64k",
        argument: "",
        help: "says hello in a well-formed frame beyond the limit before the welcome",
        misdeed: InHandshake(say_too_long_a_hello),
    },
    Mode {
        name: "hello-twice",
        argument: "",
        help: "says hello twice, then behaves",
        misdeed: InHandshake(|mut connection, _| {
            let hello = FromWorker::Hello(connection.hello());
            connection.send(&hello, &[])?;
            greet_and_serve(connection)
        }),
    },
    Mode {
        name: "ready-before-hello",
        argument: "",
        help: "says ready first",
        misdeed: InHandshake(|mut connection, _| {
            connection.send(&FromWorker::Ready { shared_arguments: false }, &[])?;
            greet_and_serve(connection)
        }),
    },
    Mode {
        name: "silent-after-welcome",
        argument: "",
        help: "never says ready",
        misdeed: InHandshake(|mut connection, _| {
            let hello = FromWorker::Hello(connection.hello());
            connection.send(&hello, &[])?;
            hang()
        }),
    },
    Mode {
        name: "exits-after-welcome",
        argument: "",
        help: "waits for the welcome and exits with status 4",
        misdeed: InHandshake(|mut connection, _| {
            let hello = FromWorker::Hello(connection.hello());
            connection.send(&hello, &[])?;
            connection.receive()?;
            eprintln!("not in the mood");
            std::process::exit(4)
        }),
    },
    Mode {
        name: "initializer-fails",
        argument: "[unseen]",
        help: "answers the welcome with a failed initializer, whether there is one or not; unseen: \
               its parent is stopped until it has exited",
        misdeed: InHandshake(fail_initializer),
    },
    Mode {
        name: "replies-before-any-call",
        argument: "",
        help: "sends the result of a call that it never received",
        misdeed: Ready(|mut connection, _| {
            // An id that no master comes to: with a likely one it might be a true answer.
            connection.send(&FromWorker::Result { id: 1 << 60, item: 0 }, &[0xc0])?;
            serve_well(&mut connection)
        }),
    },
    Mode {
        name: "never-reads",
        argument: "",
        help: "is ready, and never reads a call",
        misdeed: Ready(|_connection, _| hang()),
    },
    Mode {
        name: "leaves-unasked",
        argument: "",
        help: "is ready, and exits with status 0 before any call",
        misdeed: Ready(|_, _| Ok(())),
    },
    Mode {
        name: "leaves-its-children",
        argument: "",
        help: "exits in the middle of a call when the socket closes, and leaves what it has started",
        misdeed: Ready(|mut connection, _| {
            let master = connection.try_clone()?;
            std::thread::spawn(move || {
                let mut hang_up = [PollFd::new(&master, PollFlags::RDHUP)];
                let _ = poll(&mut hang_up, None);
                process::exit(0)
            });
            serve_well(&mut connection)
        }),
    },
    Mode {
        name: "crashes-when-ready",
        argument: "",
        help: "is ready, and exits with status 6 before any call",
        misdeed: Ready(|_, _| std::process::exit(6)),
    },
    Mode {
        name: "ignores-drain",
        argument: "",
        help: "serves, and stays when it is asked to leave and its socket closes",
        misdeed: Ready(|mut connection, _| serve_well(&mut connection).and_then(|()| hang())),
    },
    Mode {
        name: "answers-after-end",
        argument: "",
        help: "when it is asked to leave, answers once more what it answered last, then leaves",
        misdeed: Ready(|connection, _| answer_after_end(connection)),
    },
];

fn exit_at_once(status: Option<&str>) -> Outcome {
    eprintln!("this worker has no wish to work");
    std::process::exit(status.unwrap_or("0").parse()?)
}

fn print_text() -> Outcome {
    println!("I am a program like any other.");
    Ok(std::io::stdout().flush()?)
}

fn greet_with_token(mut connection: Connection, token: String) -> Outcome {
    let mut hello = connection.hello();
    hello.token = token;
    connection.send(&FromWorker::Hello(hello), &[])?;
    finish_handshake(connection).map(|_| ())
}

fn use_token_twice(connection: Connection, _: Option<&str>) -> Outcome {
    let mut second = Connection::open()?;
    if let Some(mut first) = shake_hands(connection)? {
        let hello = second.hello();
        // The master may have closed this connection already: that is as good as a reject.
        let _ = second.send(&FromWorker::Hello(hello), &[]);
        return serve(&mut first, |connection, task| {
            super::serve::answer(connection, task).map(|_| ())
        });
    }
    Ok(())
}

fn speak_future_version(mut connection: Connection, _: Option<&str>) -> Outcome {
    let mut hello = connection.hello();
    (hello.oldest, hello.newest) = (999, 999);
    connection.send(&FromWorker::Hello(hello), &[])?;
    finish_handshake(connection).map(|_| ())
}

fn say_too_long_a_hello(connection: Connection, _: Option<&str>) -> Outcome {
    let mut hello = connection.hello();
    let help = "x".repeat(MAX_FRAME_BEFORE_WELCOME);
    hello.functions.push(FunctionDescription { help, ..FunctionDescription::default() });
    say(connection, &frame(&FromWorker::Hello(hello), &[])?)
}

fn fail_initializer(mut connection: Connection, unseen: Option<&str>) -> Outcome {
    let hello = FromWorker::Hello(connection.hello());
    connection.send(&hello, &[])?;
    connection.receive()?;
    if unseen.is_some() {
        stop_the_parent_until_this_exits()?;
    }
    let failure = Failure {
        kind: "NoLicence".into(),
        message: "the licence has run out".into(),
        traceback: "in fail_initializer".into(),
    };
    connection.send(&FromWorker::InitializerFailed(failure), &[])
}

/// The master hears all that follows at once, the exit included.
fn stop_the_parent_until_this_exits() -> Outcome {
    let script = "kill -STOP $1
        until grep -q '^State:.T' /proc/$1/status; do sleep 0.01; done
        { until grep -q '^State:.Z' /proc/$0/status; do sleep 0.01; done; kill -CONT $1; } &";
    #[expect(clippy::disallowed_methods, reason = "this process cannot act when it has exited")]
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script, &process::id().to_string(), &parent_id().to_string()])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status()?;
    Ok(())
}

/// Sends bytes and stays, so that it is the master who has to act.
fn say(mut connection: Connection, bytes: &[u8]) -> Outcome {
    connection.send_bytes(bytes)?;
    hang()
}

fn greet_and_serve(connection: Connection) -> Outcome {
    shake_hands(connection)?.map_or(Ok(()), |mut connection| serve_well(&mut connection))
}

fn serve_well(connection: &mut Connection) -> Outcome {
    serve(connection, |connection, task| super::serve::answer(connection, task).map(|_| ()))
}

fn answer_after_end(mut connection: Connection) -> Outcome {
    serve_well(&mut connection)?;
    let (id, item) = connection.last_answer()?;
    connection.send(&FromWorker::Result { id, item }, &[0xc3])
}
