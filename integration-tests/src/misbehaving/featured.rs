//! Modes that announce features and strike in a call, at items whose first argument is the string
//! `bad`.

use protocol::{
    envelope,
    message::{
        Failure, FromMaster, FromWorker,
        feature::{CANCEL, PROGRESS, SHARED_OUTPUT, SHARED_RESULTS},
        kind::CANCELLED,
    },
    shared_output::HELD,
};

use super::{
    Connection,
    Misdeed::Featured,
    Mode, Outcome,
    connection::{frame, raw_frame},
    functions::hang,
    serve::Task,
};

/// An encoded value to answer with: true.
const VALUE: &[u8] = &[0xc3];

pub(super) const MODES: &[Mode] = &[
    Mode {
        name: "progress-of-another-item",
        argument: "",
        help: "reports progress of an item that is not in hand, then answers",
        misdeed: Featured(&[PROGRESS], |connection, task, _| {
            let (id, item, note) = (task.id, task.item + 1, "of another".into());
            connection.send(&FromWorker::Progress { id, item, note }, &[])?;
            connection.send(&task.result(), VALUE)
        }),
    },
    Mode {
        name: "progress-flood",
        argument: "[N]",
        help: "reports progress so many times without a pause, 100000 unless told, then answers",
        misdeed: Featured(&[PROGRESS], |connection, task, count| {
            let count: u64 = count.unwrap_or("100000").parse()?;
            for number in 1..=count {
                connection.send(&task.progress(&format!("{number} of {count}")), &[])?;
            }
            connection.send(&task.result(), VALUE)
        }),
    },
    Mode {
        name: "progress-then-silent",
        argument: "[N]",
        help: "reports progress so many times, 3 unless told, and does not answer",
        misdeed: Featured(&[PROGRESS], |connection, task, count| {
            let count: u64 = count.unwrap_or("3").parse()?;
            for number in 1..=count {
                connection.send(&task.progress(&format!("{number}, and no more")), &[])?;
            }
            hang()
        }),
    },
    Mode {
        name: "ignores-cancel",
        argument: "",
        help: "says that it can be cancelled, but reads nothing and does not answer",
        misdeed: Featured(&[CANCEL], |_, _, _| hang()),
    },
    Mode {
        name: "heeds-cancel",
        argument: "",
        help: "waits until the item is cancelled, and answers that it was",
        misdeed: Featured(&[CANCEL], |connection, task, _| wait_for_cancel(connection, task)),
    },
    Mode {
        name: "keeps-nonsense",
        argument: "",
        help: "keeps a frame that holds no message behind the answers before, and stays",
        misdeed: Featured(&[SHARED_OUTPUT], |connection, _, _| {
            connection.shared()?.append(&raw_frame(b"\x93\x01\x02\x03"))?;
            hang()
        }),
    },
    Mode {
        name: "keeps-nonsense-then-exits",
        argument: "",
        help: "keeps a frame that holds no message behind the answers before, and exits",
        misdeed: Featured(&[SHARED_OUTPUT], |connection, _, _| {
            connection.shared()?.append(&raw_frame(b"\x93\x01\x02\x03"))?;
            std::process::exit(5)
        }),
    },
    Mode {
        name: "keeps-wrong-held",
        argument: "[BYTES]",
        help: "says that it keeps so many bytes, and exits with status 5; a great many unless told",
        misdeed: Featured(&[SHARED_OUTPUT], |connection, _, bytes| {
            connection.flush()?;
            let bytes = bytes.map_or(Ok(u64::MAX), str::parse)?;
            connection.shared()?.set(HELD, bytes)?;
            std::process::exit(5)
        }),
    },
    Mode {
        name: "keeps-old-answer",
        argument: "",
        help: "keeps once more what it answered last, and stays",
        misdeed: Featured(&[SHARED_OUTPUT], |connection, _, _| {
            connection.flush()?;
            let (id, item) = connection.last_answer()?;
            let again = frame(&FromWorker::Result { id, item }, VALUE)?;
            connection.shared()?.append(&again)?;
            hang()
        }),
    },
    Mode {
        name: "keeps-an-answer-twice",
        argument: "",
        help: "keeps its answer twice, and stays",
        misdeed: Featured(&[SHARED_OUTPUT], |connection, task, _| {
            for _ in 0..2 {
                connection.answer(&task.result(), VALUE)?;
            }
            hang()
        }),
    },
    Mode {
        name: "shrinks-its-shared-output",
        argument: "",
        help: "tries to shrink it, which must not be possible, and answers",
        misdeed: Featured(&[SHARED_OUTPUT], |connection, task, _| {
            if connection.shared()?.resize(10).is_ok() {
                return Err("the shared output can be shrunk".into());
            }
            connection.answer(&task.result(), VALUE)
        }),
    },
    Mode {
        name: "shares-outside",
        argument: "[OFFSET]",
        help: "tells of a result of one byte at this place of its shared output, 64 unless told",
        misdeed: Featured(SHARES, |connection, task, offset| {
            let offset = offset.map_or(Ok(64), str::parse)?;
            tell_of(connection, task, offset, 1)?;
            hang()
        }),
    },
    Mode {
        name: "shares-much",
        argument: "[BYTES]",
        help: "tells of a shared result of so many bytes, a great many unless told",
        misdeed: Featured(SHARES, |connection, task, bytes| {
            let bytes = bytes.map_or(Ok(u64::MAX), str::parse)?;
            let offset = connection.shared()?.put(VALUE)?;
            tell_of(connection, task, offset, bytes)?;
            hang()
        }),
    },
    Mode {
        name: "shares-twice",
        argument: "",
        help: "tells of its shared result twice, and stays",
        misdeed: Featured(SHARES, |connection, task, _| {
            for _ in 0..2 {
                share(connection, task, VALUE)?;
            }
            hang()
        }),
    },
    Mode {
        name: "shares-then-exits",
        argument: "",
        help: "tells of its shared result, and exits with status 5",
        misdeed: Featured(SHARES, |connection, task, _| {
            share(connection, task, VALUE)?;
            std::process::exit(5)
        }),
    },
    Mode {
        name: "shares-two-values",
        argument: "",
        help: "gives a shared result that is two values, and goes on",
        misdeed: Featured(SHARES, |connection, task, _| share(connection, task, &[1, 2])),
    },
    Mode {
        name: "shares-unasked",
        argument: "",
        help: "tells of a shared result, which was not agreed on",
        misdeed: Featured(&[SHARED_OUTPUT], |connection, task, _| {
            tell_of(connection, task, 1 << 20, 1)?;
            hang()
        }),
    },
];

