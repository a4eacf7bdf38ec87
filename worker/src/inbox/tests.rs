//! Looking ahead over a pair of sockets, without a process: what was written is there at once, so
//! every order of events can be had.

#![cfg(unix)]

use std::{
    cell::RefCell,
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};

use interprocess::{local_socket::Stream, os::unix::uds_local_socket};
use protocol::{
    envelope,
    message::{Call, FromMaster},
};

use super::{Inbox, MAX_AHEAD};
use crate::output::Output;

/// How long either end may wait for the other before the test fails.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

/// The master's end, and an inbox at the other.
struct Pair {
    master: UnixStream,
    inbox: Inbox,
    output: RefCell<Output>,
}

impl Pair {
    fn new() -> Self {
        let (master, worker) = UnixStream::pair().unwrap();
        for end in [&master, &worker] {
            end.set_read_timeout(PATIENCE).unwrap();
            end.set_write_timeout(PATIENCE).unwrap();
        }
        let worker = uds_local_socket::Stream::from(OwnedFd::from(worker));
        let socket = Arc::new(Stream::UdSocket(worker));
        let (inbox, output) = (Inbox::new(&socket), RefCell::new(Output::new(&socket)));
        Self { master, inbox, output }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }

    /// The id of the next message, which has to be a call or a cancel.
    fn next(&self) -> u64 {
        assert!(self.inbox.wait_for_frame(&self.output).unwrap());
        match envelope::open::<FromMaster<'_>>(&self.inbox.frame()).unwrap().0 {
            FromMaster::Call(call) => call.id,
            FromMaster::Cancel { id, .. } => id,
            other => panic!("expected a call or a cancel, found {other:?}"),
        }
    }
}

fn call(id: u64, argument: &str) -> Vec<u8> {
    let call =
        Call { id, function: "f".into(), items: 1, keywords: false, last: false, shared: None };
    frame(&FromMaster::Call(call), &rmp_serde::to_vec(&(argument,)).unwrap())
}

fn cancel(id: u64, item: u32) -> Vec<u8> {
    frame(&FromMaster::Cancel { id, item }, &[])
}

fn frame(message: &FromMaster<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope::append_frame(&mut bytes, message, payload).unwrap();
    bytes
}

#[test]
fn a_cancel_is_found_wherever_the_pieces_of_the_stream_end() {
    let behind = [call(2, "two"), cancel(1, 0), call(3, "three")].concat();
    // The first piece comes with the call in hand, the second before the function asks.
    for cut in 0..=behind.len() {
        for again in [0, 1, 5, behind.len()] {
            let mut pair = Pair::new();
            let (first, second) = behind.split_at(cut);
            pair.send(&[&call(1, "one"), first].concat());
            assert_eq!(pair.next(), 1);
            let asked_early = pair.inbox.is_cancelled(1, 0);
            assert_eq!(asked_early, cut >= behind.len() - call(3, "three").len(), "{cut}");
            let (second, third) = second.split_at(again.min(second.len()));
            pair.send(second);
            let _ = pair.inbox.is_cancelled(1, 0);
            pair.send(third);
            assert!(pair.inbox.is_cancelled(1, 0), "{cut}");
            assert!(!pair.inbox.is_cancelled(1, 1), "{cut}");
            assert_eq!([pair.next(), pair.next(), pair.next()], [2, 1, 3], "{cut}");
            assert!(!pair.inbox.is_cancelled(3, 0), "{cut}");
        }
    }
}

#[test]
fn a_cancel_of_another_item_is_none() {
    let mut pair = Pair::new();
    pair.send(&[call(7, ""), cancel(6, 0), cancel(7, 1), cancel(8, 0)].concat());
    assert_eq!(pair.next(), 7);
    assert!(!pair.inbox.is_cancelled(7, 0));
    // Not even later, when that item is in hand.
    pair.send(&[cancel(7, 0), cancel(7, 1)].concat());
    assert!(pair.inbox.is_cancelled(7, 0));
    pair.send(&call(8, ""));
    for id in [6, 7, 8, 7, 7, 8] {
        assert_eq!(pair.next(), id);
    }
    assert!(!pair.inbox.is_cancelled(8, 0));
}

