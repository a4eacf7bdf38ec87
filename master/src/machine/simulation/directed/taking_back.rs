//! A new command for the workers that is not used: what counts against it, what it costs, and the
//! way back.

use std::time::Duration;

use super::{
    super::super::{core::PROOF_PATIENCE, *},
    F, G, lost,
    replacing::{finish, generations, replacing, serving, strict, trying},
    rig::{Fate, Rig, settings, with},
};

const SECOND: Duration = Duration::from_secs(1);

/// The next candidate would hang as well.
#[test]
fn a_command_that_hangs_on_trial_is_taken_back() {
    let settings = Settings { task_timeout: Some(SECOND), ..strict(1) };
    let mut rig = Rig::serving(settings);
    rig.submit(F, 1, 1);
    rig.answer_all();
    rig.replace(1);
    rig.prepare();
    rig.submit(F, 2, 1);
    rig.answer(0);
    rig.pass(SECOND);
    assert_eq!((&rig.flaws[..], &rig.rolled_out[..]), (&[Flaw::Hangs][..], &[0][..]));
    assert_eq!((rig.ended.len(), rig.failed), (1, None));
    rig.exit(1, Unread::Nothing);
    rig.submit(F, 1, 1);
    rig.answer(0);
    assert_eq!((rig.completed.len(), rig.started.len()), (3, 2));
}

/// Ways in which the first worker of a new command shows that it cannot be used.
fn flawed(rig: &mut Rig, way: &str, new: u64) -> Flaw {
    let worker = WorkerId(new);
    match way {
        "cannot be run" => rig.not_started(new, StartFault::Permanent),
        "exits before its hello" => rig.exit(new, Unread::Nothing),
        "exits before it is ready" => {
            rig.greet(new, &[F]);
            rig.exit(new, Unread::Nothing);
        }
        "exits before it is given anything" => {
            rig.greet(new, &[F]);
            rig.ready(new);
            rig.exit(new, Unread::Nothing);
        }
        "is unfit" => {
            rig.greet(new, &[F]);
            rig.handle(Event::Unfit { worker });
            rig.exit(new, Unread::Nothing);
        }
        "misbehaves" => {
            rig.handle(Event::Misbehaved { worker });
            rig.exit(new, Unread::Nothing);
        }
        "does not say hello" => {
            rig.pass(SECOND * 10);
            rig.exit(new, Unread::Nothing);
        }
        "is not ready in time" => {
            rig.greet(new, &[F]);
            rig.pass(SECOND * 60);
            rig.exit(new, Unread::Nothing);
        }
        "lacks what was used" => {
            rig.greet(new, &[G]);
            rig.exit(new, Unread::Nothing);
            return Flaw::Lacks(F);
        }
        other => panic!("{other}"),
    }
    Flaw::Died
}

const WAYS: [&str; 9] = [
    "cannot be run",
    "exits before its hello",
    "exits before it is ready",
    "exits before it is given anything",
    "is unfit",
    "misbehaves",
    "does not say hello",
    "is not ready in time",
    "lacks what was used",
];

#[test]
fn a_command_that_cannot_be_used_changes_nothing_and_costs_nothing() {
    for slots in [1, 3] {
        for way in WAYS {
            let mut rig = replacing(slots);
            let flaw = flawed(&mut rig, way, slots as u64);
            let said = format!("it {way}, {slots} slots");
            assert_eq!((&rig.flaws[..], &rig.rolled_out[..]), (&[flaw][..], &[0][..]), "{said}");
            rig.pass(SECOND);
            assert_eq!((rig.started.len(), rig.drained.len()), (slots + 1, 0), "{said}");
            assert_eq!((generations(&rig), serving(&rig)), (vec![0; slots], slots), "{said}");
            rig.submit(F, 10, 1);
            finish(&mut rig);
            let done = (rig.completed.len(), rig.ended.len(), rig.failed);
            assert_eq!(done, (slots + 10, 0, None), "{said}");
        }
    }
}

/// Those who were replaced already are replaced again. One that is ready has its seat at once, so
/// that there is one way less.
#[test]
fn a_command_that_fails_in_the_middle_is_taken_back_everywhere() {
    for way in WAYS.into_iter().filter(|&way| way != "exits before it is given anything") {
        let mut rig = trying(3);
        rig.pass(PROOF_PATIENCE);
        rig.exit(0, Unread::Nothing);
        rig.prepare();
        rig.exit(1, Unread::Nothing);
        let new = rig.started.last().unwrap().0.0;
        assert_eq!((new, rig.generation(new), &rig.rolled_out[..]), (5, 1, &[][..]), "it {way}");
        let flaw = flawed(&mut rig, way, new);
        assert_eq!((&rig.flaws[..], &rig.rolled_out[..]), (&[flaw][..], &[][..]), "it {way}");
        rig.submit(F, 10, 1);
        finish(&mut rig);
        assert_eq!((&rig.rolled_out[..], rig.flaws.len()), (&[0][..], 1), "it {way}");
        assert_eq!((generations(&rig), rig.failed), (vec![0; 3], None), "it {way}");
        assert_eq!((rig.completed.len(), rig.ended.len(), rig.most_live), (13, 0, 4), "it {way}");
    }
}

