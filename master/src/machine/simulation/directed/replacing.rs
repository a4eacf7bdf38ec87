//! Another command for the workers, while the pool runs.

use std::{num::NonZeroU64, time::Duration};

use super::{
    super::super::{
        core::{PROOF_ITEMS, PROOF_PATIENCE},
        *,
    },
    F, G, MILLISECOND, MakeEvent, lost,
    rig::{Fate, Rig, settings},
};

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);

/// A pool in which any failed start is one too many.
pub(super) fn strict(slots: usize) -> Settings {
    Settings { failed_start_intensity: 0, ..settings(slots) }
}

/// A pool whose workers have each completed an item, and of whose new command one worker was
/// started, which is as old as the number of slots.
pub(super) fn replacing(slots: usize) -> Rig {
    let mut rig = Rig::serving(strict(slots));
    rig.submit(F, slots, 1);
    rig.answer_all();
    rig.pass(SECOND);
    rig.replace(1);
    assert_eq!((rig.started.len(), rig.generation(slots as u64)), (slots + 1, 1));
    rig
}

/// The same, and the one of the new command is idle at its trial.
pub(super) fn trying(slots: usize) -> Rig {
    let mut rig = replacing(slots);
    rig.prepare();
    assert_eq!((rig.drained.len(), rig.rolled_out.len()), (0, 0));
    rig
}

/// One by one, whoever leaves does so and whoever comes is ready, until nothing else is to be done.
pub(super) fn finish(rig: &mut Rig) {
    rig.run_on(|_| Fate::Answer);
}

/// Of all who have not left.
pub(super) fn generations(rig: &Rig) -> Vec<Generation> {
    rig.machine.views().map(|view| rig.generation(view.id.0)).collect()
}

pub(super) fn serving(rig: &Rig) -> usize {
    let serves = |view: &WorkerView| matches!(view.state, StateView::Idle | StateView::Busy { .. });
    rig.machine.views().filter(serves).count()
}

#[test]
fn workers_are_replaced_one_at_a_time_and_the_pool_always_serves() {
    for slots in 1..5 {
        let mut rig = replacing(slots);
        for replaced in 0..slots {
            assert_eq!((rig.started.len(), rig.drained.len()), (slots + replaced + 1, replaced));
            assert_eq!(serving(&rig), slots, "those who are there wait for the new one");
            let new = (slots + replaced) as u64;
            rig.greet(new, &[F]);
            rig.ready(new);
            rig.pass(PROOF_PATIENCE);
            assert_eq!((rig.drained.len(), serving(&rig)), (replaced + 1, slots));
            assert_eq!(rig.seat(new), rig.seat(rig.drained[replaced].0));
            assert_eq!(rig.rolled_out.len(), usize::from(replaced + 1 == slots));
            rig.pass(SECOND);
            assert_eq!(rig.started.len(), slots + replaced + 1, "none before that one has left");
            rig.exit(rig.drained[replaced].0, Unread::Nothing);
        }
        assert_eq!((&rig.rolled_out[..], rig.flaws.len()), (&[1][..], 0));
        assert_eq!(generations(&rig), vec![1; slots]);
        assert_eq!((rig.most_live, rig.machine.deadline()), (slots + 1, None));
    }
}

#[test]
fn the_first_one_proves_itself_on_a_few_items() {
    let mut rig = trying(1);
    rig.submit(F, 2, 1);
    rig.pass(MILLISECOND);
    rig.submit(F, 18, 1);
    for _ in 0..PROOF_ITEMS {
        assert_eq!((rig.rolled_out.len(), serving(&rig)), (0, 2));
        rig.pass(MILLISECOND);
        rig.answer(1);
    }
    assert_eq!((&rig.rolled_out[..], rig.drained.len()), (&[1][..], 0));
    rig.answer(0);
    assert_eq!((&rig.drained[..], rig.outstanding(0)), (&[WorkerId(0)][..], 0));
}

#[test]
fn the_first_one_is_proven_if_there_is_nothing_to_try_it_on() {
    let mut rig = trying(2);
    rig.pass(PROOF_PATIENCE - MICROSECOND);
    assert_eq!(rig.drained, []);
    rig.pass(MICROSECOND);
    assert_eq!(rig.drained, [WorkerId(0)]);
    rig.run(|_| Fate::Answer);
    assert_eq!(rig.rolled_out, [1], "the others need not be");
}

