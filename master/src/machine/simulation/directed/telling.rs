//! Who is told to end the item in its hands, and what follows if it does not.

use std::time::Duration;

use super::{
    super::super::{worker::MAX_FUTILE, *},
    F, G, MILLISECOND,
    rig::{Rig, settings, with},
};

const SECOND: Duration = Duration::from_secs(1);
const FIRST: WorkerId = WorkerId(0);

fn timely(retries: u32) -> Settings {
    Settings { task_timeout: Some(SECOND), retries, ..settings(1) }
}

/// A pool of one worker, which can be told to end an item of one function, and hears of progress.
fn listening(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    let told = || [F].into_iter().collect();
    rig.greet_as(0, Repertoire { cancellable: told(), reporting: told(), ..with(&[F, G]) });
    rig.ready(0);
    rig
}

fn told_and_signalled(rig: &Rig) -> (usize, usize, usize) {
    (rig.told.len(), rig.terminated.len(), rig.killed.len())
}

#[test]
fn whoever_can_be_told_is_told_first_then_asked_and_then_killed() {
    let mut rig = listening(timely(0));
    rig.submit(F, 1, 1);
    rig.pass(SECOND);
    assert_eq!((&rig.told[..], rig.ended.len()), (&[(FIRST, CallId(0), 0)][..], 1));
    let Ending::TimedOut { worker: FIRST, limit: TimeLimit::Task, told: true, .. } = rig.ended[0].1
    else {
        panic!("{:?}", rig.ended)
    };
    rig.pass(SECOND - MILLISECOND);
    assert_eq!(told_and_signalled(&rig), (1, 0, 0), "it is not told twice");
    rig.pass(MILLISECOND);
    assert_eq!(told_and_signalled(&rig), (1, 1, 0));
    rig.pass(SECOND * 5 - MILLISECOND);
    assert_eq!(told_and_signalled(&rig), (1, 1, 0));
    rig.pass(MILLISECOND);
    assert_eq!(told_and_signalled(&rig), (1, 1, 1));
    assert_eq!((rig.ended.len(), rig.started.len()), (1, 2));
}

#[test]
fn the_item_that_is_told_of_is_named_by_its_place_in_the_call() {
    let mut rig = listening(timely(0));
    rig.submit(F, 1, 1);
    rig.answer(0);
    rig.submit(F, 4, 4);
    rig.answer(0);
    rig.answer(0);
    rig.pass(SECOND);
    assert_eq!(rig.told, [(FIRST, CallId(1), 2)]);
}

#[test]
fn whoever_cannot_be_told_is_stopped_at_once() {
    let mut rig = listening(timely(0));
    rig.submit(G, 1, 1);
    rig.pass(SECOND);
    assert_eq!(told_and_signalled(&rig), (0, 1, 0));
    let [(0, Ending::TimedOut { told: false, .. })] = rig.ended[..] else {
        panic!("{:?}", rig.ended)
    };

    let mut rig = listening(settings(1));
    rig.submit(G, 1, 1);
    rig.cancel(0);
    rig.pass(MAX_FUTILE);
    assert_eq!(told_and_signalled(&rig), (0, 1, 0));
}

#[test]
fn a_cancelled_item_is_told_of_if_it_is_not_soon_over() {
    let mut rig = listening(settings(1));
    rig.submit(F, 1, 1);
    rig.cancel(0);
    rig.pass(MAX_FUTILE - Duration::from_micros(1));
    assert_eq!(told_and_signalled(&rig), (0, 0, 0));
    rig.pass(Duration::from_micros(1));
    assert_eq!(told_and_signalled(&rig), (1, 0, 0));
    rig.pass(SECOND);
    assert_eq!((told_and_signalled(&rig), rig.ended.len()), ((1, 1, 0), 1));
}

#[test]
fn whoever_ends_what_it_was_told_to_goes_on_with_what_it_has() {
    let mut rig = listening(timely(0));
    rig.submit(F, 1, 1);
    rig.answer_after(0, Duration::from_micros(10));
    rig.submit(F, 2, 2);
    rig.submit(F, 1, 1);
    assert_eq!(rig.outstanding(0), 3);
    rig.pass(SECOND);
    rig.answer_after(0, SECOND - MILLISECOND);
    assert_eq!((rig.completed.len(), rig.ended.len()), (1, 1), "its answer is late");
    for _ in 0..2 {
        rig.answer_after(0, SECOND - MILLISECOND);
    }
    assert_eq!((told_and_signalled(&rig), rig.started.len()), ((1, 0, 0), 1));
    rig.submit(F, 1, 1);
    rig.answer(0);
    assert_eq!((rig.completed.len(), rig.ended.len()), (4, 1));
}

#[test]
fn each_item_that_is_over_its_time_is_told_of_anew() {
    let mut rig = listening(timely(0));
    rig.submit(F, 3, 3);
    for item in 0..3 {
        rig.pass(SECOND);
        assert_eq!(rig.told.last(), Some(&(FIRST, CallId(0), item)));
        rig.answer_after(0, SECOND / 2);
    }
    assert_eq!((told_and_signalled(&rig), rig.ended.len()), ((3, 0, 0), 3));
}

