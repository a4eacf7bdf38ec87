//! What is tried again, when, and how often.

use std::{num::NonZeroU32, time::Duration};

use super::{
    super::super::{core::MAX_RETRY_BACKOFF, *},
    F, G, MILLISECOND, MakeEvent, lost,
    rig::{Fate, Rig, settings},
};

const BACKOFF: Duration = Duration::from_millis(100);

/// Longer than the first wait ever is.
const FIRST_WAIT: Duration = Duration::from_millis(125);

const LIMIT: Duration = Duration::from_secs(1);

/// An item may kill any number of workers.
fn retrying(slots: usize, retries: u32) -> Settings {
    Settings {
        retries,
        retry_backoff: BACKOFF,
        poison_limit: NonZeroU32::MAX,
        failed_start_intensity: 0,
        task_timeout: Some(LIMIT),
        ..settings(slots)
    }
}

/// A pool of one worker, whose only item was lost and is to be tried again. The worker after that
/// is ready.
fn with_an_item_that_waits(retries: u32) -> Rig {
    let mut rig = Rig::serving(retrying(1, retries));
    rig.submit(F, 1, 1);
    rig.exit(0, Unread::Nothing);
    rig.prepare();
    assert_eq!((rig.retried.len(), rig.ended.len(), rig.outstanding(1)), (1, 0, 0));
    rig
}

/// A pool of two workers, and an item that has timed out at the first, which is being stopped.
fn with_an_item_that_is_held() -> Rig {
    let mut rig = Rig::serving(retrying(2, 1));
    rig.submit(F, 1, 1);
    rig.pass(LIMIT);
    assert_eq!((&rig.terminated[..], rig.retried.len()), (&[WorkerId(0)][..], 1));
    rig
}

#[test]
fn a_lost_item_is_tried_again_after_a_wait_that_doubles() {
    let mut rig = Rig::serving(retrying(1, 20));
    rig.submit(F, 1, 1);
    for worker in 0..20 {
        rig.exit(worker, Unread::Nothing);
        rig.prepare();
        let least = MAX_RETRY_BACKOFF.min(BACKOFF * (1 << worker));
        let wait = rig.machine.deadline().unwrap() - rig.now;
        assert!((least..=least * 5 / 4).contains(&wait), "{wait:?} for {least:?}");
        rig.pass(wait - Duration::from_micros(1));
        assert_eq!((rig.outstanding(worker + 1), rig.machine.items_waiting()), (0, 1));
        rig.pass(Duration::from_micros(1));
        assert_eq!((rig.outstanding(worker + 1), rig.machine.items_waiting()), (1, 0));
    }
    rig.answer(20);
    assert_eq!((&rig.completed[..], rig.ended.len(), rig.retried.len()), (&[0][..], 0, 20));
}

#[test]
fn an_item_is_tried_again_so_often_and_no_more() {
    for retries in 0..4 {
        let mut rig = Rig::serving(retrying(1, retries));
        rig.submit(F, 2, 2);
        rig.run_on(|item| if item == 0 { Fate::Crash } else { Fate::Answer });
        let [(0, Ending::Lost { poison: false, .. })] = rig.ended[..] else {
            panic!("{:?}", rig.ended)
        };
        assert_eq!(
            (rig.retried.len(), rig.started.len()),
            (retries as usize, retries as usize + 2)
        );
        assert_eq!((rig.completed, rig.failed), (vec![1], None));
    }
}

#[test]
fn a_crash_costs_the_tries_of_one_item_and_not_of_its_neighbours() {
    let mut rig = Rig::serving(retrying(1, 1));
    rig.submit(F, 6, 6);
    rig.answer(0);
    // Each of these has crashed once before the first is tried again.
    for worker in 0..3 {
        rig.exit(worker, Unread::Nothing);
        rig.prepare();
    }
    rig.run_on(|item| if item == 2 { Fate::Crash } else { Fate::Answer });
    let retried: Vec<_> = rig.retried.iter().map(|&(item, _)| item).collect();
    assert_eq!((retried, lost(&rig.ended)), (vec![1, 2, 3], vec![2]));
    rig.completed.sort_unstable();
    assert_eq!((rig.completed, rig.ended.len()), (vec![0, 1, 3, 4, 5], 1));
}

#[test]
fn what_kills_too_many_workers_is_poison_whatever_tries_are_left() {
    for limit in 1..5 {
        let poison_limit = NonZeroU32::new(limit).unwrap();
        let mut rig = Rig::serving(Settings { poison_limit, ..retrying(1, 10) });
        rig.submit(F, 2, 1);
        rig.run_on(|item| if item == 0 { Fate::Crash } else { Fate::Answer });
        let [(0, Ending::Lost { poison: true, .. })] = rig.ended[..] else {
            panic!("{:?}", rig.ended)
        };
        assert_eq!(rig.started.len(), limit as usize + 1);
        assert_eq!((rig.completed, rig.failed), (vec![1], None), "no start has failed");
    }
}

