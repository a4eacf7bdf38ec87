//! The protocol between a master and its workers: frames, messages and limits.
//!
//! This crate turns bytes into messages and messages into bytes. It does no I/O, reads no clock
//! and starts nothing, but for a second thread that copies what is large. `SPEC.md` beside it is the normative text; this crate is one
//! implementation of it, shared by the crates `master` and `worker`.
//!
//! In reading order:
//! - [`launch`]: what a worker finds in its environment, and how it may exit;
//! - [`limits`]: every number that bounds something;
//! - [`frame`]: length-prefixed frames, cut out of a stream of bytes;
//! - [`message`]: what is said in them, one enum for each direction;
//! - [`envelope`]: messages to frames and back;
//! - [`shared_output`]: where answers may be kept for a moment, and large results lie until they
//!   are taken;
//! - [`spec`]: the requirements of the specification, one by one;
//! - [`strict`]: messages by the letter of the specification, for those who check others;
//! - [`binary`] and [`copying`]: large binary data, which is moved where it can be, and copied by two
//!   processors where it cannot;
//! - [`value`]: walking over MessagePack values without decoding them.
//!
//! ```
//! use protocol::{envelope, frame::Decoder, message::FromWorker};
//!
//! // A worker answers item 0 of call 7 with the number 25.
//! let mut bytes = Vec::new();
//! envelope::append_frame(&mut bytes, &FromWorker::Result { id: 7, item: 0 }, &[25])?;
//!
//! // The master finds it again in whatever pieces it arrives.
//! let mut decoder = Decoder::new();
//! let (head, tail) = bytes.split_at(5);
//! decoder.push(head);
//! assert!(decoder.next_frame()?.is_none());
//! decoder.push(tail);
//! let frame = decoder.next_frame()?.ok_or("the frame is complete")?;
//! let (message, payload) = envelope::open::<FromWorker>(frame)?;
//! assert_eq!(message, FromWorker::Result { id: 7, item: 0 });
//! assert_eq!(payload, [25]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod binary;
pub mod copying;
pub mod envelope;
pub mod frame;
pub mod launch;
pub mod limits;
pub mod message;
mod quick;
pub mod shared_output;
pub mod spec;
pub mod strict;
pub mod value;
