//! The worker as a program: what an executable's `main` calls.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use protocol::launch::EXIT_USAGE;

use crate::{
    arguments::Arguments,
    command_line, connection,
    environment::{self, Launch},
    error::Error,
    handler::Handler,
    panics,
    reference::conformance,
    registry::{Function, Functions, RegistrationError},
    signature::Signature,
};

/// What is run before a worker is ready.
type Preparation = Box<dyn Fn() -> Result<(), Error>>;

/// A worker: a name, a version and functions.
///
/// Functions are registered one after another; [`Worker::main`] then does all the rest. See the
/// [crate](crate) for a whole worker.
pub struct Worker {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) example: Option<String>,
    pub(crate) functions: Functions,
    preparations: Vec<Preparation>,
    problems: Vec<RegistrationError>,
}

impl Worker {
    /// A worker without functions. Name and version are for people; usually they are
    /// `env!("CARGO_PKG_NAME")` and `env!("CARGO_PKG_VERSION")`.
    #[must_use]
    pub fn new(name: &'static str, version: &'static str) -> Self {
        let functions = Functions::default();
        let (preparations, problems) = (Vec::new(), Vec::new());
        Self { name, version, example: None, functions, preparations, problems }
    }

    /// Registers a function of 0 to 8 parameters; see [`Handler`] for which ones qualify.
    ///
    /// The signature is the name to call it by and its parameters, such as
    /// `square(n, seconds?)`. A question mark stands behind a parameter that may be missing; its
    /// type is an [`Option`]. The names of the parameters are those of keyword arguments. A name
    /// alone, without parentheses, is for a function that takes no keyword arguments. The help
    /// is one line.
    ///
    /// A signature that does not fit the function is reported by [`Worker::main`].
    #[must_use]
    pub fn function<P, H: Handler<P>>(self, signature: &str, help: &str, handler: H) -> Self {
        let function = Signature::parse(signature)
            .map_err(RegistrationError::from)
            .and_then(|signature| Function::typed(signature, help, handler));
        self.add(function)
    }

    /// Registers a function that works on encoded values: it gets its [`Arguments`] as
    /// MessagePack and appends its result to the vector, as one MessagePack value.
    ///
    /// In its signature `...` may stand for any further arguments, as in `pid(...)`.
    ///
    /// ```
    /// let worker = worker::Worker::new("example", "1.0.0").raw_function(
    ///     "echo(value)",
    ///     "The value as it came.",
    ///     |arguments, result| {
    ///         let bound = arguments.bind()?;
    ///         result.extend_from_slice(bound.encoded(0).unwrap_or_default());
    ///         Ok(())
    ///     },
    /// );
    /// # drop(worker);
    /// ```
    #[must_use]
    pub fn raw_function(
        self,
        signature: &str,
        help: &str,
        function: impl Fn(&Arguments<'_>, &mut Vec<u8>) -> Result<(), Error> + 'static,
    ) -> Self {
        let function = Signature::parse(signature)
            .map_err(RegistrationError::from)
            .map(|signature| Function::raw(signature, help, function));
        self.add(function)
    }

    /// Says of a function that was registered before that it calls [`progress`](crate::progress).
    /// A master may then take a long silence of it for a hang.
    ///
    /// ```
    /// let worker = worker::Worker::new("example", "1.0.0")
    ///     .function("load(path)", "Loads a file.", |path: String| {
    ///         worker::progress(&path);
    ///         Ok::<_, String>(())
    ///     })
    ///     .reports_progress("load");
    /// # drop(worker);
    /// ```
    ///
    /// A name that is not registered is reported by [`Worker::main`].
    #[must_use]
    pub fn reports_progress(mut self, function: &str) -> Self {
        let marked =
            self.functions.mark(function, "reports_progress", |function| function.progress = true);
        self.problems.extend(marked.err());
        self
    }

    /// Says of a function that was registered before that it asks
    /// [`is_cancelled`](crate::is_cancelled), and ends soon when it is. A master then tells it
    /// first, and ends its worker only if that does not help.
    ///
    /// ```
    /// let worker = worker::Worker::new("example", "1.0.0")
    ///     .function("wait()", "Waits to be cancelled.", || loop {
    ///         if worker::is_cancelled() {
    ///             return Err::<(), _>(worker::Error::cancelled());
    ///         }
    ///         std::thread::yield_now();
    ///     })
    ///     .cancellable("wait");
    /// # drop(worker);
    /// ```
    ///
    /// A name that is not registered is reported by [`Worker::main`].
    #[must_use]
    pub fn cancellable(mut self, function: &str) -> Self {
        let marked =
            self.functions.mark(function, "cancellable", |function| function.cancel = true);
        self.problems.extend(marked.err());
        self
    }

    /// Has something done before the worker is ready for calls, and before the initializer if there
    /// is one: a model loaded, a connection made. It is done once, after the master has welcomed
    /// the worker, and not at all for a call by hand. If it fails, so does the start of the worker,
    /// as by an initializer that fails.
    ///
    /// ```
    /// let worker = worker::Worker::new("example", "1.0.0")
    ///     .before_ready(|| {
    ///         std::fs::metadata("/etc/passwd")?;
    ///         Ok(())
    ///     });
    /// # drop(worker);
    /// ```
    #[must_use]
    pub fn before_ready(mut self, preparation: impl Fn() -> Result<(), Error> + 'static) -> Self {
        self.preparations.push(Box::new(preparation));
        self
    }

    /// A call to show as an example when the worker is started by hand, such as `square 5`.
    #[must_use]
    pub fn example(mut self, call: impl Into<String>) -> Self {
        self.example = Some(call.into());
        self
    }

    /// Runs the worker, and gives the status for the process to exit with.
    ///
    /// Started by a master, it serves that master until it is told to leave or the master is
    /// gone. Started by hand, it says how it is used, or with the arguments `call FUNCTION
    /// [ARG]...` runs one function in place. With `--conformance` before all other arguments it
    /// offers the conformance functions of the protocol as well, for `master check`.
    ///
    /// Call it first thing in `main`, before any thread is started: it removes what the master
    /// put into the environment, which cannot be done safely once there are threads. On Linux
    /// that is checked.
    ///
    /// Exit statuses: 0 asked to leave, or the master is gone; 1 a last call, the initializer or
    /// `call` failed; 2 started by hand with no or wrong arguments, or functions registered
    /// wrongly; 76 the master refused the worker or broke the protocol.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let launch = environment::take();
        start_logging();
        panics::install_hook();
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        match arguments.split_first() {
            Some((first, others)) if first == conformance::FLAG => {
                ExitCode::from(self.with_conformance_functions().run(launch, others))
            }
            _ => ExitCode::from(self.run(launch, &arguments)),
        }
    }

