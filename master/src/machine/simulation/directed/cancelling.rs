//! What is cancelled is concluded at once, and nothing else suffers for it.

use std::time::Duration;

use super::{
    super::{
        super::{worker::MAX_FUTILE, *},
        Load,
    },
    F, MILLISECOND, lost,
    rig::{Rig, settings},
};

const BY_CALLER: Ending = Ending::Cancelled(Cancellation::ByCaller);

/// A pool of one worker that has answered one item, of batch 0, within 10 us: it is sent short
/// items several at a time.
fn with_a_window() -> Rig {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 1, 1);
    rig.answer_after(0, Duration::from_micros(10));
    rig
}

#[test]
fn a_queued_task_is_never_sent() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 1, 1);
    rig.submit(F, 1, 1);
    rig.cancel(1);
    assert_eq!((&rig.concluded, &rig.ended), (&vec![(1, 0..1)], &vec![(0, BY_CALLER)]));
    rig.pass(MILLISECOND);
    rig.answer(0);
    assert_eq!((rig.completed.len(), rig.sent_to(0).len()), (1, 1));
    assert_eq!((rig.terminated.len(), rig.started.len()), (0, 1));
}

#[test]
fn the_worker_of_a_running_task_is_replaced_at_once() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 1, 1);
    rig.submit(F, 1, 1);
    rig.pass(MAX_FUTILE);
    rig.cancel(0);
    assert_eq!((&rig.concluded, &rig.ended), (&vec![(0, 0..1)], &vec![(0, BY_CALLER)]));
    assert_eq!((&rig.terminated[..], rig.started.len()), (&[WorkerId(0)][..], 2));
    rig.prepare();
    assert_eq!(rig.sent_to(1), [(0, 1)]);
    rig.answer(0);
    assert_eq!(rig.completed.len(), 0, "the answer to what is cancelled is late");
    rig.pass(Duration::from_secs(5));
    assert_eq!(rig.killed, [WorkerId(0)], "it has ignored the polite signal");
    rig.exit(0, Unread::Nothing);
    rig.answer(1);
    assert_eq!((rig.completed.len(), rig.ended.len(), rig.failed), (1, 1, None));
}

#[test]
fn a_worker_that_is_soon_through_is_not_stopped() {
    for (time, stopped) in [(MAX_FUTILE - Duration::from_micros(1), 0), (MAX_FUTILE, 1)] {
        let mut rig = Rig::serving(settings(1));
        rig.submit(F, 1, 1);
        rig.cancel(0);
        assert_eq!((rig.terminated.len(), rig.ended.len()), (0, 1));
        assert_eq!(rig.machine.deadline(), Some(MAX_FUTILE));
        rig.pass(time);
        assert_eq!(rig.terminated.len(), stopped, "after {time:?}");
        rig.answer(0);
        rig.pass(MILLISECOND);
        assert_eq!((rig.terminated.len(), rig.completed.len()), (stopped, 0));
    }
}

#[test]
fn what_waits_for_a_running_item_is_concluded_and_its_worker_stopped_only_when_it_is_there() {
    let mut rig = with_a_window();
    for _ in 1..=3 {
        rig.submit(F, 1, 1);
    }
    assert_eq!(rig.outstanding(0), 3);
    rig.cancel(2);
    assert_eq!(rig.concluded, [(2, 0..1)]);
    rig.pass(MILLISECOND);
    assert_eq!(rig.terminated, [], "batch 1 is in its hands");
    rig.answer(0);
    assert_eq!((rig.completed.len(), rig.terminated.len()), (2, 0));
    rig.pass(MAX_FUTILE);
    assert_eq!(rig.terminated, [WorkerId(0)], "batch 2 is");
    rig.prepare();
    assert_eq!(rig.sent_to(1), [], "batch 3 may yet begin where it is");
    rig.exit(0, Unread::Nothing);
    rig.answer(1);
    assert_eq!((rig.completed.len(), rig.ended.len()), (3, 1));
}

#[test]
fn nothing_is_sent_to_wait_for_a_cancelled_item() {
    let mut rig = with_a_window();
    rig.submit(F, 1, 1);
    rig.cancel(1);
    rig.submit(F, 1, 1);
    assert_eq!(rig.outstanding(0), 1);
    rig.answer(0);
    assert_eq!((rig.outstanding(0), rig.sent_to(0).len()), (1, 3));
}

#[test]
fn a_chunk_of_short_items_does_not_hold_its_worker_either() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 100, 100);
    rig.answer(0);
    rig.cancel(0);
    assert_eq!(rig.concluded, [(0, 1..100)]);
    let step = MAX_FUTILE / 5;
    for _ in 0..4 {
        rig.answer_after(0, step);
        assert_eq!(rig.terminated, []);
    }
    rig.answer_after(0, step);
    assert_eq!(rig.terminated, [WorkerId(0)]);
    rig.exit(0, Unread::Nothing);
    assert_eq!((rig.completed.len(), rig.ended.len()), (1, 99));
}

