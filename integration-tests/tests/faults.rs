//! What the master does about each way a worker can misbehave: it never hangs, says what happened
//! to whom, loses no more than it must, and leaves nothing behind.

use std::time::Duration;

use integration_tests::{
    Finished, check_all, master, master_with, misbehaving::SHARED_OUTPUT_VARIABLE,
};

/// No pool needs more starts than this to find out that it cannot work.
const MANY_STARTS: usize = 20;

/// Modes that never get a worker ready, and what the master says about them.
const NEVER_READY: &[(&str, &[&str])] = &[
    ("never-connects", &["connect"]),
    ("exits-at-once", &["no wish to work"]),
    ("exits-at-once 42", &["42", "no wish to work"]),
    ("prints-text", &["I am a program like any other"]),
    ("prints-text-and-stays", &["I am a program like any other"]),
    ("connects-and-stays-silent", &["hello"]),
    ("connects-and-exits", &["hello"]),
    ("wrong-token", &["token"]),
    ("no-token", &["token"]),
    ("future-version", &["999"]),
    ("garbage-hello", &["hello"]),
    ("speaks-another-protocol", &[]),
    ("half-a-hello-then-exit", &["frame"]),
    ("huge-length", &["4294967295"]),
    ("hello-over-64k", &["65536"]),
    ("ready-before-hello", &["ready", "hello"]),
    ("silent-after-welcome", &["ready"]),
    ("exits-after-welcome", &["4", "not in the mood"]),
    ("initializer-fails", &["NoLicence", "the licence has run out"]),
];

#[test]
fn a_pool_whose_workers_never_get_ready_fails_with_the_reason() {
    check_all(NEVER_READY, |&(mode, texts)| {
        let arguments = ["--processes", "2", "--start-timeout", "2s", "echo", "1", "2"];
        let finished = master_with(mode, "map", arguments).count_starts().run();
        finished.ended(3).printed("");
        finished.said(&format!("/bin/misbehaving-worker {mode}"));
        for text in texts {
            finished.said(text);
        }
        let starts = finished.starts.len();
        assert!((1..=MANY_STARTS).contains(&starts), "{mode}: {starts} starts");
    });
}

/// Whether the exit that follows is seen by then makes no difference to what is said.
#[test]
fn a_failed_initializer_reads_the_same_whether_its_worker_has_exited_or_not() {
    for mode in ["initializer-fails", "initializer-fails unseen"] {
        let finished = master_with(mode, "map", ["--processes", "1", "echo", "1"]).run();
        let line = finished.ended(3).printed("").stderr.lines().next().unwrap_or_default();
        let (_, reason) = line.split_once("`) ").unwrap_or_default();
        assert_eq!(reason, "failed in its initializer: NoLicence: the licence has run out");
    }
}

/// Modes of which a master may make one of two things: it sees in time that the worker broke the
/// protocol, or the work is done before.
#[test]
fn a_pool_whose_workers_break_rules_while_idle_ends() {
    let modes = ["hello-twice", "replies-before-any-call", "leaves-unasked", "crashes-when-ready"];
    check_all(&modes, |mode| {
        let finished =
            master_with(mode, "map", ["--processes", "1", "echo", "1"]).count_starts().run();
        match finished.status {
            0 => finished.printed("1\n"),
            1 | 3 => finished.printed(""),
            _ => finished.ended(3),
        };
        assert!(finished.starts.len() <= MANY_STARTS, "{mode}: {:?}", finished.starts);
    });
}

/// How many items go together, and whether the worker keeps the answers of good ones in a shared
/// output, rather than write each of them.
type Way = (&'static str, &'static str);

/// Alone nothing is kept.
const ALONE: Way = ("1", "off");
const TOGETHER: Way = ("5", "off");
const KEPT_TOGETHER: Way = ("5", "on");

/// One run: an item `bad` amid good ones, all in one chunk or each in its own.
fn run_with_a_bad_item(mode: &str, (chunksize, keeps): Way, options: &[&str]) -> Finished {
    let finished = master_with(mode, "map", ["--processes", "1", "--chunksize", chunksize])
        .args(options)
        .args(["echo", "1", "2", "bad", "4", "5"])
        .env(SHARED_OUTPUT_VARIABLE, keeps)
        .count_starts()
        .run();
    assert!(finished.starts.len() <= 2, "{mode}: {:?}", finished.starts);
    finished
}