    /// Runs the worker of a program that has read its arguments by itself: [`Worker::main`] without
    /// a look at them. `None` if no master has started the program, and so nothing was done; to
    /// say what it is and to exit with status 2 is up to the program then.
    ///
    /// Such a program does for `--conformance`, before all other arguments, what `main` would:
    /// it calls [`Worker::with_conformance_functions`]. As for `main`, there must be no thread yet.
    ///
    /// ```no_run
    /// use std::process::ExitCode;
    ///
    /// fn main() -> ExitCode {
    ///     let unit = std::env::args().nth(1).unwrap_or_else(|| "m".to_owned());
    ///     let label = move |number: f64| Ok::<_, String>(format!("{number} {unit}"));
    ///     let worker = worker::Worker::new("label", "1.0.0");
    ///     worker.function("label(number)", "With its unit.", label).serve().unwrap_or_else(|| {
    ///         eprintln!("label is for a master to start, as: label UNIT");
    ///         ExitCode::from(2)
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn serve(self) -> Option<ExitCode> {
        let launch = environment::take();
        if matches!(launch, Ok(None)) && self.problems.is_empty() {
            return None;
        }
        start_logging();
        panics::install_hook();
        Some(ExitCode::from(self.run(launch, &[])))
    }

    /// Does what is to be done before the worker is ready.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        self.preparations.iter().try_for_each(|preparation| panics::catch(preparation)?)
    }

    fn run(
        &self,
        launch: Result<Option<Launch>, environment::LaunchError>,
        arguments: &[OsString],
    ) -> u8 {
        if !self.problems.is_empty() {
            for problem in &self.problems {
                self.complain(problem);
            }
            return EXIT_USAGE;
        }
        if !arguments.is_empty() {
            return command_line::run(self, arguments);
        }
        match launch {
            Ok(None) => {
                command_line::explain(self);
                EXIT_USAGE
            }
            Ok(Some(launch)) => connection::serve(self, &launch).unwrap_or_else(|error| {
                self.complain(&error);
                error.exit_status()
            }),
            Err(error) => {
                self.complain(&error);
                EXIT_USAGE
            }
        }
    }

    fn add(mut self, function: Result<Function, RegistrationError>) -> Self {
        let added = function.and_then(|function| self.functions.add(function));
        self.problems.extend(added.err());
        self
    }

    fn complain(&self, problem: &dyn std::fmt::Display) {
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{}: {problem}", self.name);
    }
}

fn start_logging() {
    // Who asks for nothing gets nothing, and the master need not wait for it.
    if std::env::var_os(env_logger::DEFAULT_FILTER_ENV).is_none() {
        return;
    }
    let environment = env_logger::Env::default().default_filter_or("off");
    // A program that has set up logging of its own keeps it.
    let _ = env_logger::Builder::from_env(environment).try_init();
}

#[cfg(test)]
mod tests {
    use super::Worker;

    fn check(signature: &str, register: impl FnOnce(Worker, &str) -> Worker, problem: &str) {
        let worker = register(Worker::new("test", "0"), signature);
        let problems: Vec<String> = worker.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [problem], "{signature}");
    }

    #[test]
    fn signatures_that_do_not_fit() {
        fn one(_: i64) -> Result<(), String> {
            Ok(())
        }
        fn wide(_: Option<u128>) -> Result<(), String> {
            Ok(())
        }
        let typed = |worker: Worker, signature: &str| worker.function(signature, "", one);
        check(
            "f(a, b)",
            typed,
            "the signature `f(a, b)` names 2 parameters, the function has 1: make them agree",
        );
        check(
            "f(a?)",
            typed,
            "in the signature `f(a?)` parameter 1 may be missing: make its type an Option",
        );
        check(
            "f(...)",
            typed,
            "the signature `f(...)` takes any further arguments: only a raw function can",
        );
        check(
            "f(a?)",
            |worker, signature| worker.function(signature, "", wide),
            "in the signature `f(a?)` parameter 1 is an integer of 128 bits: \
             the protocol carries up to 64",
        );
        check(
            "f(a)",
            |worker, signature| typed(typed(worker, signature), signature),
            "there are two functions named `f`: rename one",
        );
        check("f(a", typed, "the signature `f(a` has no `)` at its end");
        check(
            "f(a)",
            |worker, signature| typed(worker, signature).reports_progress("g"),
            "`reports_progress` is for a function that was registered before, and `g` was not; \
             there are `f`",
        );
        check(
            "f(a)",
            |worker, signature| typed(worker.cancellable("f"), signature),
            "`cancellable` is for a function that was registered before, and `f` was not",
        );
    }
}