#[test]
fn a_death_loses_what_was_running_and_brings_nothing_cancelled_back() {
    for unread in [Unread::Nothing, Unread::Something] {
        let mut rig = with_a_window();
        rig.submit(F, 1, 1);
        rig.submit(F, 2, 2);
        rig.submit(F, 1, 1);
        rig.cancel(2);
        rig.exit(0, unread);
        assert_eq!(rig.concluded, [(2, 0..2), (1, 0..1)]);
        assert_eq!(lost(&rig.ended), [0]);
        rig.prepare();
        assert_eq!(rig.sent_to(1), [(0, 1)], "batch 3");
    }
}

/// That the call was cancelled does not make a start of it that has not failed.
#[test]
fn a_death_in_a_cancelled_item_loses_nothing() {
    for (unread, started) in [(Unread::Nothing, 2), (Unread::Something, 1)] {
        let mut rig = Rig::serving(settings(1));
        rig.submit(F, 3, 3);
        rig.cancel(0);
        rig.exit(0, unread);
        assert_eq!(rig.started.len(), started, "unread: {unread:?}");
        rig.pass(Duration::from_secs(1));
        rig.prepare();
        assert_eq!((&rig.concluded[..], rig.sent_to(1).len()), (&[(0, 0..3)][..], 0));
    }
}

#[test]
fn the_time_of_a_cancelled_item_is_measured_all_the_same() {
    let mut rig = with_a_window();
    rig.submit(F, 1, 1);
    rig.cancel(1);
    rig.answer_after(0, MAX_FUTILE - Duration::from_micros(100));
    for _ in 0..100 {
        rig.submit(F, 1, 1);
    }
    assert_eq!(rig.outstanding(0), 1, "it was a long one");
}

#[test]
fn what_is_concluded_before_is_not_concluded_again() {
    let limit = Duration::from_secs(1);
    let mut rig = Rig::serving(Settings { task_timeout: Some(limit), ..settings(1) });
    rig.cancel(0);
    rig.submit(F, 1, 1);
    rig.answer(0);
    rig.cancel(0);
    assert_eq!((rig.concluded.len(), rig.completed.len()), (0, 1), "nothing was pending");
    rig.submit(F, 5, 3);
    rig.pass(limit);
    for _ in 0..2 {
        rig.cancel(1);
        assert_eq!(rig.concluded, [(1, 0..1), (1, 1..3), (1, 3..5)]);
    }
    rig.exit(0, Unread::Nothing);
    rig.handle(Event::Terminated);
    rig.cancel(1);
    assert_eq!((rig.concluded.len(), rig.failed), (3, None));
}

#[test]
fn what_was_sent_goes_on_after_a_withdrawal() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 5, 2);
    rig.handle(Event::Withdrawn { batch: 0 });
    assert_eq!(rig.concluded, [(0, 2..5)]);
    rig.pass(Duration::from_secs(1));
    rig.answer_all();
    assert_eq!((&rig.completed[..], rig.terminated.len(), rig.started.len()), (&[0, 1][..], 0, 1));
}

#[test]
fn a_million_items_are_concluded_together() {
    const MILLION: u64 = 1_000_000;
    let mut machine = Machine::new(settings(1));
    let batch = Load::new(7, std::iter::repeat_n(1, 1_000_000));
    let submitted = Event::Submitted { batch, function: F, items: MILLION, chunk_size: Some(1) };
    machine.handle(Duration::ZERO, submitted);
    machine.handle(Duration::ZERO, Event::Cancelled { batch: 7 });
    let actions = machine.actions();
    let [Action::Conclude { items, ending, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((items.clone(), *ending), (0..MILLION, BY_CALLER));
}

/// What was put back stands before the rest of its batch, and apart from it.
#[test]
fn what_was_put_back_is_found() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 10, 5);
    rig.submit(F, 1, 1);
    rig.answer(0);
    rig.exit(0, Unread::Nothing);
    rig.cancel(0);
    assert_eq!(rig.concluded, [(0, 1..2), (0, 2..5), (0, 5..10)]);
    rig.prepare();
    rig.answer_all();
    assert_eq!((rig.sent_to(1).len(), rig.completed.len()), (1, 2));
}

#[test]
fn a_closed_pool_ends_when_the_rest_is_cancelled() {
    let mut rig = Rig::serving(settings(2));
    rig.submit(F, 3, 1);
    rig.handle(Event::Closed);
    rig.pass(MAX_FUTILE);
    rig.cancel(0);
    assert_eq!((rig.terminated.len(), rig.ended.len()), (2, 3));
    rig.exit(0, Unread::Nothing);
    rig.exit(1, Unread::Nothing);
    assert_eq!((rig.has_ended, rig.started.len(), lost(&rig.ended)), (true, 2, vec![]));
}