/// Modes that cost the bad item, and what the master says about it.
const COST_ONE_ITEM: &[(&str, &[&str])] = &[
    ("crash-in-call", &["SIGSEGV"]),
    ("crash-in-call KILL", &["SIGKILL"]),
    ("crash-in-call TERM", &["SIGTERM"]),
    ("crash-in-call 41", &["41"]),
    ("abort", &["SIGABRT"]),
    ("exit-0-in-call", &["status 0"]),
    ("half-a-result-then-exit", &["status 0"]),
    ("replies-with-unknown-id", &["18446744073709551615"]),
    ("replies-with-old-id", &["broke the protocol"]),
    ("progress-unasked", &["broke the protocol", "progress"]),
    ("replies-out-of-order", &[]),
    ("result-without-payload", &[]),
    ("error-with-malformed-payload", &[]),
    ("malformed-envelope", &[]),
    ("closes-socket-in-call-but-lives", &[]),
];

#[test]
fn a_crash_costs_one_item_and_not_its_neighbours() {
    check_all(COST_ONE_ITEM, |&(mode, texts)| {
        for way in [ALONE, TOGETHER, KEPT_TOGETHER] {
            let finished = run_with_a_bad_item(mode, way, &[]);
            finished.ended(1).printed("1\n2\n4\n5\n").said("input 3").said("lost");
            finished.said(&finished.starts[0]);
            for text in texts {
                finished.said(text);
            }
        }
    });
}

#[test]
fn a_call_that_does_not_end_is_ended_at_its_timeout() {
    let modes = ["hang-in-call", "hang-in-call-ignoring-sigterm", "half-a-result-then-hang"];
    check_all(&modes, |mode| {
        for way in [ALONE, TOGETHER, KEPT_TOGETHER] {
            let finished = run_with_a_bad_item(mode, way, &["--timeout", "700ms"]);
            finished.ended(1).printed("1\n2\n4\n5\n").said("input 3").said("timed out");
        }
    });
}

#[test]
fn a_worker_that_never_reads_is_ended_at_the_timeout_also_under_a_large_input() {
    // More than any socket buffers, so that the master's write would block.
    let large = format!("\"{}\"\n", "x".repeat(8 << 20));
    let finished =
        master_with("never-reads", "map", ["--processes", "1", "--timeout", "500ms", "echo"])
            .stdin(large)
            .run();
    finished.ended(1).printed("").said("input 1").said("timed out");
}

#[test]
fn the_clock_of_a_task_is_an_items() {
    // Together longer than the timeout, each by itself shorter.
    let items = ["[0.4,1]", "[0.4,2]", "[0.4,3]", "[0.4,4]"];
    master(["starmap", "--processes", "1", "--chunksize", "4", "--timeout", "1s", "sleep"])
        .args(items)
        .run()
        .ended(0)
        .printed("1\n2\n3\n4\n");
}

/// Modes that answer the bad item, and then break the rules: what is answered stays answered.
#[test]
fn what_is_answered_is_done_whatever_follows() {
    let modes = ["replies-twice", "garbage-after-result", "dies-after-reply"];
    check_all(&modes, |mode| {
        for way in [TOGETHER, KEPT_TOGETHER] {
            let (chunksize, keeps) = way;
            let arguments = ["--processes", "1", "--chunksize", chunksize, "echo"];
            let program = master_with(mode, "map", arguments).args(["1", "2", "4", "5", "bad"]);
            let finished = program.env(SHARED_OUTPUT_VARIABLE, keeps).run();
            finished.ended(0).printed("1\n2\n4\n5\ntrue\n");
            what_is_answered_is_done(mode, way);
        }
    });
    what_is_answered_is_done("keeps-an-answer-twice", KEPT_TOGETHER);
    for mode in ["shares-twice", "shares-then-exits"] {
        what_is_answered_is_done(mode, KEPT_TOGETHER);
    }
}

/// With items behind it the one that the worker may have begun is lost, and no other.
fn what_is_answered_is_done(mode: &str, way: Way) {
    let finished = run_with_a_bad_item(mode, way, &[]);
    match finished.status {
        0 => finished.printed("1\n2\ntrue\n4\n5\n"),
        _ => finished.ended(1).printed("1\n2\ntrue\n5\n").said("input 4"),
    };
}

/// Modes that keep what makes no sense, and what the master says about it.
const KEEP_WRONGLY: &[(&str, &[&str])] = &[
    ("keeps-nonsense", &["broke the protocol"]),
    ("keeps-nonsense-then-exits", &["broke the protocol"]),
    ("keeps-wrong-held", &["status 5"]),
    ("keeps-wrong-held 65537", &["status 5"]),
    ("keeps-wrong-held 100", &["broke the protocol"]),
    ("keeps-old-answer", &["broke the protocol", "already answered"]),
];

