//! Runs that are written out, for one rule each.

mod cancelling;
mod limits;
mod replacing;
mod resizing;
mod retrying;
mod rig;
mod taking_back;
mod telling;

use std::{num::NonZeroU64, time::Duration};

use self::rig::{Fate, Rig, settings};
use super::{
    super::{worker::LOOKAHEAD, *},
    Load,
};

const F: FunctionId = FunctionId(0);
const G: FunctionId = FunctionId(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// An event, anew for each run.
type MakeEvent = fn() -> Event<Load>;

fn timed_out(worker: u64, after: Duration) -> Ending {
    Ending::TimedOut { worker: WorkerId(worker), after, limit: TimeLimit::Task, told: false }
}

fn lost(ended: &[(u64, Ending)]) -> Vec<u64> {
    let lost = ended.iter().filter(|(_, ending)| matches!(ending, Ending::Lost { .. }));
    lost.map(|&(item, _)| item).collect()
}

#[test]
fn a_crash_in_the_middle_of_a_chunk_costs_one_item() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 5, 5);
    rig.answer(0);
    rig.exit(0, Unread::Nothing);
    rig.prepare();
    assert_eq!(rig.sent_to(1), [(2, 5)]);
    rig.answer_all();
    assert_eq!(lost(&rig.ended), [1]);
    assert_eq!((rig.ended.len(), rig.completed), (1, vec![0, 2, 3, 4]));
}

#[test]
fn a_timeout_costs_one_item_and_the_rest_of_its_chunk_goes_elsewhere() {
    let limit = Duration::from_secs(1);
    let mut rig = Rig::serving(Settings { task_timeout: Some(limit), ..settings(2) });
    rig.submit(F, 5, 5);
    rig.answer(0);
    rig.pass(limit);
    assert_eq!(rig.terminated, [WorkerId(0)]);
    assert_eq!(rig.ended, [(1, timed_out(0, limit))]);
    rig.exit(0, Unread::Nothing);
    assert_eq!(rig.sent_to(1), [(2, 5)]);
    rig.answer_all();
    assert_eq!((rig.ended.len(), rig.completed), (1, vec![0, 2, 3, 4]));
}

#[test]
fn an_answer_after_the_timeout_is_late_and_the_next_item_may_have_begun() {
    let limit = Duration::from_secs(1);
    let mut rig = Rig::serving(Settings { task_timeout: Some(limit), ..settings(1) });
    rig.submit(F, 3, 3);
    rig.pass(limit);
    rig.answer(0);
    assert_eq!(rig.completed.len(), 0);
    rig.exit(0, Unread::Nothing);
    assert_eq!(lost(&rig.ended), [1]);
    rig.prepare();
    assert_eq!(rig.sent_to(1), [(2, 3)]);
}

#[test]
fn a_worker_that_ignores_the_polite_signal_is_killed() {
    let limit = Duration::from_secs(1);
    let mut rig = Rig::serving(Settings { task_timeout: Some(limit), ..settings(1) });
    rig.submit(F, 1, 1);
    rig.pass(limit);
    assert_eq!((rig.terminated.len(), rig.killed.len()), (1, 0));
    rig.pass(Duration::from_secs(5));
    assert_eq!((rig.terminated.len(), rig.killed.len()), (1, 1));
}

#[test]
fn items_that_kill_their_worker_do_not_use_up_the_budget() {
    for chunk_size in [1, 7, 50, 1000] {
        let mut rig = Rig::serving(settings(2));
        rig.submit(F, 220, chunk_size);
        rig.run(|item| if item < 200 { Fate::Crash } else { Fate::Answer });
        assert_eq!(lost(&rig.ended), (0..200).collect::<Vec<_>>(), "chunks of {chunk_size}");
        assert_eq!(rig.completed, (200..220).collect::<Vec<_>>(), "chunks of {chunk_size}");
        assert!(rig.started.len() <= 202, "{} starts", rig.started.len());
    }
}

