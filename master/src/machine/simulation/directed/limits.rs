//! How much, how long and how large: the limits of a worker.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU64,
    time::Duration,
};

use super::{
    super::super::*,
    F, MILLISECOND, lost,
    rig::{Fate, Rig, settings},
};

const SECOND: Duration = Duration::from_secs(1);

/// How many items each worker but the last was given.
fn given(seed: u64, chunk_size: u64) -> Vec<u64> {
    let max_tasks_per_child = NonZeroU64::new(3);
    let mut rig =
        Rig::serving(Settings { max_tasks_per_child, max_tasks_jitter: 4, seed, ..settings(2) });
    rig.submit(F, 500, chunk_size);
    rig.run(|_| Fate::Answer);
    assert_eq!(rig.completed.len(), 500);
    let mut given = HashMap::<_, u64>::new();
    for worker in 0..rig.started.len() as u64 {
        let items = rig.sent_to(worker).iter().map(|(start, end)| end - start).sum();
        given.insert(worker, items);
    }
    let drained = rig.started.len() as u64 - 2;
    (0..drained).map(|worker| given[&worker]).collect()
}

#[test]
fn the_limit_of_tasks_is_another_for_each_worker_and_each_pool() {
    for chunk_size in [1, 100] {
        let counts = given(1, chunk_size);
        assert!(counts.iter().all(|count| (3..=7).contains(count)), "{counts:?}");
        let different: BTreeSet<_> = counts.iter().collect();
        assert_eq!(different.len(), 5, "{counts:?}");
        assert_ne!(counts, given(2, chunk_size));
        assert_eq!(counts, given(1, chunk_size), "chance comes from the seed alone");
    }
}

fn aging(slots: usize) -> Rig {
    Rig::serving(Settings { max_age: Some(SECOND * 10), ..settings(slots) })
}

#[test]
fn the_aged_are_replaced_one_after_another() {
    let mut rig = aging(3);
    rig.pass(SECOND * 10 - MILLISECOND);
    assert_eq!(rig.drained, []);
    rig.pass(MILLISECOND);
    for worker in 0..3 {
        assert_eq!(rig.drained.len(), worker + 1);
        assert_eq!((rig.drained[worker].0, rig.started.len()), (worker as u64, worker + 4));
        rig.pass(SECOND);
        rig.exit(worker as u64, Unread::Nothing);
        assert_eq!(rig.drained.len(), worker + 1, "its replacement is not ready yet");
        rig.pass(SECOND);
        let replacement = worker as u64 + 3;
        rig.greet(replacement, &[F]);
        rig.ready(replacement);
    }
    rig.pass(MILLISECOND);
    assert_eq!((rig.drained.len(), rig.most_live, rig.terminated.len()), (3, 4, 0));
}

#[test]
fn whoever_is_too_old_finishes_its_item_and_gets_no_other() {
    let mut rig = aging(1);
    rig.submit(F, 1, 1);
    rig.pass(SECOND * 20);
    rig.submit(F, 1, 1);
    assert_eq!((rig.drained.len(), rig.terminated.len(), rig.started.len()), (0, 0, 1));
    rig.answer(0);
    assert_eq!((&rig.drained[..], rig.sent_to(0).len()), (&[WorkerId(0)][..], 1));
    rig.prepare();
    assert_eq!((rig.outstanding(1), rig.ended.len()), (1, 0));
}

/// Else it would never serve at all.
#[test]
fn the_age_of_a_worker_counts_from_when_it_is_ready() {
    let mut rig = Rig::new(Settings { max_age: Some(SECOND), ..settings(1) });
    rig.submit(F, 1, 1);
    rig.pass(SECOND * 9);
    rig.prepare();
    assert_eq!((rig.outstanding(0), rig.drained.len()), (1, 0));
    rig.pass(SECOND);
    rig.answer(0);
    assert_eq!((rig.completed.len(), rig.drained.len()), (1, 1));
}

fn resting(slots: usize, minimum: usize) -> Rig {
    let mut rig = Rig::serving(Settings { idle_timeout: Some(SECOND), minimum, ..settings(slots) });
    rig.pass(SECOND - MILLISECOND);
    assert_eq!(rig.drained, []);
    rig.pass(MILLISECOND);
    for worker in rig.drained.clone() {
        rig.exit(worker.0, Unread::Nothing);
    }
    rig
}

#[test]
fn an_idle_pool_shrinks_to_its_minimum_and_stays_there() {
    for minimum in 0..5 {
        let mut rig = resting(3, minimum);
        let leave = 3_usize.saturating_sub(minimum);
        assert_eq!((rig.drained.len(), rig.started.len()), (leave, 3), "minimum {minimum}");
        assert_eq!(rig.machine.deadline(), None);
        rig.pass(SECOND * 100);
        assert_eq!((rig.drained.len(), rig.started.len()), (leave, 3), "minimum {minimum}");
    }
}

#[test]
fn a_pool_grows_again_at_once_as_far_as_something_waits() {
    for (minimum, items, starts) in [(0, 1, 1), (0, 2, 2), (0, 9, 3), (1, 1, 0), (1, 2, 1)] {
        let mut rig = resting(3, minimum);
        rig.submit(F, items, 1);
        assert_eq!(rig.started.len() - 3, starts, "{items} items, minimum {minimum}");
        rig.pass(SECOND / 2);
        assert_eq!(rig.started.len() - 3, starts, "who is on its way counts");
        rig.run(|_| Fate::Answer);
        assert_eq!((rig.completed.len(), rig.started.len() - 3), (items, starts));
    }
}