#[test]
fn an_item_whose_time_is_over_has_killed_nobody() {
    let poison_limit = NonZeroU32::MIN;
    let mut rig = Rig::serving(Settings { poison_limit, ..retrying(1, 2) });
    rig.submit(F, 1, 1);
    for worker in 0..3 {
        rig.pass(LIMIT);
        rig.exit(worker, Unread::Nothing);
        rig.prepare();
        rig.pass(BACKOFF * 3);
    }
    assert_eq!(rig.retried.len(), 2);
    let [(0, Ending::TimedOut { .. })] = rig.ended[..] else { panic!("{:?}", rig.ended) };
}

#[test]
fn an_item_whose_time_was_over_is_no_poison_after_its_first_kill() {
    let poison_limit = NonZeroU32::new(2).unwrap();
    let mut rig = Rig::serving(Settings { poison_limit, ..retrying(1, 9) });
    rig.submit(F, 1, 1);
    rig.pass(LIMIT);
    for (worker, retries) in [(0, 1), (1, 2), (2, 2)] {
        rig.exit(worker, Unread::Nothing);
        rig.prepare();
        assert_eq!((rig.retried.len(), rig.ended.len()), (retries, usize::from(worker == 2)));
        rig.pass(BACKOFF * 3);
    }
    let [(0, Ending::Lost { poison: true, .. })] = rig.ended[..] else { panic!("{:?}", rig.ended) };
}

#[test]
fn an_item_whose_time_is_over_waits_for_the_end_of_its_worker() {
    let mut rig = with_an_item_that_is_held();
    rig.prepare();
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.outstanding(1), rig.machine.items_waiting(), rig.killed.len()), (0, 1, 1));
    rig.exit(0, Unread::Nothing);
    assert_eq!(rig.outstanding(1), 0, "it waits as long as any other");
    rig.pass(BACKOFF - MILLISECOND);
    assert_eq!(rig.outstanding(1), 0);
    rig.pass(FIRST_WAIT);
    assert_eq!((rig.outstanding(1), lost(&rig.ended)), (1, vec![]));
}

#[test]
fn an_item_whose_time_is_over_waits_for_a_late_answer_and_that_is_dropped() {
    let mut rig = with_an_item_that_is_held();
    rig.prepare();
    rig.pass(MILLISECOND);
    rig.answer(0);
    assert_eq!((rig.completed.len(), rig.machine.items_waiting()), (0, 1));
    rig.pass(FIRST_WAIT);
    assert_eq!(rig.outstanding(1), 1, "its first worker lives on");
    rig.answer(1);
    rig.exit(0, Unread::Nothing);
    assert_eq!((rig.completed, rig.ended.len(), rig.retried.len()), (vec![0], 0, 1));
}

#[test]
fn an_item_that_failed_is_tried_again_only_where_that_is_asked_for() {
    for (retry_failed, again) in [(false, vec![]), (true, vec![0, 0])] {
        let mut rig = Rig::serving(Settings { retry_failed, ..retrying(1, 2) });
        rig.submit(F, 2, 1);
        rig.run_on(|item| if item == 0 { Fate::Fail } else { Fate::Answer });
        rig.completed.sort_unstable();
        assert_eq!((&rig.again, &rig.completed[..]), (&again, &[0, 1][..]));
        assert_eq!((rig.ended.len(), rig.started.len()), (0, 1), "the last failure is its outcome");
    }
}

/// Its neighbours in the chunk go on, and the failure is known at once: nothing is held.
#[test]
fn an_item_that_failed_waits_apart_from_its_chunk() {
    let mut rig = Rig::serving(Settings { retry_failed: true, ..retrying(1, 1) });
    rig.submit(F, 3, 3);
    rig.answer(0);
    rig.answer_with(0, Verdict::Failed);
    rig.answer(0);
    assert_eq!((&rig.completed[..], rig.outstanding(0)), (&[0, 2][..], 0));
    rig.pass(FIRST_WAIT);
    assert_eq!(rig.sent_to(0), [(0, 3), (1, 2)]);
}