#[test]
fn a_pool_whose_workers_never_become_ready_fails_after_a_few_starts() {
    let mut rig = Rig::new(settings(1));
    rig.submit(F, 10, 1);
    while rig.failed.is_none() {
        let last = rig.started.last().unwrap().0;
        rig.exit(last.0, Unread::Nothing);
        let next = rig.machine.deadline().unwrap_or(rig.now);
        rig.pass(next - rig.now);
    }
    let times: Vec<_> = rig.started.iter().map(|&(_, time)| time).collect();
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!((times[0], waits.len()), (Duration::ZERO, 3));
    for (wait, least) in waits.into_iter().zip([100, 200, 400]) {
        let least = MILLISECOND * least;
        assert!((least..=least * 5 / 4).contains(&wait), "{wait:?} for {least:?}");
    }
    assert_eq!(rig.failed, Some(WorkerId(3)));
    let cancelled = Ending::Cancelled(Cancellation::PoolFailed);
    assert_eq!(rig.ended, (0..10).map(|item| (item, cancelled)).collect::<Vec<_>>());
    assert!(rig.has_ended);
}

/// Somebody kills workers at random, also those that have just been started.
#[test]
fn starts_that_failed_before_one_that_serves_are_made_good() {
    let mut rig = Rig::serving(settings(1));
    for _ in 0..10 {
        rig.exit_served(rig.started.last().unwrap().0.0);
        for _ in 0..3 {
            rig.exit(rig.started.last().unwrap().0.0, Unread::Nothing);
            let next = rig.machine.deadline().unwrap();
            rig.pass(next - rig.now);
        }
        rig.prepare();
    }
    assert_eq!((rig.failed, rig.started.len()), (None, 1 + 10 * 4));
}

/// Who was started before the starts that failed says nothing about them.
#[test]
fn starts_that_fail_are_not_made_good_by_those_before() {
    let mut rig = Rig::serving(settings(2));
    rig.exit_served(0);
    for _ in 0..4 {
        assert_eq!(rig.failed, None);
        rig.submit(F, 1, 1);
        rig.answer(1);
        let last = rig.started.last().unwrap().0.0;
        rig.exit(last, Unread::Nothing);
        if let Some(next) = rig.machine.deadline() {
            rig.pass(next - rig.now);
        }
    }
    assert!(rig.failed.is_some());
}

/// Somebody kills idle workers again and again. Nothing is wrong with the pool.
#[test]
fn idle_workers_may_be_killed_for_ever_and_come_back_more_and_more_slowly() {
    let mut rig = Rig::serving(settings(2));
    for _ in 0..50 {
        let last = rig.started.last().unwrap().0;
        rig.strike(last.0);
        rig.pass(Duration::from_millis(6_250));
        rig.prepare();
    }
    assert_eq!((rig.failed, rig.started.len()), (None, 52));
    let pauses: Vec<_> = rig.started.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(pauses[40..].iter().all(|&pause| pause >= Duration::from_secs(5)), "{pauses:?}");
    // It waits for nobody once it has work.
    rig.submit(F, 1, 1);
    rig.answer_all();
    assert_eq!(rig.completed.len(), 1);
}

/// They were ready, and nobody had asked anything of them.
#[test]
fn all_idle_workers_may_be_killed_at_once_before_their_first_item() {
    for slots in [1, 4, 40] {
        let mut rig = Rig::serving(settings(slots));
        for worker in 0..slots as u64 {
            rig.exit(worker, Unread::Nothing);
        }
        rig.submit(F, 1, 1);
        // They died together, so there is one wait for all of them.
        rig.pass(MILLISECOND * 125);
        rig.answer_all();
        assert_eq!((rig.completed.len(), rig.failed), (1, None), "{slots} workers");
        assert_eq!(rig.started.len(), 2 * slots);
    }
}

/// The starts are so slow that no more than the budget fall into its period.
#[test]
fn a_pool_whose_workers_are_never_ready_in_time_fails_too() {
    let mut rig = Rig::serving(settings(1));
    rig.exit_served(0);
    rig.submit(F, 1, 1);
    for _ in 0..10 {
        let Some((worker, _)) = rig.started.last().copied().filter(|_| rig.failed.is_none()) else {
            break;
        };
        rig.greet(worker.0, &[F]);
        rig.pass(Duration::from_secs(60));
        assert_eq!(rig.killed.last(), Some(&worker));
        rig.exit(worker.0, Unread::Nothing);
        rig.pass(Duration::from_millis(6_250));
    }
    assert_eq!((rig.started.len(), rig.failed), (5, Some(WorkerId(4))));
}

