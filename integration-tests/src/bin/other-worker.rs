//! A second implementation of some functions of the reference worker, to compare the two: what is
//! right is in another form, and what is wrong is wrong for some inputs alone.

use std::process::ExitCode;

use rmp_serde::encode;
use worker::{Error, Worker};

fn main() -> ExitCode {
    Worker::new("other-worker", env!("CARGO_PKG_VERSION"))
        .raw_function(
            "square(n, seconds?)",
            "The square of n, in a long form",
            |arguments, result| {
                let n: i64 = argument(arguments)?;
                match n {
                    // Each of these is a difference that has to be found.
                    3 => encode::write(result, &10).map_err(other),
                    4 => Err(Error::new("ValueError", "4 is not for squares")),
                    5 => {
                        // The same value as an integer of 64 bits.
                        result.extend_from_slice(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 25]);
                        Ok(())
                    }
                    6 => std::process::exit(6),
                    7 => encode::write(result, &49.0).map_err(other),
                    8 => loop {
                        std::thread::park();
                    },
                    n => encode::write(result, &(n * n)).map_err(other),
                }
            },
        )
        .raw_function(
            "echo(value)",
            "The value, with 1e-12 added to floats",
            |arguments, result| {
                let bound = arguments.bind()?;
                let encoded = bound.encoded(0).unwrap_or_default();
                match rmp_serde::from_slice::<f64>(encoded) {
                    Ok(number) if encoded.first() == Some(&0xcb) => {
                        encode::write(result, &(number + 1e-12)).map_err(other)
                    }
                    _ => {
                        result.extend_from_slice(encoded);
                        Ok(())
                    }
                }
            },
        )
        .function(
            "fail(message, kind?)",
            "Fails, in other words",
            |_: String, kind: Option<String>| {
                let kind = kind.unwrap_or_else(|| "Error".to_owned());
                Err::<(), _>(Error::new(&kind, "in other words"))
            },
        )
        .main()
}

fn argument(arguments: &worker::Arguments<'_>) -> Result<i64, Error> {
    let bound = arguments.bind()?;
    let encoded = bound.encoded(0).unwrap_or_default();
    rmp_serde::from_slice(encoded)
        .map_err(|error| Error::new("InvalidArguments", error.to_string()))
}

fn other(error: rmp_serde::encode::Error) -> Error {
    Error::new("Other", error.to_string())
}