/// What it takes to share a result.
const SHARES: &[&str] = &[SHARED_OUTPUT, SHARED_RESULTS];

/// Answers an item by a shared result.
fn share(connection: &mut Connection, task: &Task<'_>, value: &[u8]) -> Outcome {
    let offset = connection.shared()?.put(value)?;
    tell_of(connection, task, offset, value.len() as u64)
}

fn tell_of(connection: &mut Connection, task: &Task<'_>, offset: u64, length: u64) -> Outcome {
    let (id, item) = (task.id, task.item);
    connection.send(&FromWorker::SharedResult { id, item, offset, length }, &[])
}

fn wait_for_cancel(connection: &mut Connection, task: &Task<'_>) -> Outcome {
    // Calls may lie between the item and its cancel, and are for later.
    let mut behind = Vec::new();
    while let Some(body) = connection.receive()? {
        if let (FromMaster::Cancel { id, item }, _) = envelope::open::<FromMaster<'_>>(&body)?
            && (id, item) == (task.id, task.item)
        {
            connection.put_back(behind);
            let message = "as it was told to".into();
            let failure = Failure { kind: CANCELLED.into(), message, ..Failure::default() };
            return connection.send(&FromWorker::Error { id, item, failure }, &[]);
        }
        behind.push(body);
    }
    Ok(())
}