/// The next one of its window was cancelled too, and may be over by itself.
#[test]
fn an_answer_to_what_was_told_gives_the_next_cancelled_item_its_time() {
    let mut rig = listening(settings(1));
    rig.submit(F, 2, 2);
    rig.cancel(0);
    rig.pass(MAX_FUTILE);
    rig.answer_after(0, SECOND / 2);
    assert_eq!(told_and_signalled(&rig), (1, 0, 0));
    rig.pass(MAX_FUTILE);
    assert_eq!((told_and_signalled(&rig), rig.told[1].2), ((2, 0, 0), 1));
    rig.pass(SECOND);
    assert_eq!((told_and_signalled(&rig), rig.ended.len()), ((2, 1, 0), 2));
}

#[test]
fn what_was_told_to_end_is_not_told_again_when_it_is_cancelled() {
    let mut rig = listening(timely(1));
    rig.submit(F, 1, 1);
    rig.pass(SECOND);
    assert_eq!((rig.retried.len(), rig.ended.len()), (1, 0));
    rig.cancel(0);
    rig.pass(SECOND - MILLISECOND);
    assert_eq!((told_and_signalled(&rig), rig.ended.len()), ((1, 0, 0), 1));
    rig.pass(MILLISECOND);
    assert_eq!(told_and_signalled(&rig), (1, 1, 0));
    rig.exit(0, Unread::Nothing);
    assert_eq!((rig.ended.len(), rig.machine.items_waiting()), (1, 0));
}

#[test]
fn an_item_that_was_told_to_end_is_tried_again_once_it_has() {
    let mut rig = listening(timely(1));
    rig.submit(F, 1, 1);
    rig.pass(SECOND);
    rig.pass(SECOND / 2);
    assert_eq!((rig.retried.len(), rig.machine.items_waiting()), (1, 1));
    rig.answer(0);
    rig.pass(SECOND / 5);
    assert_eq!((rig.sent_to(0).len(), rig.outstanding(0)), (2, 1), "by the same worker");
    rig.answer(0);
    assert_eq!((&rig.completed[..], told_and_signalled(&rig)), (&[0][..], (1, 0, 0)));
}

fn silent(settings: Settings) -> Settings {
    Settings { silence_timeout: Some(SECOND), ..settings }
}

#[test]
fn a_sign_of_life_puts_the_end_of_patience_off() {
    let mut rig = listening(silent(settings(1)));
    rig.submit(F, 1, 1);
    for _ in 0..10 {
        rig.pass(SECOND - MILLISECOND);
        rig.progress(0);
    }
    assert_eq!((rig.ended.len(), rig.told.len()), (0, 0));
    let after = (SECOND - MILLISECOND) * 10 + SECOND;
    rig.pass(SECOND);
    let limit = TimeLimit::Silence;
    let silence = Ending::TimedOut { worker: FIRST, after, limit, told: true };
    assert_eq!((&rig.ended[..], rig.told.len()), (&[(0, silence)][..], 1));
}

#[test]
fn a_sign_of_life_does_not_put_off_the_limit_of_the_item() {
    let mut rig = listening(silent(Settings { task_timeout: Some(SECOND * 3), ..settings(1) }));
    rig.submit(F, 1, 1);
    for _ in 0..5 {
        rig.pass(SECOND / 2);
        rig.progress(0);
    }
    rig.pass(SECOND / 2);
    let (after, limit) = (SECOND * 3, TimeLimit::Task);
    let timeout = Ending::TimedOut { worker: FIRST, after, limit, told: true };
    assert_eq!(rig.ended, [(0, timeout)]);
}

#[test]
fn a_function_that_does_not_report_may_be_silent() {
    let mut rig = listening(silent(settings(1)));
    rig.submit(G, 1, 1);
    rig.pass(SECOND * 100);
    assert_eq!((rig.ended.len(), rig.machine.deadline()), (0, None));
}

/// Nor has it been silent before it was given anything.
#[test]
fn each_item_may_be_silent_for_as_long() {
    let mut rig = listening(silent(settings(1)));
    rig.pass(SECOND * 10);
    rig.submit(F, 3, 3);
    for _ in 0..3 {
        rig.answer_after(0, SECOND - MILLISECOND);
    }
    rig.pass(SECOND * 10);
    rig.submit(F, 1, 1);
    rig.answer_after(0, SECOND - MILLISECOND);
    assert_eq!((rig.completed.len(), rig.ended.len(), rig.told.len()), (4, 0, 0));
}

#[test]
fn a_sign_of_life_from_another_item_is_none() {
    let mut rig = listening(silent(settings(1)));
    rig.submit(F, 2, 2);
    rig.pass(SECOND - MILLISECOND);
    for (call, item) in [(CallId(0), 1), (CallId(1), 0), (CallId(0), 9)] {
        assert!(!rig.machine.progress(rig.now, FIRST, call, item));
    }
    assert!(!rig.machine.progress(rig.now, WorkerId(7), CallId(0), 0));
    rig.pass(MILLISECOND);
    assert_eq!((rig.ended.len(), rig.told.len()), (1, 1));
}