#[test]
fn what_is_kept_wrongly_costs_one_item_and_nothing_comes_twice() {
    check_all(KEEP_WRONGLY, |&(mode, texts)| {
        let finished = run_with_a_bad_item(mode, KEPT_TOGETHER, &[]);
        finished.ended(1).printed("1\n2\n4\n5\n").said("input 3").said("lost");
        for text in texts {
            finished.said(text);
        }
    });
    let finished = run_with_a_bad_item("shrinks-its-shared-output", KEPT_TOGETHER, &[]);
    finished.ended(0).printed("1\n2\ntrue\n4\n5\n");
}

/// Modes that tell of a shared result that is not there.
const SHARE_WRONGLY: &[&str] = &[
    "shares-outside",
    "shares-outside 131071",
    "shares-outside 2147614720",
    "shares-outside 18446744073709551615",
    "shares-much",
    "shares-much 0",
    "shares-much 67108864",
    "shares-much 1073741825",
    "shares-unasked",
];

#[test]
fn a_shared_result_that_is_not_there_costs_its_item() {
    check_all(SHARE_WRONGLY, |mode| {
        let finished = run_with_a_bad_item(mode, KEPT_TOGETHER, &[]);
        finished.ended(1).printed("1\n2\n4\n5\n").said("input 3").said("broke the protocol");
    });
}

#[test]
fn a_value_that_is_none_costs_its_item_alone() {
    check_all(&["malformed-payload", "two-values", "shares-two-values"], |mode| {
        let finished = run_with_a_bad_item(mode, TOGETHER, &[]);
        finished.ended(1).printed("1\n2\n4\n5\n").said("input 3");
    });
}

#[test]
fn floods_and_long_lines_change_no_result() {
    check_all(&["floods-stderr", "floods-stdout", "long-line 20"], |mode| {
        let finished = run_with_a_bad_item(mode, TOGETHER, &[]);
        finished.ended(0).printed("1\n2\ntrue\n4\n5\n");
    });
}

#[test]
fn a_grandchild_that_holds_socket_and_pipes_delays_nothing() {
    // It would live for a minute; the run has to end long before.
    let arguments = ["--processes", "1", "--chunksize", "5", "echo", "1", "bad", "2"];
    master_with("grandchild-holds-socket-and-pipes", "map", arguments)
        .watchdog(Duration::from_secs(20))
        .may_leave_processes()
        .run()
        .ended(1)
        .printed("1\n2\n")
        .said("input 2")
        .said("status 8");
}

#[test]
fn workers_that_do_not_leave_are_ended() {
    master_with("ignores-drain", "map", ["--processes", "2", "echo", "1", "2"])
        .run()
        .ended(0)
        .printed("1\n2\n");
    master_with("old-token", "map", ["--processes", "1", "echo", "1", "2"])
        .run()
        .ended(0)
        .printed("1\n2\n");
}

#[test]
fn what_a_worker_says_after_its_end_changes_nothing() {
    let finished = master_with("answers-after-end", "map", ["--processes", "1", "echo", "1", "2"])
        .count_starts()
        .run();
    finished.ended(0).printed("1\n2\n");
    assert_eq!(finished.starts.len(), 1);
    // Nor where the pool goes on, with another worker in its seat.
    let arguments = ["--processes", "1", "--max-tasks-per-child", "1", "echo", "1", "2", "3"];
    master_with("answers-after-end", "map", arguments).run().ended(0).printed("1\n2\n3\n");
}

#[test]
fn many_crashes_lose_exactly_the_tasks_that_crashed() {
    let numbers: String = (0..100).map(|n| format!("{n}\n")).collect();
    let even: String = (0..100).step_by(2).map(|n| format!("{n}\n")).collect();
    for (chunksize, keeps) in [("1", "off"), ("10", "off"), ("10", "on")] {
        let arguments = ["--processes", "3", "--chunksize", chunksize, "crash_if_odd"];
        let program = master_with("well-behaved", "map", arguments).stdin(numbers.as_str());
        let finished = program.env(SHARED_OUTPUT_VARIABLE, keeps).run();
        finished.ended(1).printed(&even);
        for n in (1..100).step_by(2) {
            // Inputs are counted from 1.
            finished.said(&format!("input {}", n + 1));
        }
    }
}
