//! What the fuzz targets of this crate share; each of them is a file in `targets/`.
//!
//! - [`wire`]: encoded values and bodies of frames, right ones and broken ones, out of the bytes
//!   of a fuzzer.

pub mod wire;
