//! The functions of a worker, by name.

use std::collections::HashMap;

use protocol::{
    envelope::Item,
    message::{
        FunctionDescription,
        kind::{INVALID_RESULT, UNKNOWN_FUNCTION},
    },
    value,
};

use crate::{
    arguments::Arguments,
    error::Error,
    handler::Handler,
    panics,
    signature::{Parameter, Signature, SignatureError},
};

/// The functions of a worker, in the order in which they were registered.
#[derive(Default)]
pub(crate) struct Functions {
    list: Vec<Function>,
    positions: HashMap<String, usize>,
}

/// Why a function cannot be registered. All of them are defects of the worker's source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("there are two functions named `{0}`: rename one")]
    Twice(String),
    #[error(
        "the signature `{signature}` names {named} parameters, the function has {actual}: \
         make them agree"
    )]
    Count { signature: String, named: usize, actual: usize },
    #[error("the signature `{0}` takes any further arguments: only a raw function can")]
    Open(String),
    #[error(
        "in the signature `{signature}` parameter {number} may be missing: make its type an Option"
    )]
    NotOptional { signature: String, number: usize },
    #[error(
        "in the signature `{signature}` parameter {number} is an integer of 128 bits: \
         the protocol carries up to 64"
    )]
    TooWide { signature: String, number: usize },
}

impl Functions {
    pub(crate) fn add(&mut self, function: Function) -> Result<(), RegistrationError> {
        let name = function.signature.name.clone();
        if self.positions.contains_key(&name) {
            return Err(RegistrationError::Twice(name));
        }
        self.positions.insert(name, self.list.len());
        self.list.push(function);
        Ok(())
    }

    /// The function of that name, or an error that lists those there are.
    pub(crate) fn find(&self, name: &str) -> Result<&Function, Error> {
        let position = self.positions.get(name);
        position.and_then(|&position| self.list.get(position)).ok_or_else(|| {
            let names: Vec<String> =
                self.list.iter().map(|function| format!("`{}`", function.signature.name)).collect();
            let known = match names.as_slice() {
                [] => "none".to_owned(),
                names => names.join(", "),
            };
            let message = format!("no function is named `{name}`; this worker has {known}");
            Error::new(UNKNOWN_FUNCTION, message)
        })
    }

    /// What the hello announces.
    pub(crate) fn descriptions(&self) -> Vec<FunctionDescription> {
        let describe = |function: &Function| FunctionDescription {
            name: function.signature.name.clone(),
            parameters: function.signature.parameters_text().to_owned(),
            help: function.help.clone(),
            ..FunctionDescription::default()
        };
        self.list.iter().map(describe).collect()
    }
}

type Run = Box<dyn Fn(&Arguments<'_>, &mut Vec<u8>) -> Result<(), Error>>;

/// A registered function.
pub(crate) struct Function {
    signature: Signature,
    help: String,
    run: Run,
}

impl Function {
    /// A function of Rust types, once its signature is known to fit them.
    pub(crate) fn typed<P, H: Handler<P>>(
        mut signature: Signature,
        help: &str,
        handler: H,
    ) -> Result<Self, RegistrationError> {
        fit(&mut signature, &H::shapes())?;
        let run =
            move |arguments: &Arguments<'_>, result: &mut Vec<u8>| handler.run(arguments, result);
        Ok(Self { signature, help: help.to_owned(), run: Box::new(run) })
    }

    /// A function of encoded values.
    pub(crate) fn raw(
        signature: Signature,
        help: &str,
        function: impl Fn(&Arguments<'_>, &mut Vec<u8>) -> Result<(), Error> + 'static,
    ) -> Self {
        Self { signature, help: help.to_owned(), run: Box::new(function) }
    }

    /// Runs the function on one item. On success `result`, empty before, holds the encoded
    /// result; on an error, a panic among them, its content means nothing.
    pub(crate) fn run(&self, item: Item<'_>, result: &mut Vec<u8>) -> Result<(), Error> {
        let arguments = Arguments::new(&self.signature, item);
        panics::catch(|| (self.run)(&arguments, result))??;
        check_result(result)
    }
}

/// Checks that a result is one value that the protocol can carry: a raw function may have given
/// anything, and any function too many levels.
fn check_result(result: &[u8]) -> Result<(), Error> {
    let problem = match value::skip(result) {
        Ok(length) if length == result.len() => return Ok(()),
        Ok(length) => format!("{} more bytes follow its value", result.len() - length),
        Err(error) => error.to_string(),
    };
    Err(Error::new(INVALID_RESULT, format!("the result cannot be sent: {problem}")))
}

/// Checks a signature against the types of the parameters. A name alone gets as many nameless
/// parameters as there are types.
fn fit(
    signature: &mut Signature,
    shapes: &[crate::decode::Shape],
) -> Result<(), RegistrationError> {
    let text = || signature.text.clone();
    let too_wide = shapes.iter().position(|shape| shape.too_wide);
    if let Some(position) = too_wide {
        return Err(RegistrationError::TooWide { signature: text(), number: position + 1 });
    }
    if !signature.listed {
        signature.open = false;
        signature.parameters = vec![Parameter { name: None, optional: false }; shapes.len()];
        return Ok(());
    }
    if signature.open {
        return Err(RegistrationError::Open(text()));
    }
    let (named, actual) = (signature.parameters.len(), shapes.len());
    if named != actual {
        return Err(RegistrationError::Count { signature: text(), named, actual });
    }
    let not_optional = signature
        .parameters
        .iter()
        .zip(shapes)
        .position(|(parameter, shape)| parameter.optional && !shape.accepts_absent);
    match not_optional {
        Some(position) => {
            Err(RegistrationError::NotOptional { signature: text(), number: position + 1 })
        }
        None => Ok(()),
    }
}
