//! What is said to the other worker: what was recorded, as far as it can be said again.

use protocol::{
    envelope::{self, SendError},
    limits::LENGTH_BYTES,
    message::{Call, FromMaster, Hello, Welcome, feature},
};

/// Features that share memory, of which nothing is in a recording.
const SHARING: [&str; 3] =
    [feature::SHARED_OUTPUT, feature::SHARED_RESULTS, feature::SHARED_ARGUMENTS];

/// The welcome for a worker, and the features that were agreed on with the recorded one and that
/// it does not know.
pub(super) fn welcome(recorded: Welcome, hello: &Hello) -> (Welcome, Vec<String>) {
    let shares = |name: &String| SHARING.contains(&name.as_str());
    let chosen = recorded.features.into_iter().filter(|name| !shares(name));
    let (features, lacking) = chosen.partition(|name| hello.features.contains(name));
    (Welcome { features, shared_output: None, shared_arguments: None, ..recorded }, lacking)
}

/// The body of the frame of a message.
pub(super) fn body(message: &FromMaster<'_>, payload: &[u8]) -> Result<Vec<u8>, SendError> {
    let mut frame = Vec::new();
    envelope::append_frame(&mut frame, message, payload)?;
    frame.drain(..LENGTH_BYTES);
    Ok(frame)
}

/// The first items of a call.
pub(super) struct FirstItems<'a> {
    /// The call with no more than these.
    pub(super) call: Call<'a>,
    /// Its payload.
    pub(super) payload: &'a [u8],
    /// The arguments of each, encoded.
    pub(super) arguments: Vec<&'a [u8]>,
}

/// Cuts a call behind so many items. `None` if nothing is left, or its payload makes no sense.
pub(super) fn first_items<'a>(
    call: Call<'a>,
    payload: &'a [u8],
    most: u64,
) -> Option<FirstItems<'a>> {
    let items = u32::try_from(most).unwrap_or(u32::MAX).min(call.items);
    if items == 0 {
        return None;
    }
    let all = envelope::items(&call, payload).ok()?;
    let mut arguments = Vec::new();
    let mut end = 0;
    for item in all.take(items as usize) {
        let length = item.positional.len() + item.keywords.map_or(0, <[u8]>::len);
        arguments.push(payload.get(end..end + length)?);
        end += length;
    }
    // One that is not whole is not the last any more: what the worker exits with is another's.
    let last = call.last && items == call.items;
    let call = Call { items, last, shared: None, ..call };
    Some(FirstItems { call, payload: payload.get(..end)?, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(items: u32, keywords: bool) -> Call<'static> {
        Call { id: 1, function: "f".into(), items, keywords, last: true, shared: None }
    }

    #[test]
    fn a_call_is_cut_behind_what_was_answered() {
        let payload = b"\x91\x01\x91\xa1a\x90";
        let cut = first_items(call(3, false), payload, 2).unwrap();
        assert_eq!((cut.call.items, cut.call.last), (2, false));
        assert_eq!(cut.payload, b"\x91\x01\x91\xa1a");
        assert_eq!(cut.arguments, [&b"\x91\x01"[..], b"\x91\xa1a"]);
        let whole = first_items(call(3, false), payload, 9).unwrap();
        assert_eq!((whole.call.items, whole.call.last, whole.payload), (3, true, &payload[..]));
        assert!(first_items(call(3, false), payload, 0).is_none());
        assert!(first_items(call(3, false), b"\x91", 1).is_none());
    }

    #[test]
    fn keywords_stay_with_their_item() {
        let payload = b"\x91\x01\x81\xa1k\x02\x91\x03\x80";
        let cut = first_items(call(2, true), payload, 1).unwrap();
        assert_eq!(cut.arguments, [b"\x91\x01\x81\xa1k\x02"]);
        assert_eq!(cut.payload, b"\x91\x01\x81\xa1k\x02");
    }

    #[test]
    fn features_are_those_of_both_and_none_shares_memory() {
        let features = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let recorded = Welcome {
            features: features(&["progress", "shared_output", "x-own"]),
            slot: 2,
            ..Welcome::default()
        };
        let hello =
            Hello { features: features(&["progress", "shared_output"]), ..Hello::default() };
        let (welcome, lacking) = welcome(recorded, &hello);
        assert_eq!((welcome.features, welcome.slot), (features(&["progress"]), 2));
        assert_eq!(lacking, ["x-own"]);
    }
}
