//! `imap` and `imap_unordered`: lazy maps over inputs that are endless, slow, fail or panic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use integration_tests::library::{command, pool, watched};
use master::{Cancelled, Encoded, Error, Imap, ImapOptions, Pool};

#[test]
fn results_come_in_order_or_as_they_are_there() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let squares: Result<Vec<i64>, _> = pool.imap("square", 0..1000).unwrap().collect();
        assert_eq!(squares.unwrap(), (0..1000).map(|n| n * n).collect::<Vec<i64>>());
        let unordered: Result<HashSet<i64>, _> =
            pool.imap_unordered("square", 0..1000).unwrap().collect();
        assert_eq!(unordered.unwrap(), (0..1000).map(|n| n * n).collect());

        let options = ImapOptions { unordered: true, spread: true, ..ImapOptions::default() };
        let seconds = [(0.5, "slow"), (0.0, "fast")];
        let results: Result<Vec<String>, _> =
            pool.imap_with("sleep", seconds, options).unwrap().collect();
        assert_eq!(results.unwrap(), ["fast", "slow"]);
        for chunk_size in [2, 7, 5000] {
            let options = ImapOptions { chunk_size, ..ImapOptions::default() };
            let results: Result<Vec<i64>, _> =
                pool.imap_with("square", 0..100, options).unwrap().collect();
            assert_eq!(results.unwrap().len(), 100, "{chunk_size}");
        }
        assert_eq!(pool.imap::<i64, i64>("square", []).unwrap().count(), 0);
    });
}

#[test]
fn an_endless_input_is_taken_only_as_far_as_the_buffer_says() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let sizes = [(1, 1), (3, 1), (64, 1), (10, 4), (8, 8), (20, usize::MAX)];
        for (buffer_size, chunk_size) in sizes {
            let taken = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&taken);
            let inputs = (0_i64..).inspect(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            let options = ImapOptions { buffer_size, chunk_size, ..ImapOptions::default() };
            let mut results: Imap<i64> = pool.imap_with("square", inputs, options).unwrap();
            for number in 0..50 {
                assert_eq!(results.next().unwrap().unwrap(), number * number);
                // Given out so far, and the buffer; the one in hand may have made room already.
                let most = number as u64 + 1 + buffer_size as u64;
                let taken = taken.load(Ordering::SeqCst);
                assert!(taken <= most, "{taken} at {number} with {options:?}");
            }
        }
        assert_eq!(pool.apply::<i64>("square", (3,)).unwrap(), 9, "after half-dropped iterators");
    });
}

/// However small the results are.
#[test]
fn large_inputs_are_taken_only_as_far_as_they_may_be_on_their_way() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let inputs = (0..150).map(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            ("sh", ["-c", "cat > /dev/null; sleep 0.02"], "x".repeat(1 << 20))
        });
        let options = ImapOptions { spread: true, ..ImapOptions::default() };
        let mut ahead = 0;
        let outcomes = pool.imap_with::<_, Encoded>("exec", inputs, options).unwrap();
        for (given, outcome) in (0..).zip(outcomes) {
            outcome.unwrap();
            ahead = ahead.max(taken.load(Ordering::SeqCst) - given);
        }
        assert!(ahead < 64 + 8, "{ahead} inputs of a mebibyte were taken ahead");
    });
}

/// The first one waits for the hundredth, for which there is room as soon as the others are done.
#[test]
fn a_slow_first_item_hides_behind_those_that_follow() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let waits = format!("until [ -e '{}' ]; do sleep 0.01; done", mark.display());
        let marks = format!("touch '{}'", mark.display());
        let scripts = (0..200).map(move |number| match number {
            0 => ("sh", ["-c".to_owned(), waits.clone()]),
            100 => ("sh", ["-c".to_owned(), marks.clone()]),
            _ => ("true", ["-c".to_owned(), String::new()]),
        });
        let options = ImapOptions { spread: true, ..ImapOptions::default() };
        let outcomes = pool.imap_with::<_, Encoded>("exec", scripts, options).unwrap();
        assert_eq!(outcomes.map(Result::unwrap).count(), 200);
    });
}