#[test]
fn what_waits_to_be_tried_again_is_concluded_with_whatever_ends_it() {
    let cases: [(MakeEvent, Cancellation); 5] = [
        (|| Event::Cancelled { batch: 0 }, Cancellation::ByCaller),
        (|| Event::Withdrawn { batch: 0 }, Cancellation::ByCaller),
        (|| Event::Terminated, Cancellation::Terminated),
        (|| Event::Killed, Cancellation::Terminated),
        (|| Event::Interrupted, Cancellation::Interrupted),
    ];
    for (event, reason) in cases {
        for held in [false, true] {
            let mut rig =
                if held { with_an_item_that_is_held() } else { with_an_item_that_waits(1) };
            let said = format!("{:?}, held: {held}", event());
            rig.handle(event());
            assert_eq!(rig.ended, [(0, Ending::Cancelled(reason))], "{said}");
            rig.pass(LIMIT * 10);
            if held {
                rig.exit(0, Unread::Nothing);
            }
            rig.prepare();
            rig.pass(LIMIT * 10);
            assert_eq!((rig.outstanding(1), rig.ended.len()), (0, 1), "{said}");
        }
    }
}

#[test]
fn a_pool_that_is_closed_waits_for_what_is_to_be_tried_again() {
    let mut rig = with_an_item_that_waits(1);
    rig.handle(Event::Closed);
    assert_eq!((rig.drained.len(), rig.terminated.len(), rig.has_ended), (0, 0, false));
    rig.run_on(|_| Fate::Answer);
    assert_eq!((&rig.completed[..], rig.has_ended), (&[0][..], true));

    let mut rig = with_an_item_that_is_held();
    rig.handle(Event::Closed);
    assert_eq!((rig.drained.len(), rig.has_ended), (0, false));
    rig.run_on(|_| Fate::Answer);
    assert_eq!((&rig.completed[..], rig.has_ended), (&[0][..], true));
}

/// What waited for it need not wait behind what came later.
#[test]
fn an_item_that_is_tried_again_keeps_its_place_in_the_order() {
    let mut rig = Rig::serving(retrying(1, 1));
    rig.submit(F, 7, 1);
    rig.submit(G, 1, 1);
    rig.submit(F, 9, 4);
    rig.exit(0, Unread::Nothing);
    rig.greet(1, &[F, G]);
    rig.ready(1);
    assert_eq!(rig.sent_to(1), [(1, 2)], "nobody waits for it");
    rig.pass(FIRST_WAIT);
    for _ in 0..2 {
        rig.answer(1);
        rig.pass(MILLISECOND);
    }
    assert_eq!(rig.sent_to(1), [(1, 2), (0, 1), (2, 3)]);
}

#[test]
fn what_waits_for_a_function_that_has_vanished_is_concluded() {
    for held in [false, true] {
        let mut rig = Rig::new(retrying(1, 1));
        rig.greet(0, &[F, G]);
        rig.ready(0);
        rig.submit(G, 1, 1);
        if held {
            rig.pass(LIMIT);
        } else {
            rig.exit(0, Unread::Nothing);
        }
        assert_eq!((rig.retried.len(), rig.ended.len()), (1, 0));
        rig.greet(1, &[F]);
        rig.ready(1);
        let unknown = Ending::Cancelled(Cancellation::UnknownFunction);
        assert_eq!(rig.ended, [(0, unknown)], "held: {held}");
        if held {
            rig.exit(0, Unread::Nothing);
        }
        assert_eq!((rig.machine.deadline(), rig.machine.items_waiting()), (None, 0));
    }
}

#[test]
fn a_process_for_one_call_is_not_tried_again() {
    let mut rig = Rig::serving(Settings { one_call: true, ..retrying(1, 3) });
    rig.submit(F, 1, 1);
    rig.exit(0, Unread::Nothing);
    assert_eq!((rig.retried.len(), lost(&rig.ended), rig.started.len()), (0, vec![0], 1));
}

/// It cannot have begun, so it has not been tried.
#[test]
fn a_call_that_was_not_read_is_no_try() {
    let mut rig = Rig::serving(retrying(1, 0));
    rig.submit(F, 1, 1);
    rig.answer(0);
    for worker in 0..3 {
        rig.submit(F, 1, 1);
        rig.exit(worker, Unread::Something);
        rig.prepare();
        assert_eq!((rig.outstanding(worker + 1), rig.retried.len()), (1, 0));
        rig.answer(worker + 1);
    }
    assert_eq!((rig.completed.len(), rig.ended.len()), (4, 0));
}

/// A function that fails in an interrupted pool has failed.
#[test]
fn nothing_is_tried_again_once_the_pool_begins_nothing_more() {
    for crash in [false, true] {
        let mut rig = Rig::serving(Settings { retry_failed: true, ..retrying(1, 3) });
        rig.submit(F, 1, 1);
        rig.handle(Event::Interrupted);
        if crash {
            rig.exit(0, Unread::Nothing);
        } else {
            rig.answer_with(0, Verdict::Failed);
        }
        let ends = usize::from(crash);
        assert_eq!((rig.retried.len(), rig.again.len(), rig.ended.len()), (0, 0, ends));
    }
}
