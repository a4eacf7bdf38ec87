//! JSON to MessagePack and back, exactly.
//!
//! Workers are sent MessagePack, people write JSON, and neither holds all that the other can.
//! The rule is: the same value, or an agreed form, or an error; never rounded, never dropped.
//!
//! From JSON to MessagePack, [`to_message_pack`]:
//!
//! | JSON | MessagePack |
//! |---|---|
//! | `null`, `true`, `false`, strings, arrays | the same |
//! | an object | a map in the same order; a key that comes twice is an error |
//! | a number without fraction and exponent | an integer; an error below -2^63 or above 2^64 - 1; `-0` is 0 |
//! | a number with fraction or exponent (`1.0`, `1e3`) | the 64-bit float nearest to it; an error if that is infinite, or 0 for a number that is not |
//! | `\ud800` without its other half | an error |
//! | more than 128 levels of arrays and objects | an error |
//!
//! From MessagePack to JSON, [`to_json`]:
//!
//! | MessagePack | JSON |
//! |---|---|
//! | nil, booleans, strings, arrays | the same |
//! | integers | all digits |
//! | floats | the fewest digits that give the same 64-bit float, always with a fraction or an exponent: `1.0`, `1e100`; a 32-bit float is widened first, which is exact |
//! | NaN and the infinities | `{"$float":"NaN"}`, `{"$float":"Infinity"}`, `{"$float":"-Infinity"}` |
//! | binary data | `{"$binary":"aGk="}`, in base64 |
//! | an extension type | `{"$extension":[5,"aGk="]}`, its number and its data in base64 |
//! | a string that is not UTF-8 | `{"$string":"/w=="}`, its bytes in base64 |
//! | a map whose keys are strings, each once | an object in the same order |
//! | any other map | `{"$map":[[1,"one"],[2,"two"]]}`, its keys and values in the same order |
//! | a map with one key, which is one of these names | `{"$map":[["$float","NaN"]]}`, so that a form is never mistaken |
//! | more than 512 levels of arrays and maps | an error |
//! | malformed, cut short, or more than one value | an error |
//!
//! The forms are for output. In input they are objects like any other.
//!
//! Reading JSON is done here, not by a library, because a general reader hands over a number
//! beyond 64 bits either as a float, or as a map that an object in the input could imitate.
//! Neither direction recurses or builds a tree.

use std::collections::HashSet;

mod from_message_pack;
mod to_message_pack;

pub use from_message_pack::{PayloadError, to_json};
pub use to_message_pack::{JsonError, MAX_DEPTH, MAX_TEXT, Problem, to_message_pack};

/// Whether a byte of a string does not stand for itself in JSON.
const fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < b' ')
}

/// Up to so many keys are compared each with each, which is faster than hashing them.
const FEW_KEYS: usize = 8;

/// The first of `count` names that is the same as one before it.
fn find_duplicate<'a>(count: usize, name: impl Fn(usize) -> &'a [u8]) -> Option<usize> {
    if count <= FEW_KEYS {
        return (1..count).find(|&index| (0..index).any(|earlier| name(earlier) == name(index)));
    }
    let mut seen = HashSet::with_capacity(count);
    (0..count).find(|&index| !seen.insert(name(index)))
}

#[cfg(test)]
mod tests;
