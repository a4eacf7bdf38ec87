//! What a worker does that keeps to the rules; the modes step in where they break them.

use std::error::Error;

use protocol::{
    envelope::{self, Item},
    launch::EXIT_CALL_FAILED,
    message::{Call, FromMaster, FromWorker},
};

use super::{Connection, Outcome, functions};

/// The encoded argument at which the modes of a call strike: the string `bad`.
const BAD: &[u8] = b"\xa3bad";

/// One item of a call.
pub(super) struct Task<'a> {
    /// The id of the call.
    pub(super) id: u64,
    /// Which item of the call, counted from 0.
    pub(super) item: u32,
    function: &'a str,
    arguments: Item<'a>,
}

impl Task<'_> {
    /// The message that answers this item with a result.
    pub(super) const fn result(&self) -> FromWorker {
        FromWorker::Result { id: self.id, item: self.item }
    }

    /// The message that reports progress of this item.
    pub(super) fn progress(&self, note: &str) -> FromWorker {
        FromWorker::Progress { id: self.id, item: self.item, note: note.into() }
    }
}

/// Introduces the worker and gets it ready, the initializer included. `None` if the master
/// refused it or the initializer failed: then it leaves.
pub(super) fn shake_hands(
    mut connection: Connection,
) -> Result<Option<Connection>, Box<dyn Error>> {
    let hello = connection.hello();
    connection.send(&FromWorker::Hello(hello), &[])?;
    finish_handshake(connection)
}

/// The handshake after the hello.
pub(super) fn finish_handshake(
    mut connection: Connection,
) -> Result<Option<Connection>, Box<dyn Error>> {
    let Some(body) = connection.receive()? else { return Ok(None) };
    let (message, payload) = envelope::open::<FromMaster<'_>>(&body)?;
    let welcome = match message {
        FromMaster::Welcome(welcome) => welcome,
        FromMaster::Reject { reason } => return Err(format!("rejected: {reason}").into()),
        other => return Err(format!("expected a welcome, received {other:?}").into()),
    };
    if let (Some(function), Some(item)) =
        (&welcome.initializer, envelope::initializer_item(&welcome, payload)?)
        && let Err(failure) = functions::call(&connection, function, item)?
    {
        connection.send(&FromWorker::InitializerFailed(failure), &[])?;
        return Ok(None);
    }
    if let Some(place) = &welcome.shared_output {
        connection.share(place)?;
    }
    connection.send(&FromWorker::Ready { shared_arguments: false }, &[])?;
    Ok(Some(connection))
}

/// Serves until the master wants no more. Items whose first argument is the string `bad` go to
/// `strike`.
pub(super) fn serve(
    connection: &mut Connection,
    strike: impl Fn(&mut Connection, &Task<'_>) -> Outcome,
) -> Outcome {
    while let Some(body) = connection.receive()? {
        match envelope::open::<FromMaster<'_>>(&body)? {
            (FromMaster::Call(call), payload) => {
                let failed = answer_call(connection, &call, payload, &strike)?;
                if call.last {
                    std::process::exit(if failed { EXIT_CALL_FAILED.into() } else { 0 });
                }
            }
            // A cancel that comes after the answer is late, and no misdeed of the master.
            (FromMaster::Cancel { .. }, _) => {}
            (FromMaster::Drain {}, _) => return Ok(()),
            (other, _) => return Err(format!("expected a call, received {other:?}").into()),
        }
    }
    Ok(())
}

/// Answers every item of a call; tells whether any failed.
fn answer_call(
    connection: &mut Connection,
    call: &Call<'_>,
    payload: &[u8],
    strike: &impl Fn(&mut Connection, &Task<'_>) -> Outcome,
) -> Result<bool, Box<dyn Error>> {
    let mut failed = false;
    for (item, arguments) in (0..).zip(envelope::items(call, payload)?) {
        let task = Task { id: call.id, item, function: &call.function, arguments };
        if functions::first_argument(arguments)? == Some(BAD) {
            strike(connection, &task)?;
        } else {
            failed |= !answer(connection, &task)?;
        }
    }
    Ok(failed)
}

/// Runs one item as it should be; tells whether it succeeded.
pub(super) fn answer(connection: &mut Connection, task: &Task<'_>) -> Result<bool, Box<dyn Error>> {
    match functions::call(connection, task.function, task.arguments)? {
        Ok(value) => connection.answer(&task.result(), &value).map(|()| true),
        Err(failure) => {
            let error = FromWorker::Error { id: task.id, item: task.item, failure };
            connection.send(&error, &[]).map(|()| false)
        }
    }
}
