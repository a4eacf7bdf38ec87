//! Every limit of the protocol, each with its reason.

use std::time::Duration;

/// The version of the protocol that this crate speaks. It has nothing to do with the version of
/// any crate, and grows only when a message changes its meaning.
pub const PROTOCOL_VERSION: u32 = 1;

/// Bytes of the length that stands before each frame.
pub const LENGTH_BYTES: usize = 4;

/// The largest body of a frame, in bytes, from the welcome on, itself included: 1 GiB. It leaves
/// room for the largest payloads that make sense over a socket and keeps a claimed length far from
/// the 4 GiB that four bytes could claim.
pub const MAX_FRAME: usize = 1 << 30;

/// The largest body of a frame, in bytes, before the welcome: 64 KiB. It bounds the hello, which
/// comes from a stranger, and still has room for several hundred functions. The welcome itself
/// may be larger, since it carries the arguments of the initializer: a worker, which knows its
/// master, raises its limit before it reads the answer to its hello.
pub const MAX_FRAME_BEFORE_WELCOME: usize = 64 << 10;

/// How deep an envelope may nest. The messages of version 1 need 4; the rest is room for fields
/// of later versions, and little enough that no reader runs out of stack.
pub const MAX_ENVELOPE_DEPTH: usize = 16;

/// How deep a payload value may nest before [`crate::value::skip`] gives up. Payloads are only
/// walked over, never recursed into, so this protects the decoders of the two ends.
pub const MAX_PAYLOAD_DEPTH: usize = 512;

/// The least time between two reports of progress about one item: 50 ms, which is often enough
/// for people and for any limit on silence, and too seldom to cost either side anything.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// How long a worker may keep an answer in a shared output before it writes it: 1 ms, which is
/// little to whoever waits, and a thousand times what a write costs.
pub const HOLD_TIME: Duration = Duration::from_millis(1);

/// The longest time that a worker looks for input before it goes to sleep, whatever the master
/// says in the shared output: 1 ms.
pub const MAX_PATIENCE: Duration = Duration::from_millis(1);