#[test]
fn a_command_that_cannot_be_run_fails_the_pool_at_once() {
    let mut rig = Rig::new(settings(1));
    rig.handle(Event::NotStarted { worker: WorkerId(0), fault: StartFault::Permanent });
    assert_eq!((rig.started.len(), rig.failed), (1, Some(WorkerId(0))));
    assert!(rig.has_ended);
}

#[test]
fn an_initializer_that_fails_fails_the_pool_at_once() {
    let mut rig = Rig::new(settings(2));
    rig.greet(1, &[F]);
    rig.handle(Event::Unfit { worker: WorkerId(1) });
    assert_eq!((rig.started.len(), rig.failed), (2, Some(WorkerId(1))));
}

#[test]
fn an_unknown_function_is_cancelled_once_every_group_is_known() {
    let mut rig = Rig::new(Settings::new(vec![GroupId(0), GroupId(1)]));
    rig.submit(G, 2, 1);
    rig.greet(0, &[F]);
    rig.ready(0);
    assert_eq!(rig.ended, []);
    rig.greet(1, &[F]);
    let unknown = Ending::Cancelled(Cancellation::UnknownFunction);
    assert_eq!(rig.ended, [(0, unknown), (1, unknown)]);
    rig.submit(G, 1, 1);
    assert_eq!(rig.ended.len(), 3);
}

/// The executable was replaced by one that has less, and a worker of the old one still serves.
#[test]
fn a_function_that_some_worker_still_has_is_not_unknown() {
    let mut rig = Rig::new(settings(2));
    rig.greet(0, &[F, G]);
    rig.ready(0);
    rig.greet(1, &[F]);
    rig.ready(1);
    rig.submit(G, 3, 1);
    assert_eq!((rig.sent_to(0), rig.ended.len()), (vec![(0, 1)], 0));
    rig.exit(0, Unread::Nothing);
    let unknown = Ending::Cancelled(Cancellation::UnknownFunction);
    assert_eq!(rig.ended[1..], [(1, unknown), (2, unknown)]);
}

#[test]
fn an_idle_death_after_service_is_replaced_at_once_and_costs_nothing() {
    let mut rig = Rig::serving(settings(1));
    for worker in 0..20 {
        rig.exit_served(worker);
        assert_eq!(rig.started.last().unwrap().0, WorkerId(worker + 1));
        rig.prepare();
    }
    assert_eq!((rig.failed, rig.now), (None, Duration::ZERO));
}

#[test]
fn a_death_of_a_worker_that_was_never_given_anything_is_a_failed_start() {
    // That it was ready is held in its favour once for each seat.
    for slots in [1, 3] {
        let mut rig = Rig::serving(settings(slots));
        for _ in 0..3 + slots {
            let last = rig.started.last().unwrap().0;
            rig.exit(last.0, Unread::Nothing);
            assert_eq!(rig.failed, None);
            rig.pass(Duration::from_millis(6_250));
            rig.prepare();
        }
        let last = rig.started.last().unwrap().0;
        rig.exit(last.0, Unread::Nothing);
        assert_eq!(rig.failed, Some(last), "{slots} slots");
    }
}

#[test]
fn a_call_that_was_not_read_is_sent_again() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 1, 1);
    rig.answer(0);
    rig.submit(F, 4, 4);
    rig.exit(0, Unread::Something);
    rig.prepare();
    assert_eq!((rig.sent_to(1), rig.ended.len()), (vec![(0, 4)], 0));
    assert_eq!(rig.failed, None);
}

#[test]
fn a_call_in_hand_is_lost_though_the_next_was_not_read() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 20, 1);
    rig.answer_after(0, Duration::from_micros(10));
    assert!(rig.outstanding(0) > 1);
    rig.exit(0, Unread::Something);
    assert_eq!(lost(&rig.ended), [1]);
}

#[test]
fn the_window_is_open_for_short_items_only() {
    for (micros, calls) in
        [(10_000, 1), (600, 1), (500, 1), (400, 5), (100, 20), (10, 200), (1, 256)]
    {
        let mut rig = Rig::serving(settings(1));
        rig.submit(F, 1000, 1);
        assert_eq!(rig.outstanding(0), 1, "nothing is known of its items yet");
        rig.answer_after(0, Duration::from_micros(micros));
        assert_eq!(rig.outstanding(0), calls, "items of {micros} us");
    }
}

