//! Answers to what was not asked: each is counted, and none is delivered.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test reports by panicking")]

mod support;

use integration_tests::{check_all, library::watched};
use master::{Encoded, Error, Pool, PoolBuilder};
use serde_json::{Value, json};
use support::misbehaving;

/// What the modes answer with: true, encoded.
const ANSWER: [u8; 1] = [0xc3];

fn misbehaving_pool(mode: &str) -> PoolBuilder {
    Pool::builder().worker(misbehaving(&[mode])).processes(1)
}

/// Which item of five is the bad one.
const BAD: u8 = 2;

/// A mode, whether the bad item is answered before the mode strikes, and the least and the most
/// answers that are refused: one that left the bad item out is out of step from then on, until it
/// is killed.
const CASES: &[(&str, bool, u64, u64)] = &[
    ("well-behaved", false, 0, 0),
    ("replies-twice", true, 1, 1),
    ("replies-with-unknown-id", false, 1, 3),
    ("replies-with-old-id", false, 1, 3),
    ("replies-out-of-order", false, 1, 3),
    ("crash-in-call", false, 0, 0),
];

#[test]
fn answers_to_nothing_that_is_open_are_counted_and_never_delivered() {
    watched(|| {
        check_all(CASES, |&(mode, answered, least, most)| {
            for chunk_size in [1, 5] {
                let pool = misbehaving_pool(mode).build().unwrap();
                let items = (0..5).map(|n| if n == BAD { json!("bad") } else { json!(n) });
                let items: Vec<Value> = items.collect();
                let result = pool.map_async::<_, Encoded>("echo", items, Some(chunk_size)).unwrap();
                let mut lost = Vec::new();
                for (n, outcome) in (0..).zip(result.outcomes()) {
                    match outcome {
                        Ok(Encoded(value)) if n == BAD && answered => assert_eq!(value, ANSWER),
                        Ok(Encoded(value)) if n == BAD => assert_eq!(value, b"\xa3bad", "{mode}"),
                        Ok(Encoded(value)) => assert_eq!(value, [n], "{mode}"),
                        Err(Error::Lost(_)) => lost.push(n),
                        Err(error) => panic!("{mode}: {error}"),
                    }
                }
                // What it may have begun behind its last proper answer, and no other.
                match (mode, answered) {
                    ("well-behaved", _) => assert!(lost.is_empty(), "{lost:?}"),
                    (_, true) => assert!(matches!(lost[..], [] | [3]), "{mode}: {lost:?}"),
                    (_, false) => assert_eq!(lost, [BAD], "{mode}"),
                }
                pool.close();
                pool.join().unwrap();
                let counters = pool.status().unwrap().counters;
                assert!((least..=most).contains(&counters.refused), "{mode}: {counters:?}");
                assert_eq!(counters.lost, lost.len() as u64, "{mode}: {counters:?}");
                assert_eq!(counters.completed + counters.lost, 5, "{mode}: {counters:?}");
            }
        });
    });
}

/// Such a worker has not served, so that a pool of them cannot work.
#[test]
fn answers_before_any_call_are_counted_and_never_delivered() {
    watched(|| {
        let pool = misbehaving_pool("replies-before-any-call").build().unwrap();
        let outcomes = pool.map_async::<_, Encoded>("echo", 0..20, Some(1)).unwrap().outcomes();
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(Encoded(value)) => assert_eq!(value, [n]),
                Err(Error::Lost(report)) => {
                    assert!(report.to_string().contains("broke the protocol"), "{report}");
                }
                Err(error) => assert!(matches!(error, Error::PoolFailed(_)), "{error}"),
            }
        }
        pool.terminate();
        pool.join().unwrap();
        let counters = pool.status().unwrap().counters;
        assert!((1..=counters.started).contains(&counters.refused), "{counters:?}");
    });
}

#[test]
fn answers_after_the_end_are_counted_and_never_delivered() {
    watched(|| {
        let pool = misbehaving_pool("answers-after-end").max_tasks_per_child(1).build().unwrap();
        let echoes: Vec<u64> = pool.map_chunked("echo", 0..5, 1).unwrap();
        assert_eq!(echoes, [0, 1, 2, 3, 4]);
        pool.close();
        pool.join().unwrap();
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.completed, counters.refused), (5, 5), "{counters:?}");
    });
}
