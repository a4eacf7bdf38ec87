//! What is very large, what is just beyond the largest, and every size at which MessagePack
//! changes its form.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use integration_tests::library::{pool, watched};
use master::{Arguments, Encoded, Error, IntoArguments, MAX_ARGUMENTS, Pool};
use serde::{Serialize, de::DeserializeOwned};
use serde_bytes::{ByteBuf, Bytes};
use support::misbehaving;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Held by a test that needs several GiB, so that no two of them do at once.
fn alone() -> MutexGuard<'static, ()> {
    static MEMORY: Mutex<()> = Mutex::new(());
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes in blocks of 1 MiB, of which each bears its number and a seed, so that none can stand for
/// another. The pattern between has a period that is no power of two.
fn pattern(size: usize, seed: u64) -> ByteBuf {
    let mut block: Vec<u8> = (0..=250).cycle().take(MIB).collect();
    let mut bytes = Vec::with_capacity(size);
    for number in 0..size.div_ceil(MIB) {
        block[..STAMP].copy_from_slice(&stamp(number, seed));
        let rest = size - bytes.len();
        bytes.extend_from_slice(&block[..rest.min(MIB)]);
    }
    ByteBuf::from(bytes)
}

const STAMP: usize = 16;

fn stamp(number: usize, seed: u64) -> [u8; STAMP] {
    (u128::from(seed) << 64 | number as u128).to_be_bytes()
}

/// As a comparison with [`pattern`], without another copy in memory.
#[track_caller]
fn assert_pattern(bytes: &[u8], size: usize, seed: u64) {
    assert_eq!(bytes.len(), size);
    let mut block = pattern(MIB, seed);
    for (number, found) in bytes.chunks(MIB).enumerate() {
        block[..STAMP].copy_from_slice(&stamp(number, seed));
        assert!(found == &block[..found.len()], "MiB {number} is another");
    }
}

/// Bytes as the only argument, in a form that takes no further copy.
fn owned(size: usize, seed: u64) -> Arguments {
    (pattern(size, seed),).into_arguments().unwrap()
}

/// One argument of zeros that is encoded as `size` bytes in all. The memory of zeros is not
/// there before someone looks at it.
fn zeros(size: usize) -> Arguments {
    let mut encoded = vec![0; size];
    let length = u32::try_from(size - 6).unwrap();
    encoded[..2].copy_from_slice(&[0x91, 0xc6]);
    encoded[2..6].copy_from_slice(&length.to_be_bytes());
    Arguments::from_encoded(encoded, None).unwrap()
}

#[test]
fn six_hundred_mebibytes_in_and_out() {
    let _alone = alone();
    watched(|| {
        let pool = pool(1).build().unwrap();
        let result = pool.apply_async::<ByteBuf>("echo", owned(600 * MIB, 1)).unwrap();
        assert_pattern(&result.get().unwrap(), 600 * MIB, 1);
        drop(result);
        assert_eq!(pool.apply::<i64>("square", (5,)).unwrap(), 25);
    });
}

#[test]
fn sixty_four_mebibytes_both_ways_on_four_workers_at_once() {
    let _alone = alone();
    watched(|| {
        let pool = pool(4).build().unwrap();
        let results: Vec<_> = (0..4)
            .map(|seed| (seed, pool.apply_async::<ByteBuf>("echo", owned(64 * MIB, seed)).unwrap()))
            .collect();
        for (seed, result) in results {
            assert_pattern(&result.get().unwrap(), 64 * MIB, seed);
        }
    });
}

#[test]
fn arguments_beyond_the_limit_are_an_error_before_they_are_sent() {
    let _alone = alone();
    watched(|| {
        let pool = pool(1).build().unwrap();
        for excess in [1, MIB, 2 << 30] {
            let result = pool.apply_async::<Encoded>("pid", zeros(MAX_ARGUMENTS + excess));
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Encode(_)), "{error}");
            assert!(error.to_string().contains(&MAX_ARGUMENTS.to_string()), "{error}");
            assert_eq!(pool.apply::<i64>("square", (5,)).unwrap(), 25);
        }
        // One too large item fails a map before any of it is sent.
        let zeros = vec![0; MAX_ARGUMENTS];
        let items = [Bytes::new(b"small"), Bytes::new(&zeros)];
        let error = pool.map_async::<_, Encoded>("pid", items, None).unwrap_err();
        assert!(matches!(error, Error::Encode(_)), "{error}");
        assert_eq!(pool.apply::<i64>("square", (5,)).unwrap(), 25);
    });
}

#[test]
fn arguments_of_an_initializer_beyond_the_limit_start_nothing() {
    let _alone = alone();
    watched(|| {
        let error = pool(1).initializer("pid", zeros(MAX_ARGUMENTS + MIB)).build().unwrap_err();
        assert!(matches!(error, Error::Encode(_) | Error::InvalidArgument(_)), "{error}");
    });
}

