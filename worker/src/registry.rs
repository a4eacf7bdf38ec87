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
    result::ResultBuffer,
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
    #[error("`{mark}` is for a function that was registered before, and `{name}` was not{known}")]
    NotRegistered { mark: &'static str, name: String, known: String },
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

    /// Adds those of others, which take the place of those of the same name.
    pub(crate) fn replace_by(&mut self, others: Self) {
        for function in others.list {
            match self.positions.get(&function.signature.name).copied() {
                Some(position) => {
                    if let Some(before) = self.list.get_mut(position) {
                        *before = function;
                    }
                }
                None => {
                    self.positions.insert(function.signature.name.clone(), self.list.len());
                    self.list.push(function);
                }
            }
        }
    }

    /// The function of that name, or an error that lists those there are.
    pub(crate) fn find(&self, name: &str) -> Result<&Function, Error> {
        let position = self.positions.get(name);
        position.and_then(|&position| self.list.get(position)).ok_or_else(|| {
            let known = match self.names().as_slice() {
                [] => "none".to_owned(),
                names => names.join(", "),
            };
            let message = format!("no function is named `{name}`; this worker has {known}");
            Error::new(UNKNOWN_FUNCTION, message)
        })
    }

    /// Marks a function that was added before. `mark` is what the error calls the mark.
    pub(crate) fn mark(
        &mut self,
        name: &str,
        mark: &'static str,
        set: impl FnOnce(&mut Function),
    ) -> Result<(), RegistrationError> {
        let position = self.positions.get(name).copied();
        match position.and_then(|position| self.list.get_mut(position)) {
            Some(function) => {
                set(function);
                Ok(())
            }
            None => {
                let known = match self.names().as_slice() {
                    [] => String::new(),
                    names => format!("; there are {}", names.join(", ")),
                };
                Err(RegistrationError::NotRegistered { mark, name: name.to_owned(), known })
            }
        }
    }

    /// The names in the order of registration, quoted.
    fn names(&self) -> Vec<String> {
        self.list.iter().map(|function| format!("`{}`", function.signature.name)).collect()
    }

    /// What the hello announces.
    pub(crate) fn descriptions(&self) -> Vec<FunctionDescription> {
        let describe = |function: &Function| FunctionDescription {
            name: function.signature.name.clone(),
            parameters: function.signature.parameters_text().to_owned(),
            help: function.help.clone(),
            progress: function.progress,
            cancel: function.cancel && cfg!(unix),
        };
        self.list.iter().map(describe).collect()
    }
}

type Run = Box<dyn Fn(&Arguments<'_>, &mut ResultBuffer) -> Result<(), Error>>;

/// A registered function.
pub(crate) struct Function {
    signature: Signature,
    help: String,
    run: Run,
    /// It reports its progress.
    pub(crate) progress: bool,
    /// It asks whether it was cancelled.
    pub(crate) cancel: bool,
}

impl Function {
    /// A function of Rust types, once its signature is known to fit them.
    pub(crate) fn typed<P, H: Handler<P>>(
        mut signature: Signature,
        help: &str,
        handler: H,
    ) -> Result<Self, RegistrationError> {
        fit(&mut signature, &H::shapes())?;
        let run = move |arguments: &Arguments<'_>, result: &mut ResultBuffer| {
            handler.run(arguments, result)
        };
        Ok(Self::new(signature, help, Box::new(run)))
    }

    /// A function of encoded values.
    pub(crate) fn raw(
        signature: Signature,
        help: &str,
        function: impl Fn(&Arguments<'_>, &mut Vec<u8>) -> Result<(), Error> + 'static,
    ) -> Self {
        let run = move |arguments: &Arguments<'_>, result: &mut ResultBuffer| {
            function(arguments, result.vector())
        };
        Self::new(signature, help, Box::new(run))
    }

    fn new(signature: Signature, help: &str, run: Run) -> Self {
        Self { signature, help: help.to_owned(), run, progress: false, cancel: false }
    }

    /// Runs the function on one item. On success `result`, empty before, holds the encoded
    /// result; on an error, a panic among them, its content means nothing.
    pub(crate) fn run(&self, item: Item<'_>, result: &mut ResultBuffer) -> Result<(), Error> {
        let arguments = Arguments::new(&self.signature, item);
        panics::catch(|| (self.run)(&arguments, result))??;
        check_result(result.as_slice())
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
