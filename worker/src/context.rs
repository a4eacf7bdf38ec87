//! What the master said about this worker's place in its pool.

use std::sync::OnceLock;

static CONTEXT: OnceLock<Context> = OnceLock::new();

struct Context {
    slot: u32,
    pool: String,
}

/// The seat of this worker in its pool, counted from 0; `None` when there is no master. A worker
/// that replaces another has the same seat.
#[must_use]
pub fn slot() -> Option<u32> {
    CONTEXT.get().map(|context| context.slot)
}

/// The name of the pool that this worker is in; `None` when there is no master.
#[must_use]
pub fn pool_name() -> Option<&'static str> {
    CONTEXT.get().map(|context| context.pool.as_str())
}

/// Keeps what the welcome says. A process has one master, so only the first one counts.
pub(crate) fn set(slot: u32, pool: String) {
    CONTEXT.get_or_init(|| Context { slot, pool });
}
