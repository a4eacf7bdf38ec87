//! Modes that announce features and strike in a call, at items whose first argument is the string
//! `bad`.

use protocol::{
    envelope,
    message::{
        Failure, FromMaster, FromWorker,
        feature::{CANCEL, PROGRESS},
        kind::CANCELLED,
    },
};

use super::{Connection, Misdeed::Featured, Mode, Outcome, functions::hang, serve::Task};

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
];

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