#[test]
fn a_death_on_trial_costs_the_item_in_hand_and_no_other() {
    for chunk_size in [1, 4] {
        let mut rig = trying(1);
        rig.submit(F, 20, chunk_size);
        let in_hand = rig.sent_to(1)[0].0;
        rig.exit(1, Unread::Nothing);
        assert_eq!((&rig.flaws[..], &rig.rolled_out[..]), (&[Flaw::Died][..], &[0][..]));
        finish(&mut rig);
        assert_eq!((lost(&rig.ended), rig.ended.len()), (vec![in_hand], 1));
        assert_eq!((rig.completed.len(), rig.started.len(), rig.failed), (20, 2, None));
    }
}

/// The first were seated, so that those are deaths like any other.
#[test]
fn a_death_after_the_trial_is_no_reason_to_go_back() {
    let mut rig = trying(2);
    rig.pass(PROOF_PATIENCE);
    rig.exit(0, Unread::Nothing);
    rig.submit(F, 4, 1);
    rig.exit(2, Unread::Nothing);
    finish(&mut rig);
    assert_eq!((rig.flaws.len(), &rig.rolled_out[..], lost(&rig.ended).len()), (0, &[1][..], 1));
    assert_eq!((generations(&rig), rig.completed.len(), rig.failed), (vec![1; 2], 5, None));
}

fn verdicts(rig: &mut Rig, worker: u64, verdicts: &[Verdict]) {
    for &verdict in verdicts {
        rig.submit(F, 1, 1);
        if rig.outstanding(worker) == 0 {
            // The other one was first in turn.
            rig.submit(F, 1, 1);
        }
        rig.answer_with(worker, verdict);
    }
}

#[test]
fn a_command_that_fails_in_each_of_its_first_items_is_taken_back() {
    use Verdict::{Completed, Failed};
    let cases: [(&[Verdict], bool); 5] = [
        (&[Failed, Failed, Failed], true),
        (&[Failed], true),
        (&[Completed, Failed, Failed], false),
        (&[Failed, Failed, Completed], false),
        (&[Completed], false),
    ];
    for (case, flawed) in cases {
        let mut rig = trying(1);
        verdicts(&mut rig, 1, case);
        rig.pass(PROOF_PATIENCE);
        let flaws: &[Flaw] = if flawed { &[Flaw::Fails] } else { &[] };
        let generation = Generation::from(!flawed);
        assert_eq!((&rig.flaws[..], &rig.rolled_out[..]), (flaws, &[generation][..]), "{case:?}");
        finish(&mut rig);
        assert_eq!((generations(&rig), rig.ended.len()), (vec![generation], 0), "{case:?}");
    }
}

#[test]
fn a_command_may_fail_where_the_one_before_did() {
    let mut rig = Rig::serving(strict(1));
    rig.submit(F, 1, 1);
    rig.answer_with(0, Verdict::Failed);
    rig.replace(1);
    rig.prepare();
    verdicts(&mut rig, 1, &[Verdict::Failed; 3]);
    assert_eq!((&rig.rolled_out[..], rig.flaws.len()), (&[1][..], 0));
}

#[test]
fn a_command_may_lack_what_nobody_has_asked_for() {
    let mut rig = Rig::new(strict(1));
    rig.greet(0, &[F, G]);
    rig.ready(0);
    rig.submit(F, 1, 1);
    rig.answer(0);
    rig.replace(1);
    rig.greet(1, &[F]);
    rig.ready(1);
    rig.pass(PROOF_PATIENCE);
    assert_eq!((&rig.rolled_out[..], rig.flaws.len()), (&[1][..], 0));
    rig.exit(0, Unread::Nothing);
    rig.submit(G, 1, 1);
    assert_eq!(rig.ended, [(0, Ending::Cancelled(Cancellation::UnknownFunction))]);
}

#[test]
fn a_command_must_not_lack_what_is_waited_for() {
    let mut rig = Rig::new(strict(1));
    rig.greet(0, &[F, G]);
    rig.ready(0);
    rig.submit(F, 1, 1);
    rig.submit(G, 1, 1);
    rig.replace(1);
    rig.greet(1, &[F]);
    assert_eq!((&rig.flaws[..], &rig.terminated[..]), (&[Flaw::Lacks(G)][..], &[WorkerId(1)][..]));
    finish(&mut rig);
    assert_eq!((rig.completed.len(), rig.ended.len(), rig.failed), (2, 0, None));
}