/// Its patience counts from its last item.
#[test]
fn the_first_one_is_not_proven_while_it_is_at_an_item() {
    let mut rig = trying(1);
    rig.submit(F, 2, 1);
    rig.pass(PROOF_PATIENCE * 3);
    assert!(rig.rolled_out.is_empty());
    rig.answer(1);
    rig.pass(PROOF_PATIENCE - MICROSECOND);
    assert!(rig.rolled_out.is_empty());
    rig.pass(MICROSECOND);
    assert_eq!(rig.rolled_out, [1]);
}

#[test]
fn an_old_one_gets_nothing_more_once_all_are_replaced() {
    let mut rig = Rig::serving(strict(2));
    rig.submit(F, 6, 3);
    rig.replace(1);
    rig.prepare();
    rig.submit(F, 40, 1);
    for _ in 0..PROOF_ITEMS {
        rig.answer(2);
    }
    assert!(rig.rolled_out.is_empty(), "the first is there, and the second waits for room");
    for _ in 0..3 {
        rig.answer(0);
    }
    assert_eq!((&rig.drained[..], rig.sent_to(0).len()), (&[WorkerId(0)][..], 1));
    rig.exit(0, Unread::Nothing);
    rig.prepare();
    assert_eq!(rig.rolled_out, [1]);
    let sent = rig.sent_to(1).len();
    for _ in 0..3 {
        rig.answer(1);
    }
    assert_eq!((rig.sent_to(1).len(), &rig.drained[..]), (sent, &[WorkerId(0), WorkerId(1)][..]));
}

#[test]
fn no_item_is_lost_in_a_replacement_under_load() {
    for (slots, chunk_size) in [(1, 1), (1, 9), (2, 1), (4, 1), (4, 9)] {
        for limit in [None, NonZeroU64::new(1), NonZeroU64::new(5)] {
            let mut rig = Rig::serving(Settings { max_tasks_per_child: limit, ..strict(slots) });
            rig.submit(F, 200, chunk_size);
            rig.replace(1);
            finish(&mut rig);
            rig.completed.sort_unstable();
            let said = format!("{slots} slots, chunks of {chunk_size}, limit {limit:?}");
            assert_eq!(rig.completed, (0..200).collect::<Vec<_>>(), "{said}");
            assert_eq!(rig.ended, [], "{said}");
            assert_eq!((&rig.rolled_out[..], rig.flaws.len()), (&[1][..], 0), "{said}");
            assert_eq!((generations(&rig), rig.failed), (vec![1; slots], None), "{said}");
            assert!(rig.most_live <= slots + 1, "{said}");
        }
    }
}

/// What waits for a function of the old command is not touched by one that lacks it.
#[test]
fn an_old_worker_that_comes_late_does_not_speak_for_the_new_command() {
    let mut rig = Rig::new(strict(2));
    rig.greet(0, &[F]);
    rig.ready(0);
    rig.replace(1);
    rig.greet(2, &[F]);
    rig.ready(2);
    rig.pass(PROOF_PATIENCE);
    assert_eq!(rig.drained, [WorkerId(0)]);
    rig.greet(1, &[F, G]);
    rig.ready(1);
    rig.exit(0, Unread::Nothing);
    rig.greet(3, &[F]);
    rig.ready(3);
    assert_eq!(
        (&rig.rolled_out[..], &rig.drained[..]),
        (&[1][..], &[WorkerId(0), WorkerId(1)][..])
    );
    rig.exit(1, Unread::Nothing);
    rig.submit(G, 1, 1);
    assert_eq!(rig.ended, [(0, Ending::Cancelled(Cancellation::UnknownFunction))]);
}

#[test]
fn a_second_replacement_gives_up_the_first() {
    for ready in [false, true] {
        let mut rig = replacing(2);
        if ready {
            rig.prepare();
            rig.pass(PROOF_PATIENCE);
        }
        rig.replace(2);
        assert_eq!((&rig.flaws[..], &rig.rolled_out[..]), (&[Flaw::GivenUp][..], &[0][..]));
        rig.submit(F, 10, 1);
        finish(&mut rig);
        assert_eq!((&rig.rolled_out[..], rig.flaws.len()), (&[0, 2][..], 1));
        assert_eq!((generations(&rig), rig.completed.len()), (vec![2; 2], 12));
        assert_eq!((rig.ended.len(), rig.most_live), (0, 3));
    }
}