#[test]
fn the_idle_come_first_and_nobody_is_sent_more_behind_a_long_item() {
    let mut rig = Rig::serving(settings(2));
    rig.submit(F, 2, 1);
    rig.answer_after(0, Duration::from_micros(10));
    rig.answer_after(1, Duration::from_micros(10));
    rig.submit(F, 1, 1);
    rig.submit(F, 1, 1);
    assert_eq!((rig.outstanding(0), rig.outstanding(1)), (1, 1));
    rig.pass(LOOKAHEAD);
    rig.answer(1);
    rig.submit(F, 100, 1);
    assert_eq!(rig.outstanding(0), 1, "its item has turned out to be a long one");
    assert_eq!(rig.outstanding(1), 1, "so was that of the other");
}

/// Other arguments may take another time, so each batch begins with one item for each worker.
#[test]
fn what_was_quick_before_says_nothing_of_the_next_batch() {
    for chunk_size in [None, Some(1)] {
        let mut rig = Rig::serving(settings(2));
        rig.submit(F, 200, chunk_size);
        while rig.completed.len() < 200 {
            let worker = u64::from(rig.outstanding(0) < rig.outstanding(1));
            rig.answer_after(worker, Duration::from_micros(1));
        }
        rig.submit(F, 100, chunk_size);
        assert_eq!((rig.outstanding(0), rig.outstanding(1)), (1, 1), "{chunk_size:?}");
        rig.answer_after(0, Duration::from_millis(10));
        assert_eq!((rig.outstanding(0), rig.outstanding(1)), (1, 1), "they are long");
        // Calls for one item each are of no batch: what is known of their function counts.
        let mut rig = Rig::serving(settings(1));
        for _ in 0..10 {
            rig.submit(F, 1, chunk_size);
        }
        rig.answer_after(0, Duration::from_micros(1));
        assert_eq!(rig.outstanding(0), 9);
    }
}

#[test]
fn workers_leave_after_their_limit_and_calls_are_cut_to_it() {
    for chunk_size in [1, 10] {
        let limit = NonZeroU64::new(3);
        let mut rig = Rig::serving(Settings { max_tasks_per_child: limit, ..settings(1) });
        rig.submit(F, 10, chunk_size);
        rig.handle(Event::Closed);
        rig.run(|_| Fate::Answer);
        let given: Vec<u64> = (0..4)
            .map(|worker| rig.sent_to(worker).iter().map(|(start, end)| end - start).sum())
            .collect();
        assert_eq!((given, rig.started.len()), (vec![3, 3, 3, 1], 4));
        assert_eq!(rig.completed, (0..10).collect::<Vec<_>>());
        assert!(rig.has_ended && rig.failed.is_none());
    }
}

#[test]
fn a_chunk_is_cut_where_its_bytes_are_too_many() {
    let mut rig = Rig::serving(settings(1));
    rig.submit_sizes(F, &[1 << 20, 1 << 20, 3 << 20, 9 << 20, 1], 5);
    rig.run(|_| Fate::Answer);
    assert_eq!(rig.sent_to(0), [(0, 2), (2, 3), (3, 4), (4, 5)]);
}

#[test]
fn a_worker_for_one_call_is_not_replaced() {
    let mut rig = Rig::serving(Settings { one_call: true, ..settings(1) });
    rig.submit(F, 1, 1);
    rig.handle(Event::Closed);
    rig.answer(0);
    assert_eq!(rig.drained, [], "it was told that the call is its last");
    rig.handle(Event::Disconnected { worker: WorkerId(0) });
    rig.exit(0, Unread::Nothing);
    assert_eq!((rig.completed.len(), rig.started.len(), rig.failed), (1, 1, None));
    assert!(rig.has_ended);
}

#[test]
fn a_worker_for_one_call_that_never_comes_is_asked_to_leave() {
    let mut rig = Rig::serving(Settings { one_call: true, ..settings(1) });
    rig.handle(Event::Closed);
    assert_eq!(rig.drained, [WorkerId(0)]);
}