/// A chunk that is never full is no reason to go on when nobody wants it any more.
#[test]
fn an_endless_chunk_ends_with_its_map() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let (dropped, told) = mpsc::channel::<()>();
        let inputs = (0_i64..).inspect(move |_| {
            let _held = &dropped;
        });
        let size = usize::MAX;
        let options = ImapOptions { chunk_size: size, buffer_size: size, ..ImapOptions::default() };
        drop(pool.imap_with::<_, i64>("square", inputs, options).unwrap());
        assert_eq!(told.recv(), Err(mpsc::RecvError), "the inputs are dropped");
    });
}

#[test]
fn a_slow_input_does_not_hold_back_results() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let (sender, receiver) = mpsc::channel();
        let mut results: Imap<i64> = pool.imap("square", receiver).unwrap();
        for number in 0..5 {
            sender.send(number).unwrap();
            assert_eq!(results.next().unwrap().unwrap(), number * number);
        }
        let waited = results.next_timeout(Duration::from_millis(50)).unwrap();
        assert!(matches!(waited, Err(Error::NotReady(_))), "{waited:?}");
        sender.send(9).unwrap();
        drop(sender);
        assert_eq!(results.next_timeout(Duration::from_secs(30)).unwrap().unwrap(), 81);
        assert!(results.next_timeout(Duration::from_secs(30)).is_none());
        assert!(results.next().is_none(), "the end is the end");
    });
}

#[test]
fn a_timeout_loses_nothing() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let mut results: Imap<String> = pool
            .imap_with(
                "sleep",
                [(0.3, "there")],
                ImapOptions { spread: true, ..Default::default() },
            )
            .unwrap();
        let mut waits = 0;
        let value = loop {
            match results.next_timeout(Duration::from_millis(20)).unwrap() {
                Err(Error::NotReady(_)) => waits += 1,
                outcome => break outcome.unwrap(),
            }
        };
        assert_eq!(value, "there");
        assert!(waits > 0);
        assert!(results.next().is_none());
    });
}

#[test]
fn a_failing_item_does_not_end_the_iteration() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let inputs = (0..20).map(|n| if n % 5 == 3 { Err("no number") } else { Ok(n) });
        let inputs = inputs.map(|input| match input {
            Ok(number) => serde_json::json!(number),
            Err(text) => serde_json::json!(text),
        });
        let outcomes: Vec<Result<i64, _>> = pool.imap("square", inputs).unwrap().collect();
        for (number, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.is_err(), number % 5 == 3, "{number}: {outcome:?}");
        }
        assert_eq!(outcomes.len(), 20);
    });
}

/// Encodes as itself, if it can.
struct Fragile(i64);

impl serde::Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            3 => Err(serde::ser::Error::custom("three is fragile")),
            5 => panic!("five is fragile"),
            number => serializer.serialize_i64(number),
        }
    }
}

#[test]
fn what_cannot_be_encoded_costs_its_place_alone() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        for chunk_size in [1, 4, 10] {
            let options = ImapOptions { chunk_size, ..ImapOptions::default() };
            let inputs = (0..8).map(Fragile);
            let outcomes: Vec<Result<i64, _>> =
                pool.imap_with("square", inputs, options).unwrap().collect();
            for (number, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Ok(square) => assert_eq!(*square, (number * number) as i64),
                    Err(error) => {
                        assert!([3, 5].contains(&number), "{number}: {error}");
                        assert!(error.to_string().contains("is fragile"), "{error}");
                    }
                }
            }
            assert_eq!(outcomes.len(), 8);
        }
    });
}

/// The thread that takes the inputs ends, also if the map goes between two of them.
#[test]
fn inputs_are_dropped_with_their_map() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let (give, taken) = mpsc::channel::<Imap<i64>>();
        let (lives, ended) = mpsc::channel::<()>();
        let (mut inputs_taken, mut map) = (0, None);
        let inputs = std::iter::from_fn(move || {
            let _ = &lives;
            inputs_taken += 1;
            match inputs_taken {
                // That results are small is known from the first one on: then many inputs are wanted.
                2 => {
                    let mut results = taken.recv().unwrap();
                    assert_eq!(results.next().unwrap().unwrap(), 4);
                    map = Some(results);
                }
                10 => {
                    drop(map.take());
                    return Some(Fragile(3));
                }
                _ => {}
            }
            Some(Fragile(2))
        });
        give.send(pool.imap("square", inputs).unwrap()).unwrap();
        let ended = ended.recv_timeout(Duration::from_secs(10));
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    });
}