/// Two items that fit a frame each, of which the first is as large as it may be, and that do not
/// fit one together: the chunk is split.
#[test]
fn the_largest_arguments_that_are_allowed_arrive() {
    let _alone = alone();
    watched(|| {
        let pool = pool(1).build().unwrap();
        // The head of the list and of the bytes count too.
        let zeros = vec![0; MAX_ARGUMENTS - 6];
        let items = [Bytes::new(&zeros), Bytes::new(&zeros[..MIB])];
        let result = pool.map_async::<_, u32>("pid", items, Some(2)).unwrap();
        drop(zeros);
        let pids = result.get().unwrap();
        assert_eq!(pids, [pids[0]; 2], "the worker lives on");
    });
}

#[test]
fn a_result_beyond_a_frame_is_an_error_of_that_call_alone() {
    let _alone = alone();
    watched(|| {
        let pool = pool(1).build().unwrap();
        let pid: u32 = pool.apply("pid", ()).unwrap();
        let arguments = ("head", ["-c", "1073741825", "/dev/zero"]);
        let error = pool.apply::<Encoded>("exec", arguments).unwrap_err();
        let Error::Failed(failure) = &error else { panic!("{error}") };
        assert_eq!(failure.kind, "InvalidResult");
        assert!(failure.message.contains("larger than"), "{failure}");
        assert_eq!(pool.apply::<u32>("pid", ()).unwrap(), pid, "the worker lives on");
    });
}

#[test]
fn errors_of_a_mebibyte() {
    let check = |pool: &Pool, size: usize| {
        let message: String = ('a'..='z').cycle().take(size).collect();
        let outcomes = pool.map_async::<_, Encoded>("fail", vec![&message; 16], Some(4)).unwrap();
        for outcome in outcomes.outcomes() {
            let error = outcome.unwrap_err();
            let Error::Failed(failure) = &error else { panic!("another error") };
            assert!(failure.message == message, "{} bytes came", failure.message.len());
        }
        assert_eq!(pool.apply::<i64>("square", (5,)).unwrap(), 25);
    };
    watched(move || {
        check(&pool(2).build().unwrap(), MIB);
        // This worker does not cut what it says, however long.
        let talkative = Pool::builder().worker(misbehaving(&["well-behaved"])).processes(2);
        check(&talkative.build().unwrap(), 4 * MIB);
    });
}

/// A value goes out and comes back: alone, and among others of one chunk.
#[track_caller]
fn check<T>(pool: &Pool, name: &str, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + 'static,
{
    let alone: T = pool.apply("echo", (value,)).unwrap();
    assert!(alone == *value, "{name} alone");
    let chunk: Vec<T> = pool.map_chunked("echo", [value; 3], 3).unwrap();
    assert!(chunk.iter().all(|result| result == value), "{name} in a chunk");
}

#[test]
fn every_size_at_which_message_pack_changes_its_form() {
    const SIZES: [usize; 14] =
        [0, 1, 15, 16, 31, 32, 127, 128, 255, 256, 65_535, 65_536, 64 * KIB + 4, 256 * KIB];
    watched(|| {
        let pool = pool(2).build().unwrap();
        for size in SIZES {
            check(&pool, &format!("a string of {size} bytes"), &"x".repeat(size));
            check(&pool, &format!("{size} bytes"), &pattern(size, 3));
            // What is larger is slow in a build without optimization, and no boundary.
            if size <= 65_536 {
                check(&pool, &format!("an array of {size}"), &vec![7_u8; size]);
                let keys = (0..u32::try_from(size).unwrap()).map(|key| (key, ()));
                check(&pool, &format!("a map of {size}"), &keys.collect::<BTreeMap<_, _>>());
            }
        }
    });
}

#[test]
fn every_integer_at_which_message_pack_changes_its_form() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        for bits in [5, 7, 8, 15, 16, 31, 32, 63] {
            for value in [(1_i128 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1] {
                if let Ok(value) = u64::try_from(value) {
                    check(&pool, &value.to_string(), &value);
                }
                if let Ok(value) = i64::try_from(value) {
                    check(&pool, &value.to_string(), &value);
                }
            }
        }
        check(&pool, "the largest", &u64::MAX);
    });
}

/// The number of items in a chunk and of arguments in an item are sizes too.
#[test]
fn many_items_and_many_arguments() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        for size in [0_usize, 1, 15, 16, 255, 256, 65_535, 65_536] {
            let numbers: Vec<usize> = (0..size).collect();
            let echoed: Vec<usize> = pool.map_chunked("echo", &numbers, size.max(1)).unwrap();
            assert!(echoed == numbers, "{size} items");
            let pid: u32 = pool.apply("pid", numbers).unwrap();
            assert!(pid > 0, "{size} arguments");
        }
    });
}