#[test]
fn a_worker_for_one_call_that_dies_before_it_fails() {
    let mut rig = Rig::new(Settings { one_call: true, ..settings(1) });
    rig.submit(F, 1, 1);
    rig.handle(Event::Closed);
    rig.exit(0, Unread::Nothing);
    assert_eq!(rig.failed, Some(WorkerId(0)));
    assert_eq!(rig.ended, [(0, Ending::Cancelled(Cancellation::PoolFailed))]);
}

#[test]
fn after_an_interruption_what_never_began_is_not_begun_elsewhere() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 4, 4);
    rig.submit(F, 1, 1);
    rig.handle(Event::Interrupted);
    rig.answer(0);
    rig.exit(0, Unread::Nothing);
    assert_eq!(lost(&rig.ended), [1]);
    let cancelled = (3, Ending::Cancelled(Cancellation::Interrupted));
    assert_eq!((rig.ended.len(), rig.ended.last()), (4, Some(&cancelled)));
    assert!(rig.has_ended && rig.started.len() == 1);
}

/// They were not needed any more, and a pool that has finished does not fail.
#[test]
fn starts_that_fail_when_nothing_is_left_to_do_do_not_count() {
    let mut rig = Rig::new(settings(6));
    rig.greet(0, &[F]);
    rig.ready(0);
    rig.greet(1, &[F]);
    rig.submit(F, 1, 1);
    rig.handle(Event::Closed);
    assert_eq!(rig.terminated.len(), 5);
    rig.handle(Event::Unfit { worker: WorkerId(1) });
    for worker in 1..6 {
        rig.exit(worker, Unread::Nothing);
    }
    rig.answer(0);
    rig.exit(0, Unread::Nothing);
    assert_eq!((rig.failed, rig.completed.len(), rig.has_ended), (None, 1, true));
}

/// One start that fails for good ends the pool, and the others are asked politely all the same.
#[test]
fn a_shutdown_is_polite_to_those_who_are_overdue_themselves() {
    let mut rig = Rig::new(settings(3));
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.failed, Some(WorkerId(0)));
    assert_eq!((rig.killed.len(), rig.terminated.len()), (1, 2));
    rig.pass(MILLISECOND);
    assert_eq!(rig.killed.len(), 1);
}

/// The polite signal could be what ends a worker, or makes it do more.
#[test]
fn a_kill_is_not_preceded_by_the_polite_signal() {
    let mut rig = Rig::serving(settings(2));
    rig.submit(F, 3, 1);
    rig.handle(Event::Killed);
    assert_eq!((rig.killed.len(), rig.terminated.len(), rig.ended.len()), (2, 0, 3));
    rig.handle(Event::Killed);
    assert_eq!(rig.killed.len(), 2);

    let mut rig = Rig::serving(settings(1));
    rig.handle(Event::Terminated);
    rig.handle(Event::Killed);
    assert_eq!((rig.killed.len(), rig.terminated.len()), (1, 1));
}

#[test]
fn a_breach_ends_the_worker_and_what_it_says_then_is_late() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 2, 1);
    let unknown = rig.machine.answer(rig.now, WorkerId(0), CallId(7), 0..1, Verdict::Completed);
    assert_eq!(unknown, Answer::Refused);
    rig.handle(Event::Misbehaved { worker: WorkerId(0) });
    assert_eq!(rig.killed, [WorkerId(0)]);
    assert_eq!(
        rig.machine.answer(rig.now, WorkerId(0), CallId(7), 0..1, Verdict::Completed),
        Answer::Late { items: 1 }
    );
    rig.exit(0, Unread::Nothing);
    assert_eq!(
        rig.machine.answer(rig.now, WorkerId(0), CallId(0), 0..1, Verdict::Completed),
        Answer::Refused
    );
    assert_eq!(lost(&rig.ended), [0]);
}

#[test]
fn limits_without_end_are_no_limits() {
    let endless = Duration::MAX;
    let mut rig = Rig::new(Settings {
        task_timeout: Some(endless),
        hello_timeout: endless,
        ready_timeout: endless,
        drain_timeout: endless,
        grace: endless,
        ..settings(2)
    });
    rig.pass(MILLISECOND);
    rig.prepare();
    rig.submit(F, 2, 1);
    rig.answer(0);
    rig.exit(1, Unread::Nothing);
    rig.handle(Event::Closed);
    rig.handle(Event::Terminated);
    assert_eq!((rig.completed.len(), lost(&rig.ended)), (1, vec![1]));
}