#[test]
fn a_pool_that_ends_gives_its_replacement_up() {
    let cases: [MakeEvent; 4] =
        [|| Event::Closed, || Event::Interrupted, || Event::Terminated, || Event::Killed];
    for event in cases {
        for ready in [false, true] {
            let mut rig = replacing(2);
            if ready {
                rig.prepare();
            }
            rig.submit(F, 6, 1);
            rig.handle(event());
            let said = format!("{:?}, ready: {ready}", event());
            assert_eq!((&rig.flaws[..], &rig.rolled_out[..]), (&[Flaw::GivenUp][..], &[0][..]));
            rig.run_on(|_| Fate::Answer);
            assert_eq!((rig.started.len(), rig.failed, rig.has_ended), (3, None, true), "{said}");
            assert_eq!(rig.completed.len() + rig.ended.len(), 8, "{said}");
            assert!(lost(&rig.ended).is_empty(), "{said}");
        }
    }
}

#[test]
fn a_closed_pool_is_not_replaced() {
    let mut rig = Rig::serving(settings(1));
    rig.submit(F, 1, 1);
    rig.handle(Event::Closed);
    rig.replace(1);
    assert_eq!((rig.started.len(), &rig.flaws[..]), (1, &[Flaw::GivenUp][..]));
    rig.run(|_| Fate::Answer);
    assert_eq!((&rig.rolled_out[..], rig.has_ended), (&[0][..], true));
}

#[test]
fn crashes_of_old_workers_do_not_stand_in_the_way() {
    let mut rig = Rig::serving(strict(3));
    rig.submit(F, 60, 1);
    rig.replace(1);
    rig.exit(0, Unread::Nothing);
    rig.exit(1, Unread::Nothing);
    assert!(rig.started.len() > 4, "they are replaced as ever");
    rig.prepare();
    rig.exit(2, Unread::Nothing);
    finish(&mut rig);
    assert_eq!((rig.completed.len(), lost(&rig.ended).len()), (57, 3));
    assert_eq!((&rig.rolled_out[..], rig.flaws.len(), rig.failed), (&[1][..], 0, None));
    assert_eq!((generations(&rig), rig.most_live), (vec![1; 3], 4));
}

#[test]
fn a_seat_that_is_taken_away_takes_the_one_that_was_to_sit_there_along() {
    let mut rig = trying(3);
    rig.pass(PROOF_PATIENCE);
    rig.exit(0, Unread::Nothing);
    assert_eq!((rig.seat(4), rig.generation(4)), (1, 1));
    rig.resize(1);
    assert_eq!((&rig.terminated[..], &rig.rolled_out[..]), (&[WorkerId(4)][..], &[1][..]));
    finish(&mut rig);
    assert_eq!((generations(&rig), rig.flaws.len(), rig.failed), (vec![1], 0, None));
}

#[test]
fn a_pool_that_grows_in_a_replacement_ends_up_with_the_new_command_alone() {
    let mut rig = replacing(1);
    rig.resize(3);
    finish(&mut rig);
    assert_eq!((generations(&rig), &rig.rolled_out[..]), (vec![1; 3], &[1][..]));
}

/// Seats that rest are not woken for it, apart from the one in which it is tried.
#[test]
fn an_idle_pool_is_replaced_too() {
    let idle_timeout = Some(SECOND);
    let mut rig = Rig::serving(Settings { idle_timeout, minimum: 0, ..strict(3) });
    rig.pass(SECOND);
    rig.run(|_| Fate::Answer);
    rig.replace(1);
    assert_eq!((rig.started.len(), rig.generation(3)), (4, 1));
    rig.prepare();
    rig.pass(PROOF_PATIENCE);
    assert_eq!((&rig.rolled_out[..], rig.started.len()), (&[1][..], 4));
    rig.submit(F, 3, 1);
    finish(&mut rig);
    assert_eq!((rig.completed.len(), rig.generation(4), rig.generation(5)), (3, 1, 1));
}
