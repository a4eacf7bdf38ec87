//! Messages by the letter of the specification, for those who check a worker or a master.
//!
//! This is not what a master or a worker reads with: a codec that is lenient would let something pass
//! that another implementation refuses. So nothing here uses the codec of this crate, or any other. It
//! builds values in memory, and is not meant to be fast.

mod fields;
mod message;
mod value;

pub use self::{
    message::{Defect, Function, Message, envelope, frame, frame_in, framed},
    value::{Form, Malformed, Value, read},
};