#[test]
fn an_input_that_fails_or_panics_ends_after_what_came_before() {
    let check = |mut results: Imap<i64>, needle: &str| {
        for number in 0..3 {
            assert_eq!(results.next().unwrap().unwrap(), number * number);
        }
        let error = results.next().unwrap().unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
        assert!(error.to_string().contains(needle), "{error}");
        assert!(results.next().is_none());
    };
    watched(move || {
        let pool = pool(2).build().unwrap();
        for chunk_size in [1, 2, 10] {
            let options = ImapOptions { chunk_size, ..ImapOptions::default() };
            let failing = (0..9).map(|n| if n == 3 { Err("no fourth line") } else { Ok(n) });
            check(pool.try_imap_with("square", failing, options).unwrap(), "no fourth line");
            let panicking = (0..9).inspect(|&n| assert!(n != 3, "the fourth is one too many"));
            check(pool.imap_with("square", panicking, options).unwrap(), "one too many");
        }
        // Also where results come as they are there, and are slow.
        let failing = [Ok((2, 0.3)), Err("no second line")];
        let options = ImapOptions { unordered: true, spread: true, ..ImapOptions::default() };
        let mut results = pool.try_imap_with::<_, _, i64>("square", failing, options).unwrap();
        assert_eq!(results.next().unwrap().unwrap(), 4);
        assert!(matches!(results.next(), Some(Err(Error::Input(_)))));
        assert!(results.next().is_none());
        assert_eq!(pool.apply::<i64>("square", (3,)).unwrap(), 9);
    });
}

#[test]
fn sizes_of_zero_are_errors_at_the_call() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        for options in [
            ImapOptions { chunk_size: 0, ..ImapOptions::default() },
            ImapOptions { buffer_size: 0, ..ImapOptions::default() },
        ] {
            let none: [i64; 0] = [];
            let error = pool.imap_with::<_, i64>("square", none, options).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        }
    });
}

#[test]
fn closing_finishes_lazy_maps_and_takes_no_more() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let options = ImapOptions { buffer_size: 4, ..ImapOptions::default() };
        let results: Imap<i64> = pool.imap_with("square", 0..200, options).unwrap();
        pool.close();
        let error = pool.imap::<_, i64>("square", 0..3).unwrap_err();
        assert!(matches!(error, Error::NotRunning), "{error}");
        assert!(!pool.join_timeout(Duration::from_millis(50)).unwrap());
        assert_eq!(results.filter(|result| result.is_ok()).count(), 200);
        pool.join().unwrap();
    });
}

#[test]
fn terminating_answers_a_next_that_waits() {
    watched(|| {
        // In a task that never ends, and behind an input that gives nothing.
        for seconds in [vec![600], vec![]] {
            let pool = pool(1).build().unwrap();
            let (sender, receiver) = mpsc::channel::<u64>();
            for time in seconds {
                sender.send(time).unwrap();
            }
            let mut results: Imap<Encoded> = pool.imap("sleep", receiver).unwrap();
            thread::scope(|scope| {
                let waiter = scope.spawn(move || {
                    let first = results.next();
                    (first, results.count())
                });
                pool.terminate();
                let (first, more) = waiter.join().unwrap();
                let error = first.unwrap().unwrap_err();
                assert!(matches!(error, Error::Cancelled(Cancelled::Terminated)), "{error}");
                assert!(more <= 1, "{more} more outcomes");
            });
            pool.join().unwrap();
            drop(sender);
        }
    });
}

#[test]
fn an_endless_map_over_a_pool_that_cannot_work_ends() {
    watched(|| {
        let pool = Pool::builder().worker(command(&["false"])).processes(2).build().unwrap();
        let results: Imap<Encoded> = pool.imap("echo", 0..).unwrap();
        let errors: Vec<_> = results.map(|result| result.unwrap_err()).collect();
        assert!(matches!(errors.last().unwrap(), Error::PoolFailed(_)), "{:?}", errors.last());
    });
}
