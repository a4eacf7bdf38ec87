//! Which Rust functions can be registered.

use std::fmt::Display;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    arguments::Arguments,
    decode::{self, Shape},
    encode::encode_result,
    error::Error,
    result::ResultBuffer,
};

/// A function that [`Worker::function`](crate::Worker::function) takes.
///
/// Implemented for every `Fn(A, B, ..) -> Result<R, E>` of 0 to 8 parameters, where
/// - `A`, `B`, .. can be deserialized: an argument that does not fit its type, an integer out of
///   range among them, is an error of the kind `InvalidArguments`, and the function does not
///   run;
/// - `R` can be serialized, as [`encode`](crate::encode) does it;
/// - `E` is [`Error`], or anything that can be displayed: a [`String`], a `&'static str`, a
///   [`std::io::Error`], a `Box<dyn std::error::Error>`. Its text becomes the message, and the
///   name of its type the kind of the error; see [`Error::from_display`].
///
/// It is not meant to be implemented elsewhere.
pub trait Handler<Parameters>: 'static {
    /// What can be known of the parameters before any call.
    #[doc(hidden)]
    fn shapes() -> Vec<Shape>;

    /// Decodes the arguments, runs the function and appends its encoded result.
    #[doc(hidden)]
    fn run(&self, arguments: &Arguments<'_>, result: &mut ResultBuffer) -> Result<(), Error>;
}

macro_rules! implement_handler {
    ($($parameter:ident $position:literal),*) => {
        impl<Function, Output, Failure, $($parameter),*> Handler<($($parameter,)*)> for Function
        where
            Function: Fn($($parameter),*) -> Result<Output, Failure> + 'static,
            Output: Serialize,
            Failure: Display + 'static,
            $($parameter: DeserializeOwned,)*
        {
            fn shapes() -> Vec<Shape> {
                vec![$(decode::shape::<$parameter>()),*]
            }

            fn run(
                &self,
                arguments: &Arguments<'_>,
                result: &mut ResultBuffer,
            ) -> Result<(), Error> {
                const PARAMETERS: usize = <[usize]>::len(&[$($position),*]);
                let output = match arguments.in_order(PARAMETERS) {
                    Some(mut _arguments) => self($(_arguments.take::<$parameter>($position)?),*),
                    None => {
                        let _bound = arguments.bind()?;
                        self($(_bound.decode::<$parameter>($position)?),*)
                    }
                };
                encode_result(&output.map_err(Error::from_display)?, result)
            }
        }
    };
}

implement_handler!();
implement_handler!(A 0);
implement_handler!(A 0, B 1);
implement_handler!(A 0, B 1, C 2);
implement_handler!(A 0, B 1, C 2, D 3);
implement_handler!(A 0, B 1, C 2, D 3, E 4);
implement_handler!(A 0, B 1, C 2, D 3, E 4, F 5);
implement_handler!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
implement_handler!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
