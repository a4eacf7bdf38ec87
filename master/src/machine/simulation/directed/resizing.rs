//! A pool that is made larger or smaller.

use std::time::Duration;

use super::{
    super::super::*,
    F, G, MILLISECOND,
    rig::{Fate, Rig, settings},
};

#[test]
fn a_pool_that_grows_starts_workers_at_once() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 3, 1);
    rig.resize(3);
    assert_eq!((rig.started.len(), rig.seat(1), rig.seat(2)), (3, 1, 2));
    rig.prepare();
    assert_eq!([0, 1, 2].map(|worker| rig.outstanding(worker)), [1, 1, 1]);
}

#[test]
fn whoever_loses_its_seat_finishes_what_it_has() {
    let mut rig = Rig::serving(settings(3));
    rig.submit(F, 9, 3);
    rig.resize(1);
    rig.pass(MILLISECOND);
    assert_eq!((rig.drained.len(), rig.terminated.len()), (0, 0));
    rig.submit(F, 2, 1);
    rig.run(|_| Fate::Answer);
    assert_eq!((rig.completed.len(), rig.ended.len(), rig.started.len()), (11, 0, 3));
    assert_eq!([1, 2].map(|worker| rig.sent_to(worker).len()), [1, 1], "and gets nothing more");
    assert_eq!(rig.machine.views().count(), 1);
}

#[test]
fn whoever_loses_its_seat_leaves_at_once_if_it_is_idle_and_is_stopped_if_it_is_not_ready() {
    let mut rig = Rig::new(settings(3));
    rig.greet(1, &[F]);
    rig.ready(1);
    rig.resize(1);
    assert_eq!((&rig.drained[..], &rig.terminated[..]), (&[WorkerId(1)][..], &[WorkerId(2)][..]));
    for worker in [1, 2] {
        rig.exit(worker, Unread::Nothing);
    }
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.started.len(), rig.failed), (3, None));
}

/// Those who have lost their seats count as long as they live, as any that leave.
#[test]
fn seats_that_come_back_are_for_new_workers() {
    let mut rig = Rig::serving(settings(3));
    rig.submit(F, 3, 1);
    rig.resize(1);
    rig.resize(3);
    assert_eq!((rig.started.len(), rig.seat(3), rig.most_live), (4, 1, 4));
    rig.submit(F, 3, 1);
    rig.prepare();
    assert_eq!((rig.outstanding(3), rig.sent_to(1).len(), rig.sent_to(2).len()), (1, 1, 1));
    rig.answer(1);
    assert_eq!((&rig.drained[..], rig.started.len()), (&[WorkerId(1)][..], 4));
    rig.exit(1, Unread::Nothing);
    assert_eq!((rig.started.len(), rig.seat(4)), (5, 2));
    rig.run(|_| Fate::Answer);
    assert_eq!((rig.completed.len(), rig.ended.len(), rig.most_live), (6, 0, 4));
}

#[test]
fn a_crash_of_whoever_has_lost_its_seat_is_not_replaced() {
    let mut rig = Rig::serving(settings(2));
    rig.submit(F, 2, 1);
    rig.resize(1);
    rig.exit(1, Unread::Nothing);
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.started.len(), rig.ended.len(), rig.failed), (2, 1, None));
}

#[test]
fn the_same_size_changes_nothing() {
    let mut rig = Rig::serving(settings(2));
    rig.submit(F, 1, 1);
    rig.resize(2);
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.started.len(), rig.drained.len(), rig.terminated.len()), (2, 0, 0));
    assert_eq!(rig.machine.deadline(), None);
}

#[test]
fn a_pool_that_ends_does_not_grow() {
    for event in [Event::Closed, Event::Interrupted, Event::Terminated] {
        let mut rig = Rig::serving(settings(1));
        rig.handle(event);
        rig.resize(4);
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.started.len(), 1);
        rig.exit(0, Unread::Nothing);
        assert!(rig.has_ended);
    }
}

/// What is known of a function came from whoever has left since, and nobody else has it or is
/// to come.
#[test]
fn a_function_that_has_left_with_its_seat_is_unknown() {
    let mut rig = Rig::new(settings(2));
    rig.greet(0, &[F]);
    rig.ready(0);
    rig.greet(1, &[F, G]);
    rig.ready(1);
    rig.resize(1);
    rig.exit(1, Unread::Nothing);
    rig.submit(G, 1, 1);
    assert_eq!(rig.ended, [(0, Ending::Cancelled(Cancellation::UnknownFunction))]);
}