#[test]
fn what_was_read_ahead_keeps_its_order() {
    let mut pair = Pair::new();
    pair.send(&call(0, ""));
    for id in 0..2000_u64 {
        assert_eq!(pair.next(), id);
        // A few more come than are handled, of many sizes, and every third item looks ahead.
        if id < 1000 {
            let size = usize::try_from(id % 97).unwrap();
            pair.send(&call(2 * id + 1, &"x".repeat(size * size)));
            pair.send(&call(2 * id + 2, ""));
        }
        if id % 3 == 0 {
            assert!(!pair.inbox.is_cancelled(id, 0));
        }
    }
    pair.send(&cancel(2000, 0));
    assert_eq!(pair.next(), 2000);
    assert!(pair.inbox.is_cancelled(2000, 0));
}

#[test]
fn asking_often_costs_little() {
    let mut pair = Pair::new();
    pair.send(&[call(1, ""), call(2, &"x".repeat(100_000))].concat());
    assert_eq!(pair.next(), 1);
    for _ in 0..100_000 {
        assert!(!pair.inbox.is_cancelled(1, 0));
    }
    pair.send(&cancel(1, 0));
    for _ in 0..100_000 {
        assert!(pair.inbox.is_cancelled(1, 0));
    }
    assert_eq!(pair.next(), 2);
}

#[test]
fn the_end_of_the_stream_is_a_cancel() {
    let mut pair = Pair::new();
    pair.send(&[call(1, ""), call(2, "")].concat());
    assert_eq!(pair.next(), 1);
    assert!(!pair.inbox.is_cancelled(1, 0));
    let Pair { master, inbox, output } = pair;
    drop(master);
    assert!(inbox.is_cancelled(1, 0));
    assert!(inbox.is_cancelled(1, 0));
    assert!(inbox.wait_for_frame(&output).unwrap());
    assert!(!inbox.wait_for_frame(&output).unwrap());
}

#[test]
fn the_serve_loop_finds_what_is_malformed() {
    for (bytes, error) in [
        (vec![0, 0, 0, 0], "the master broke the protocol: a frame claims 0 bytes"),
        (vec![0xff; 4], "the master broke the protocol: a frame claims 4294967295 bytes"),
    ] {
        let mut pair = Pair::new();
        pair.send(&[call(1, ""), call(2, ""), bytes, cancel(1, 0)].concat());
        assert_eq!(pair.next(), 1);
        assert!(!pair.inbox.is_cancelled(1, 0), "nothing behind it counts");
        assert_eq!(pair.next(), 2);
        let found = pair.inbox.wait_for_frame(&pair.output).unwrap_err().to_string();
        assert!(found.starts_with(error), "{found}");
    }
    for body in [frame(&FromMaster::Cancel { id: 1, item: 0 }, &[0xc0]), b"\0\0\0\x01\xc0".to_vec()]
    {
        let mut pair = Pair::new();
        pair.send(&[call(1, ""), body.clone(), cancel(1, 0)].concat());
        assert_eq!(pair.next(), 1);
        assert!(!pair.inbox.is_cancelled(1, 0), "nothing behind it counts");
        assert!(pair.inbox.wait_for_frame(&pair.output).unwrap());
        assert_eq!(*pair.inbox.frame(), body[4..]);
    }
}

#[test]
fn no_more_is_read_ahead_than_the_limit() {
    let mut pair = Pair::new();
    pair.send(&call(1, ""));
    assert_eq!(pair.next(), 1);
    // The call behind that one never ends as far as the inbox is concerned.
    let behind = call(2, &"x".repeat(2 * MAX_AHEAD));
    let mut master = pair.master.try_clone().unwrap();
    let writer = std::thread::spawn(move || master.write_all(&behind).unwrap());
    let held = |inbox: &Inbox| inbox.ahead.borrow().bytes.len();
    while held(&pair.inbox) < MAX_AHEAD {
        assert!(!pair.inbox.is_cancelled(1, 0));
    }
    let full = held(&pair.inbox);
    for _ in 0..1000 {
        assert!(!pair.inbox.is_cancelled(1, 0));
    }
    assert_eq!(held(&pair.inbox), full);
    assert!(full < MAX_AHEAD + (4 << 20), "{full}");
    assert_eq!(pair.next(), 2);
    assert_eq!(held(&pair.inbox), 0);
    writer.join().unwrap();
}