/// It was not in use when the new one introduced itself.
#[test]
fn a_command_must_not_lack_what_has_come_into_use_during_its_trial() {
    let mut rig = Rig::new(strict(1));
    rig.greet(0, &[F, G]);
    rig.ready(0);
    rig.replace(1);
    rig.greet(1, &[F]);
    rig.ready(1);
    rig.submit(G, 3, 1);
    rig.pass(PROOF_PATIENCE);
    assert_eq!((&rig.flaws[..], &rig.drained[..]), (&[Flaw::Lacks(G)][..], &[WorkerId(1)][..]));
    finish(&mut rig);
    assert_eq!((rig.completed.len(), rig.ended.len()), (3, 0));
}

/// All of the old ones are gone by then, and what they announced is what counts again.
#[test]
fn a_command_that_is_taken_back_knows_what_it_knew() {
    let mut rig = Rig::new(settings(2));
    for worker in [0, 1] {
        rig.greet(worker, &[F, G]);
        rig.ready(worker);
    }
    rig.replace(1);
    rig.greet(2, &[F]);
    rig.ready(2);
    rig.pass(PROOF_PATIENCE);
    rig.exit(0, Unread::Nothing);
    assert_eq!((rig.started.len(), rig.generation(3)), (4, 1));
    rig.exit(1, Unread::Nothing);
    rig.exit(3, Unread::Nothing);
    assert_eq!(rig.flaws, [Flaw::Died]);
    rig.submit(G, 2, 1);
    assert_eq!(rig.ended, []);
    rig.repertoires.insert(0, with(&[F, G]));
    rig.run_on(|_| Fate::Answer);
    assert_eq!((rig.completed.len(), rig.ended.len(), generations(&rig)), (2, 0, vec![0, 0]));
}

/// It is the old command that fails then, so that it counts.
#[test]
fn a_start_that_fails_on_the_way_back_counts_and_is_tried_again() {
    let mut rig = Rig::serving(settings(2));
    rig.replace(1);
    rig.prepare();
    rig.pass(PROOF_PATIENCE);
    rig.exit(0, Unread::Nothing);
    rig.not_started(3, StartFault::Passing);
    for worker in 4..7 {
        assert_eq!((rig.generation(worker), rig.flaws.len(), rig.failed), (0, 1, None));
        rig.exit(worker, Unread::Nothing);
        assert_eq!(rig.started.len() as u64, worker + 1, "it waits before it tries again");
        rig.pass(SECOND);
    }
    assert_eq!(rig.started.len(), 8);
    rig.prepare();
    rig.run(|_| Fate::Answer);
    assert_eq!((generations(&rig), &rig.rolled_out[..], rig.failed), (vec![0; 2], &[0][..], None));
}

/// It may have been started before the new one was proven, and have come only after.
#[test]
fn a_command_that_is_taken_back_knows_what_it_said_last() {
    let mut rig = Rig::new(settings(2));
    rig.greet(0, &[F]);
    rig.ready(0);
    rig.replace(1);
    rig.greet(2, &[F]);
    rig.ready(2);
    rig.pass(PROOF_PATIENCE);
    rig.greet(1, &[F, G]);
    rig.ready(1);
    rig.exit(0, Unread::Nothing);
    rig.not_started(3, StartFault::Passing);
    assert_eq!((&rig.flaws[..], rig.generation(4)), (&[Flaw::Died][..], 0));
    rig.exit(1, Unread::Nothing);
    rig.submit(G, 1, 1);
    assert_eq!(rig.ended, []);
    rig.repertoires.insert(0, with(&[F, G]));
    rig.run_on(|_| Fate::Answer);
    assert_eq!((rig.completed.len(), rig.ended.len(), generations(&rig)), (1, 0, vec![0, 0]));
}

/// Whoever was to bring the old command back would be left without a seat.
#[test]
fn a_replacement_on_the_way_back_leaves_nobody_without_a_seat() {
    let mut rig = trying(2);
    rig.pass(PROOF_PATIENCE);
    rig.exit(0, Unread::Nothing);
    rig.exit(3, Unread::Nothing);
    assert_eq!((&rig.flaws[..], rig.generation(4)), (&[Flaw::Died][..], 0));
    rig.greet(4, &[F]);
    rig.replace(2);
    assert_eq!((&rig.terminated[..], &rig.rolled_out[..]), (&[WorkerId(4)][..], &[0][..]));
    finish(&mut rig);
    assert_eq!((generations(&rig), &rig.rolled_out[..]), (vec![2; 2], &[0, 2][..]));
}
