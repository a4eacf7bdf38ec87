//! What large values leave in memory. In one test, as it looks at all that this process has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{fs, os::unix::fs::MetadataExt as _};

use integration_tests::library::{pool, watched};
use serde_bytes::{ByteBuf, Bytes};
use support::{wait_until, wait_until_idle};

/// The files in which arguments and results are shared.
const FILES: [&str; 2] = ["shared-arguments", "shared-output"];

const LARGE: usize = 8 << 20;

/// More than a pool may keep when it is idle.
const MUCH: u64 = 1 << 20;

/// The bytes of memory that each file in memory of this name takes.
fn sizes(name: &str) -> Vec<u64> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().contains(&format!("memfd:{name}")) {
            sizes.push(fs::metadata(entry.path()).unwrap().blocks() * 512);
        }
    }
    sizes
}

#[test]
fn large_values_are_shared_and_their_memory_is_given_back() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        wait_until_idle(&pool, 1);
        let sent: Vec<u8> = (0..LARGE).map(|index| (index % 251) as u8).collect();
        for _ in 0..2 {
            // The worker has them for long enough to be looked at.
            let result = pool.apply_async::<ByteBuf>("sleep", (0.05, Bytes::new(&sent))).unwrap();
            assert!(sizes("shared-arguments")[0] >= LARGE as u64, "they were copied elsewhere");
            assert!(result.get().unwrap() == sent);
            for name in FILES {
                assert_eq!(sizes(name).len(), 1, "{name}");
                wait_until(&format!("{name} is given back"), || sizes(name)[0] < MUCH);
            }
        }
        let result: ByteBuf = pool.apply("echo", (Bytes::new(&sent),)).unwrap();
        assert!(result == sent);
        assert!(sizes("shared-output")[0] >= LARGE as u64, "the result came another way");
        drop(pool);
        for name in FILES {
            assert!(sizes(name).is_empty(), "{name} is left");
        }
    });
}
