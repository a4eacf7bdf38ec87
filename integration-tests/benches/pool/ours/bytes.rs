//! Bytes there and back.

use master::{Arguments, Encoded};
use serde_bytes::{ByteBuf, Bytes};

use super::{finish, pool};
use crate::{
    figures::{Figures, Parameters},
    limits::bytes::per_second,
};

/// `size`: bytes of a message; `form`: `typed`, where both ends decode them, `encoded`, where neither
/// does. A worker in Python decodes in any case, by a function called `echo`.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let size: usize = parameters.get("size");
    let sent: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
    let ends = |bytes: &[u8]| (bytes.len(), bytes.first().copied(), bytes.last().copied());
    let in_python = parameters.find::<String>("serves").is_some();
    let form = if in_python { "typed".to_owned() } else { parameters.get::<String>("form") };
    let figures = match form.as_str() {
        "typed" => {
            let function = if in_python { "echo" } else { "bytes" };
            let echo = || pool.apply::<ByteBuf>(function, (Bytes::new(&sent),)).expect("bytes");
            assert!(echo() == sent, "other bytes came back");
            per_second(size, || assert_eq!(ends(&echo()), ends(&sent)))
        }
        "encoded" => {
            let encoded = rmp_serde::to_vec(&(Bytes::new(&sent),)).expect("bytes");
            let echo = || {
                let arguments = Arguments::from_encoded(encoded.clone(), None).expect("an array");
                pool.apply::<Encoded>("echo", arguments).expect("bytes").0
            };
            // What comes back is the one element of what was sent.
            assert!(echo() == encoded[1..], "other bytes came back");
            per_second(size, || assert_eq!(ends(&echo()), ends(&encoded[1..])))
        }
        form => panic!("unknown form {form}"),
    };
    finish(&pool);
    figures
}
