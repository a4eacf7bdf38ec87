//! What workers print: it reaches people, whole and marked, and never mixes with results.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests report by panicking")]

use integration_tests::{Finished, check_all, master, master_with};

/// The one line of standard error that holds a text.
fn line_with<'a>(finished: &'a Finished, text: &str) -> &'a str {
    let mut lines = finished.stderr.lines().filter(|line| line.contains(text));
    let line = lines.next().unwrap_or_else(|| panic!("no {text:?}{}", finished.describe()));
    assert_eq!(lines.next(), None, "{text:?} comes once");
    line
}

#[test]
fn what_workers_print_goes_to_standard_error_marked_with_slot_and_pid() {
    let items = ["[\"stdout\",\"alpha\"]", "[\"stderr\",\"beta\"]"];
    let finished = master_with("well-behaved", "starmap", ["--processes", "1", "print"])
        .args(items)
        .count_starts()
        .run();
    finished.ended(0).printed("null\nnull\n");
    for text in ["alpha", "beta"] {
        let line = line_with(&finished, text);
        assert!(line.ends_with(text), "{line}");
        let mark = line.strip_suffix(text).unwrap();
        assert!(mark.contains(&finished.starts[0]), "no pid in {line}");
        assert!(mark.contains('0'), "no slot in {line}");
    }
}

#[test]
fn a_last_line_without_an_end_is_not_lost() {
    let finished = master(["map", "--worker", "talker", "--processes", "1", "square", "3"])
        .script(
            "talker",
            "printf 'before the '; printf 'end' >&2; misbehaving-worker well-behaved; printf last",
        )
        .run();
    finished.ended(0).printed("9\n").said("before the").said("end").said("last");
}

#[test]
fn lines_of_many_workers_stay_whole() {
    let texts: Vec<String> = (0..400).map(|n| format!("<{}>", n.to_string().repeat(300))).collect();
    let items = texts.iter().map(|text| format!("[\"stderr\",\"{text}\"]\n"));
    let finished = master_with("well-behaved", "starmap", ["--processes", "4", "print"])
        .stdin(items.collect::<String>())
        .run();
    finished.ended(0).printed(&"null\n".repeat(400));
    for text in &texts {
        assert!(line_with(&finished, text).ends_with(text.as_str()));
    }
}

#[test]
fn a_flood_comes_through_whole() {
    let line = "flood ".repeat(170);
    check_all(&["floods-stderr 3", "floods-stdout 3"], |mode| {
        let finished = master_with(mode, "map", ["--processes", "2", "echo", "1", "bad"]).run();
        finished.ended(0).printed("1\ntrue\n");
        let whole = finished.stderr.lines().filter(|entry| entry.ends_with(&line));
        assert_eq!(whole.count(), (3_usize << 20).div_ceil(line.len() + 1), "{mode}");
    });
}

#[test]
fn a_worker_is_not_blocked_by_a_standard_error_that_nobody_reads() {
    let mut running =
        master_with("floods-stderr 8", "map", ["--processes", "1", "echo", "1", "bad", "2"])
            .leave_stderr_unread()
            .start();
    for expected in ["1", "true", "2"] {
        assert_eq!(running.next_line(), expected);
    }
    running.finish().ended(0);
}

#[test]
fn bytes_that_are_no_text_are_passed_on_somehow() {
    master(["map", "--worker", "talker", "--processes", "1", "square", "3"])
        .script(
            "talker",
            "printf 'odd \\377\\376 bytes\\n' >&2; exec misbehaving-worker well-behaved",
        )
        .run()
        .ended(0)
        .printed("9\n")
        .said("odd ")
        .said(" bytes");
}

#[test]
fn run_passes_output_through_and_prints_results_that_are_not_null() {
    let worker = ["run", "--worker", "misbehaving-worker well-behaved"];
    let finished = master(worker)
        .args(["print", "stdout", "alpha", ":::", "print", "stderr", "beta", ":::", "square", "3"])
        .run();
    finished.ended(0);
    let mut lines: Vec<&str> = finished.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["9", "alpha"], "{}", finished.describe());
    assert_eq!(finished.stderr, "beta\n");
}

#[test]
fn run_tells_how_each_call_ended() {
    let worker = ["run", "--worker", "misbehaving-worker well-behaved"];
    let finished = master(worker)
        .args(["square", "3", ":::", "fail", "\"no\"", ":::", "kill", "11", ":::", "exit", "5"])
        .run();
    // The highest status of the four processes, as a shell counts.
    finished.ended(128 + 11).printed("9\n");
    for text in ["Refused", "SIGSEGV", "status 5"] {
        finished.said(text);
    }
}
