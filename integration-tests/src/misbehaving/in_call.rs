//! Modes that strike in a call, at items whose first argument is the string `bad`.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
};

use protocol::message::{Failure, FromWorker};
use rustix::process::Signal;

use super::{
    Connection,
    Misdeed::{Alone, InCall},
    Mode, Outcome,
    connection::{frame, raw_frame},
    functions::{die_of, hang},
    serve::{Task, answer},
};

/// An encoded value to answer with: true.
const VALUE: &[u8] = &[0xc3];

pub(super) const MODES: &[Mode] = &[
    Mode {
        name: "well-behaved",
        argument: "",
        help: "keeps to the rules; a `bad` item is like any other",
        misdeed: InCall(|connection, task, _| answer(connection, task).map(|_| ())),
    },
    Mode {
        name: "crash-in-call",
        argument: "[STATUS|SIGNAL]",
        help: "exits with this status, or dies of the signal of this name; SEGV unless told",
        misdeed: InCall(crash),
    },
    Mode {
        name: "abort",
        argument: "",
        help: "aborts",
        misdeed: InCall(|_, _, _| std::process::abort()),
    },
    Mode {
        name: "exit-0-in-call",
        argument: "",
        help: "exits with status 0, as if all were well",
        misdeed: InCall(|_, _, _| std::process::exit(0)),
    },
    Mode {
        name: "hang-in-call",
        argument: "",
        help: "does not answer",
        misdeed: InCall(|_, _, _| hang()),
    },
    Mode {
        name: "hang-in-call-ignoring-sigterm",
        argument: "",
        help: "does not answer, and SIGTERM does not end it",
        misdeed: Alone(|_| become_deaf_to_sigterm()),
    },
    Mode {
        name: "half-a-result-then-exit",
        argument: "",
        help: "exits with status 0 in the middle of a frame",
        misdeed: InCall(|connection, task, _| {
            send_half_a_result(connection, task)?;
            std::process::exit(0)
        }),
    },
    Mode {
        name: "half-a-result-then-hang",
        argument: "",
        help: "stops in the middle of a frame and stays",
        misdeed: InCall(|connection, task, _| {
            send_half_a_result(connection, task)?;
            hang()
        }),
    },
    Mode {
        name: "replies-twice",
        argument: "",
        help: "answers the item twice",
        misdeed: InCall(|connection, task, _| {
            connection.send(&task.result(), VALUE)?;
            connection.send(&task.result(), VALUE)
        }),
    },
    Mode {
        name: "replies-with-unknown-id",
        argument: "",
        help: "answers a call that never was",
        misdeed: InCall(|connection, task, _| {
            connection.send(&FromWorker::Result { id: u64::MAX, item: task.item }, VALUE)
        }),
    },
    Mode {
        name: "replies-with-old-id",
        argument: "",
        help: "answers once more what it answered last; with one item a call, a call that is over",
        misdeed: InCall(|connection, _, _| {
            let (id, item) = connection.last_answer()?;
            connection.send(&FromWorker::Result { id, item }, VALUE)
        }),
    },
    Mode {
        name: "progress-unasked",
        argument: "",
        help: "reports progress, which nobody agreed on, then answers",
        misdeed: InCall(|connection, task, _| {
            connection.send(&task.progress("unasked"), &[])?;
            connection.send(&task.result(), VALUE)
        }),
    },
    Mode {
        name: "replies-out-of-order",
        argument: "",
        help: "answers the next item of the call instead",
        misdeed: InCall(|connection, task, _| {
            connection.send(&FromWorker::Result { id: task.id, item: task.item + 1 }, VALUE)
        }),
    },
    Mode {
        name: "result-without-payload",
        argument: "",
        help: "sends a result that holds no value",
        misdeed: InCall(|connection, task, _| connection.send(&task.result(), &[])),
    },
    Mode {
        name: "malformed-payload",
        argument: "",
        help: "sends the reserved byte 0xc1 as the value of a result",
        misdeed: InCall(|connection, task, _| connection.send(&task.result(), &[0xc1])),
    },
    Mode {
        name: "two-values",
        argument: "",
        help: "sends two values in one result",
        misdeed: InCall(|connection, task, _| {
            connection.send(&task.result(), &[VALUE, VALUE].concat())
        }),
    },
    Mode {
        name: "error-with-malformed-payload",
        argument: "",
        help: "fails the item with a payload that is not binary data",
        misdeed: InCall(|connection, task, _| {
            let failure = Failure { message: "as asked".into(), ..Failure::default() };
            let error = FromWorker::Error { id: task.id, item: task.item, failure };
            connection.send(&error, VALUE)
        }),
    },
    Mode {
        name: "malformed-envelope",
        argument: "",
        help: "answers with a frame that holds no message",
        misdeed: InCall(|connection, _, _| connection.send_bytes(&raw_frame(b"\x93\x01\x02\x03"))),
    },
    Mode {
        name: "garbage-after-result",
        argument: "",
        help: "answers the item and sends bytes that begin no frame",
        misdeed: InCall(|connection, task, _| {
            connection.send(&task.result(), VALUE)?;
            connection.send_bytes(b"\xff\xff\xff\xffgarbage")
        }),
    },
    Mode {
        name: "floods-stderr",
        argument: "[MEGABYTES]",
        help: "writes so much to stderr in lines, 4 unless told, then answers",
        misdeed: InCall(|connection, task, amount| {
            flood(&mut std::io::stderr(), amount)?;
            connection.send(&task.result(), VALUE)
        }),
    },
    Mode {
        name: "floods-stdout",
        argument: "[MEGABYTES]",
        help: "writes so much to stdout in lines, 4 unless told, then answers",
        misdeed: InCall(|connection, task, amount| {
            flood(&mut std::io::stdout().lock(), amount)?;
            connection.send(&task.result(), VALUE)
        }),
    },
    Mode {
        name: "long-line",
        argument: "[MEGABYTES]",
        help: "writes one line of this size to stderr, 100 unless told, then answers",
        misdeed: InCall(|connection, task, amount| {
            write_long_line(amount)?;
            connection.send(&task.result(), VALUE)
        }),
    },
    Mode {
        name: "dies-after-reply",
        argument: "",
        help: "answers the item and exits with status 7 at once",
        misdeed: InCall(|connection, task, _| {
            connection.send(&task.result(), VALUE)?;
            std::process::exit(7)
        }),
    },
    Mode {
        name: "closes-socket-in-call-but-lives",
        argument: "",
        help: "closes its socket instead of an answer, and stays",
        misdeed: InCall(|connection, _, _| {
            connection.shut_down()?;
            hang()
        }),
    },
    Mode {
        name: "grandchild-holds-socket-and-pipes",
        argument: "",
        help: "leaves its socket and its pipes to a process of its own and exits with status 8",
        misdeed: InCall(|connection, _, _| {
            leave_all_to_a_grandchild(connection)?;
            std::process::exit(8)
        }),
    },
];