#[test]
fn a_pool_does_not_grow_for_the_window_of_one_worker() {
    let mut rig = resting(2, 1);
    let stays = 1;
    rig.submit(F, 1, 1);
    rig.answer_after(stays, Duration::from_micros(10));
    for _ in 0..20 {
        rig.submit(F, 1, 1);
    }
    assert_eq!((rig.outstanding(stays), rig.started.len()), (20, 2));
}

#[test]
fn whoever_is_busy_or_was_just_now_is_not_idle() {
    let mut rig = Rig::serving(Settings { idle_timeout: Some(SECOND), ..settings(2) });
    rig.submit(F, 1, 1);
    rig.pass(SECOND - MILLISECOND);
    rig.answer(0);
    rig.pass(MILLISECOND);
    assert_eq!(rig.drained, [WorkerId(1)]);
    rig.submit(F, 2, 1);
    assert_eq!(rig.started.len(), 3);
    rig.prepare();
    rig.pass(SECOND * 10);
    assert_eq!((rig.drained.len(), rig.outstanding(0), rig.outstanding(2)), (1, 1, 1));
}

/// Seats that rest are nobody's replacement.
#[test]
fn a_closed_pool_wakes_its_seats_for_what_waits_and_ends() {
    let mut rig = resting(2, 0);
    rig.submit(F, 1, 1);
    rig.handle(Event::Closed);
    rig.run(|_| Fate::Answer);
    assert_eq!((rig.completed.len(), rig.started.len(), rig.has_ended), (1, 3, true));

    let mut rig = resting(2, 0);
    rig.handle(Event::Closed);
    assert_eq!((rig.started.len(), rig.has_ended), (2, true));
}

fn measured() -> Rig {
    let (soft_memory, hard_memory) = (Some(100), Some(200));
    Rig::serving(Settings { soft_memory, hard_memory, ..settings(1) })
}

#[test]
fn whoever_is_too_large_leaves_after_the_item_in_its_hands() {
    let mut rig = measured();
    rig.submit(F, 2, 1);
    rig.measure(0, 100);
    rig.answer(0);
    assert_eq!((rig.outstanding(0), rig.drained.len()), (1, 0), "it may have so much");
    rig.measure(0, 101);
    assert_eq!((rig.drained.len(), rig.killed.len()), (0, 0));
    rig.submit(F, 1, 1);
    rig.answer(0);
    assert_eq!((&rig.drained[..], rig.outstanding(0)), (&[WorkerId(0)][..], 0));
    rig.run(|_| Fate::Answer);
    assert_eq!((rig.completed.len(), rig.ended.len(), rig.started.len()), (3, 0, 2));
}

/// It would be replaced by one that is as large, and so on.
#[test]
fn whoever_is_too_large_before_its_first_task_is_given_it() {
    let mut rig = measured();
    rig.measure(0, 101);
    rig.pass(SECOND);
    assert_eq!((rig.drained.len(), rig.started.len()), (0, 1));
    rig.submit(F, 1, 1);
    rig.answer(0);
    assert_eq!(rig.drained, []);
    rig.measure(0, 101);
    assert_eq!(rig.drained, [WorkerId(0)], "it is idle, and has served");
}

#[test]
fn whoever_is_far_too_large_is_killed_and_its_item_lost() {
    let mut rig = measured();
    rig.submit(F, 3, 3);
    rig.answer(0);
    rig.measure(0, 200);
    assert_eq!(rig.killed, []);
    rig.measure(0, 201);
    rig.measure(0, 999);
    assert_eq!((&rig.killed[..], rig.terminated.len()), (&[WorkerId(0)][..], 0));
    rig.exit(0, Unread::Nothing);
    assert_eq!((lost(&rig.ended), rig.started[1].1), (vec![1], Duration::ZERO));
    rig.run(|_| Fate::Answer);
    assert_eq!((&rig.completed[..], rig.failed), (&[0, 2][..], None));
}

#[test]
fn whoever_is_far_too_large_from_the_start_spends_the_budget() {
    for ready in [false, true] {
        let mut rig = measured();
        rig.exit_served(0);
        // One that was ready may die once for the seat as well.
        let most = if ready { 5 } else { 4 };
        for worker in 1..=most {
            assert_eq!(rig.failed, None, "worker {worker}");
            rig.greet(worker, &[F]);
            if ready {
                rig.ready(worker);
            }
            rig.measure(worker, 201);
            rig.exit(worker, Unread::Nothing);
            rig.pass(SECOND * 2);
        }
        assert_eq!((rig.killed.len() as u64, rig.failed), (most, Some(WorkerId(most))));
    }
}

/// Nothing is known of it yet, and it may be another program altogether.
#[test]
fn nobody_is_measured_before_it_has_introduced_itself() {
    let mut rig = Rig::new(Settings { hard_memory: Some(200), ..settings(1) });
    rig.measure(0, 999);
    rig.prepare();
    rig.submit(F, 1, 1);
    assert_eq!((rig.killed.len(), rig.outstanding(0)), (0, 1));
}
