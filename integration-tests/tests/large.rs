//! Arguments and results that are large: they pass through shared memory where both sides can, and
//! nobody sees a difference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::time::Duration;

use integration_tests::{
    library::{pool, watched},
    misbehaving::SHARED_OUTPUT_VARIABLE,
};
use master::{Arguments, Encoded, Error, Pool, PoolBuilder, Resource};
use serde_bytes::{ByteBuf, Bytes};
use support::{kill, pids, wait_until, wait_until_idle};

/// Sizes around each of the limits from which on something else is done with them.
const SIZES: [usize; 12] = [
    0,
    1,
    (16 << 10) - 6,
    (16 << 10) - 5,
    (16 << 10) - 4,
    (16 << 10) + 1,
    100_000,
    (1 << 20) + 3,
    4 << 20,
    (16 << 20) - 6,
    (16 << 20) + 1,
    40 << 20,
];

/// Bytes in which a part in the wrong place would show.
fn bytes(size: usize, seed: usize) -> Vec<u8> {
    (0..size)
        .map(|index| ((index ^ index >> 8 ^ index >> 16).wrapping_mul(7) + seed) as u8)
        .collect()
}

/// Pools whose workers share what is large, cannot map it, and do not offer to.
fn ways() -> [(&'static str, PoolBuilder); 3] {
    let limited = pool(1).resource_limit(Resource::AddressSpace, 1 << 30);
    let off = pool(1).environment(SHARED_OUTPUT_VARIABLE, "off");
    [("shared", pool(1)), ("no addresses", limited), ("not offered", off)]
}

/// A pool whose worker is ready, so that what was agreed on is in force.
fn ready(builder: PoolBuilder) -> Pool {
    let pool = builder.build().unwrap();
    wait_until_idle(&pool, 1);
    pool
}

#[test]
fn what_comes_back_is_what_was_sent_whatever_its_size() {
    watched(|| {
        for (way, builder) in ways() {
            let pool = ready(builder);
            for (seed, size) in SIZES.into_iter().enumerate() {
                let sent = bytes(size, seed);
                let argument = (Bytes::new(&sent),);
                let typed: ByteBuf = pool.apply("echo", argument).unwrap();
                assert!(typed == sent, "{way}: {size} bytes as they are");
                let encoded: Encoded = pool.apply("echo", argument).unwrap();
                assert!(
                    encoded.0 == rmp_serde::to_vec(Bytes::new(&sent)).unwrap(),
                    "{way}: {size}"
                );
                let result = pool.apply_async::<ByteBuf>("echo", argument).unwrap();
                for _ in 0..2 {
                    assert!(result.get().unwrap() == sent, "{way}: {size} bytes, asked for twice");
                }
            }
        }
    });
}

#[test]
fn all_forms_of_calls_carry_what_is_large() {
    watched(|| {
        for (way, builder) in ways() {
            let pool = ready(builder);
            let texts: Vec<String> =
                [3, 70_000, 5, 200_000, 16 << 10, 1].map(|size| "é".repeat(size)).into();
            let all: Vec<String> = pool.map("echo", &texts).unwrap();
            assert!(all == texts, "{way}: map");
            let all = pool.map_async::<_, String>("echo", &texts, Some(4)).unwrap();
            assert!(all.get().unwrap() == texts, "{way}: in one chunk");
            assert!(all.outcomes().into_iter().map(Result::unwrap).eq(texts.clone()), "{way}");
            let all: Result<Vec<String>, _> = pool.imap("echo", texts.clone()).unwrap().collect();
            assert!(all.unwrap() == texts, "{way}: imap");
            let keywords = std::collections::BTreeMap::from([("value", &texts[3])]);
            let arguments = Arguments::new(()).unwrap().keywords(keywords).unwrap();
            let one: String = pool.apply("echo", arguments).unwrap();
            assert!(one == texts[3], "{way}: keywords");
            let wrong = pool.apply::<i64>("echo", (&texts[3],)).unwrap_err();
            assert!(matches!(wrong, Error::Decode(_)), "{way}: {wrong}");
            let failed = pool.apply::<()>("square", (&texts[3],)).unwrap_err();
            assert!(matches!(failed, Error::Failed(_)), "{way}: {failed}");
        }
    });
}

/// More large items than there is room for at once, with large results that nobody takes meanwhile.
#[test]
fn many_at_once_find_their_way() {
    const ITEMS: usize = 150;
    watched(|| {
        let pool = pool(2).build().unwrap();
        wait_until_idle(&pool, 2);
        let sent: Vec<Vec<u8>> = (0..ITEMS).map(|item| bytes(100_000 + item, item)).collect();
        let results: Vec<_> = sent
            .iter()
            .map(|item| pool.apply_async::<ByteBuf>("echo", (Bytes::new(item),)).unwrap())
            .collect();
        for (item, result) in sent.iter().zip(results) {
            assert!(result.get().unwrap() == *item);
        }
    });
}

/// What a worker that died was given is still there for the next one.
#[test]
fn large_arguments_outlive_the_worker_that_had_them() {
    watched(|| {
        let pool = ready(pool(1).retries(1).retry_backoff(Duration::ZERO));
        let sent = bytes(1 << 20, 5);
        let result = pool.apply_async::<ByteBuf>("sleep", (0.2, Bytes::new(&sent))).unwrap();
        wait_until("it runs", || {
            pool.status().unwrap().workers.iter().any(|worker| worker.task.is_some())
        });
        kill(pids(&pool)[0]);
        // Others come and go meanwhile.
        let other: ByteBuf = pool.apply("echo", (Bytes::new(&bytes(1 << 20, 6)),)).unwrap();
        assert!(other == bytes(1 << 20, 6));
        assert!(result.get().unwrap() == sent);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.died, counters.retried), (1, 1), "{counters:?}");
    });
}

/// An item that is not wanted any more keeps its arguments until its worker is done with them.
#[test]
fn what_is_cancelled_is_not_overwritten() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        wait_until_idle(&pool, 2);
        for round in 0..30 {
            let sent = bytes(300_000, round);
            let doomed = pool
                .apply_async::<ByteBuf>("sleep", (0.002, Bytes::new(&bytes(300_000, round + 100))))
                .unwrap();
            doomed.cancel();
            let back: ByteBuf = pool.apply("echo", (Bytes::new(&sent),)).unwrap();
            assert!(back == sent, "round {round}");
        }
    });
}

/// What workers read of the arguments of all is not held against each of them.
#[test]
fn a_limit_on_memory_is_not_about_the_arguments_of_others() {
    const ITEMS: usize = 300;
    watched(|| {
        let pool = pool(2).hard_memory_limit(120 << 20).build().unwrap();
        wait_until_idle(&pool, 2);
        let sent = vec!["x".repeat(1 << 20); ITEMS];
        let back: Vec<String> = pool.map("echo", &sent).unwrap();
        assert!(back == sent);
        assert_eq!(pool.status().unwrap().counters.died, 0);
    });
}