fn crash(_: &mut Connection, _: &Task<'_>, how: Option<&str>) -> Outcome {
    let signal = match how.unwrap_or("SEGV") {
        "SEGV" => Signal::SEGV,
        "KILL" => Signal::KILL,
        "TERM" => Signal::TERM,
        status => std::process::exit(status.parse()?),
    };
    die_of(signal).map(|_| ())
}

/// What is ignored stays so in the program that a process becomes.
#[expect(clippy::disallowed_methods, reason = "no other way to ignore a signal is free of unsafe")]
fn become_deaf_to_sigterm() -> Outcome {
    let error = Command::new("/bin/sh")
        .args(["-c", "trap '' TERM; exec \"$0\" hang-in-call"])
        .arg(std::env::current_exe()?)
        .env_remove(super::STARTS_VARIABLE)
        .exec();
    Err(error.into())
}

fn send_half_a_result(connection: &mut Connection, task: &Task<'_>) -> Outcome {
    let result = frame(&task.result(), &[VALUE, &[0; 100]].concat())?;
    connection.send_bytes(&result[..result.len() - 50])
}

fn flood(stream: &mut impl Write, megabytes: Option<&str>) -> Outcome {
    let megabytes: usize = megabytes.unwrap_or("4").parse()?;
    let line = format!("{}\n", "flood ".repeat(170));
    for _ in 0..(megabytes << 20).div_ceil(line.len()) {
        stream.write_all(line.as_bytes())?;
    }
    Ok(stream.flush()?)
}

fn write_long_line(megabytes: Option<&str>) -> Outcome {
    let mut stderr = std::io::stderr().lock();
    for _ in 0..megabytes.unwrap_or("100").parse()? {
        stderr.write_all(&[b'x'; 1 << 20])?;
    }
    Ok(stderr.write_all(b"\n")?)
}

#[expect(clippy::disallowed_methods, reason = "the grandchild is the point of the mode")]
fn leave_all_to_a_grandchild(connection: &Connection) -> Outcome {
    let socket = OwnedFd::from(connection.duplicate()?);
    // Its end is not waited for: it is to outlive this process.
    let grandchild = Command::new("sleep").arg("60").stdin(Stdio::from(socket)).spawn()?;
    eprintln!("left everything to {}", grandchild.id());
    Ok(())
}
