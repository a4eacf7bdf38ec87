//! Worker commands: from the text a person writes to the executable that will be started.
//!
//! Nothing here starts a process. A command line is first split into words ([`CommandLine`]),
//! then its first word is looked up once ([`CommandLine::resolve`]), in places that come in as a
//! [`SearchPath`], to give a [`WorkerCommand`] with an absolute path.

use std::{
    collections::HashSet,
    env,
    ffi::{OsStr, OsString},
    fmt,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
};

mod checksum;

pub use self::checksum::{Checksum, ParseChecksumError};

/// The command that is used when none is given.
///
/// ```
/// # use master::command::{CommandLine, DEFAULT_WORKER};
/// assert_eq!(CommandLine::default().words(), [DEFAULT_WORKER]);
/// ```
pub const DEFAULT_WORKER: &str = "worker";

/// What stands before the name of a worker whose executable is looked for by a short name.
const WORKER_PREFIX: &str = "worker-";

/// A worker command whose executable has been found.
///
/// ```
/// use master::command::{CommandLine, SearchPath};
///
/// let search = SearchPath::from_environment()?;
/// let command = CommandLine::parse("sh worker.sh")?.resolve(&search)?;
/// assert!(command.program().is_absolute());
/// assert_eq!(command.arguments(), ["worker.sh"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerCommand {
    program: PathBuf,
    arguments: Vec<String>,
    checksum: Option<Checksum>,
}

impl WorkerCommand {
    /// The absolute path of the executable. Symbolic links are left as they are, because some
    /// executables look at the name they are started by.
    ///
    /// ```
    /// # use master::command::{CommandLine, SearchPath};
    /// let command = CommandLine::parse("sh worker.sh")?.resolve(&SearchPath::from_environment()?)?;
    /// assert!(command.program().is_absolute());
    /// assert!(command.program().ends_with("sh"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The arguments, without the program itself.
    ///
    /// ```
    /// # use master::command::{CommandLine, SearchPath};
    /// let command = CommandLine::parse("sh worker.sh")?.resolve(&SearchPath::from_environment()?)?;
    /// assert_eq!(command.arguments(), ["worker.sh"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

/// The command as it could be typed into a shell.
impl fmt::Display for WorkerCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", shell_words::quote(&self.program.to_string_lossy()))?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(formatter, " {}", shell_words::quote(argument)))
    }
}

/// A command line, split into words, whose executable was not yet looked for.
///
/// ```
/// use master::command::CommandLine;
///
/// let line = CommandLine::parse("./my-worker --greeting 'good day'")?;
/// assert_eq!(line.words(), ["./my-worker", "--greeting", "good day"]);
/// # Ok::<(), master::command::ParseCommandError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandLine {
    program: String,
    words: Vec<String>,
}

/// Why a text is not a worker command.
///
/// ```
/// use master::command::{CommandLine, ParseCommandError};
///
/// assert_eq!(CommandLine::parse("sh 'worker"), Err(ParseCommandError::UnbalancedQuote));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCommandError {
    /// There is no word in it.
    #[error("the worker command is empty; name an executable, such as `worker`")]
    Empty,
    /// A quote is opened and not closed, or a backslash stands at the end.
    #[error("the worker command has a quote that is not closed")]
    UnbalancedQuote,
    /// A group is to have no workers.
    #[error("the number of workers before `*` must be at least 1")]
    NoWorkers,
    /// A group is to have more workers than can be counted.
    #[error("the number of workers before `*` is too large")]
    TooManyWorkers,
}

impl CommandLine {
    /// Splits a text into words as a POSIX shell does: quotes and backslashes count, while
    /// variables, patterns and `~` are not expanded.
    ///
    /// ```
    /// # use master::command::CommandLine;
    /// let line = CommandLine::parse("worker-python 'my tasks.py' $HOME")?;
    /// assert_eq!(line.words(), ["worker-python", "my tasks.py", "$HOME"]);
    /// # Ok::<(), master::command::ParseCommandError>(())
    /// ```
    ///
    /// # Errors
    /// [`ParseCommandError::Empty`] and [`ParseCommandError::UnbalancedQuote`].
    pub fn parse(text: &str) -> Result<Self, ParseCommandError> {
        let words = shell_words::split(text).map_err(|_| ParseCommandError::UnbalancedQuote)?;
        Self::from_words(words)
    }

    /// Takes words that are already apart, the program first.
    ///
    /// ```
    /// # use master::command::CommandLine;
    /// let line = CommandLine::from_words(["worker-python", "my tasks.py"])?;
    /// assert_eq!(line.to_string(), "worker-python 'my tasks.py'");
    /// # Ok::<(), master::command::ParseCommandError>(())
    /// ```
    ///
    /// # Errors
    /// [`ParseCommandError::Empty`] if there is no word, or the first is empty.
    pub fn from_words(
        words: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, ParseCommandError> {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self { program: program.clone(), words }),
            _ => Err(ParseCommandError::Empty),
        }
    }

    /// The words, the program first.
    ///
    /// ```
    /// # use master::command::CommandLine;
    /// let line = CommandLine::parse("sh worker.sh")?;
    /// assert_eq!(line.words(), ["sh", "worker.sh"]);
    /// # Ok::<(), master::command::ParseCommandError>(())
    /// ```
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Looks for the executable.
    ///
    /// A first word with a separator in it is a path. Any other is, in this order: an executable
    /// of that name on PATH; an executable `worker-NAME` on PATH; and, for the name `worker`
    /// alone, one that lies beside the running program.
    ///
    /// ```
    /// # use master::command::{CommandLine, SearchPath};
    /// let search = SearchPath::from_environment()?;
    /// let command = CommandLine::parse("sh")?.resolve(&search)?;
    /// assert!(command.program().is_absolute());
    /// let error = CommandLine::parse("./no-such-worker")?.resolve(&search).unwrap_err();
    /// assert!(error.to_string().contains("check the path"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ResolveError`], which names every place that was looked at.
    pub fn resolve(&self, search: &SearchPath) -> Result<WorkerCommand, ResolveError> {
        let mut not_executable = None;
        let candidates = search.candidates(&self.program);
        for candidate in &candidates {
            match executable::inspect(candidate) {
                executable::State::Executable => {
                    return Ok(WorkerCommand {
                        program: candidate.clone(),
                        arguments: self.words.iter().skip(1).cloned().collect(),
                        checksum: None,
                    });
                }
                executable::State::NotExecutable => {
                    not_executable.get_or_insert_with(|| candidate.clone());
                }
                executable::State::Absent => {}
            }
        }
        Err(ResolveError {
            name: self.program.clone(),
            candidates,
            directories: search.directories.clone(),
            beside: search.beside_for(&self.program).map(Path::to_owned),
            not_executable,
        })
    }
}

impl Default for CommandLine {
    /// The command [`DEFAULT_WORKER`].
    fn default() -> Self {
        Self { program: DEFAULT_WORKER.to_owned(), words: vec![DEFAULT_WORKER.to_owned()] }
    }
}

/// The command as it could be typed into a shell.
impl fmt::Display for CommandLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shell_words::join(&self.words))
    }
}

impl FromStr for CommandLine {
    type Err = ParseCommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Workers of one kind: a command, and how many of them there are to be.
///
/// ```
/// use master::command::WorkerGroup;
///
/// let group: WorkerGroup = "2*worker-python tasks.py".parse()?;
/// assert_eq!(group.count.map(|count| count.get()), Some(2));
/// assert_eq!(group.command.words(), ["worker-python", "tasks.py"]);
/// # Ok::<(), master::command::ParseCommandError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct WorkerGroup {
    /// How many workers; `None` leaves it to the pool.
    pub count: Option<NonZeroUsize>,
    /// What to start.
    pub command: CommandLine,
}

impl FromStr for WorkerGroup {
    type Err = ParseCommandError;

    /// Reads `COMMAND` or `N*COMMAND`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let counted = text.split_once('*').filter(|(count, _)| {
            let count = count.trim();
            !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit())
        });
        let Some((count, command)) = counted else {
            return Ok(Self { count: None, command: CommandLine::parse(text)? });
        };
        let count: usize = count.trim().parse().map_err(|_| ParseCommandError::TooManyWorkers)?;
        let count = NonZeroUsize::new(count).ok_or(ParseCommandError::NoWorkers)?;
        Ok(Self { count: Some(count), command: CommandLine::parse(command)? })
    }
}

/// Where executables are looked for.
///
/// ```
/// # use master::command::{CommandLine, SearchPath};
/// # use std::path::Path;
/// let search = SearchPath::new("/usr/bin:/bin".as_ref(), Path::new("/"), None);
/// let error = CommandLine::parse("no-such-worker")?.resolve(&search).unwrap_err();
/// assert_eq!(error.candidates()[0], Path::new("/usr/bin/no-such-worker"));
/// # Ok::<(), master::command::ParseCommandError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath {
    /// The directories on PATH, in order, all of them absolute.
    directories: Vec<PathBuf>,
    /// What relative paths start from.
    current_directory: PathBuf,
    /// The default worker that would lie beside the running program.
    beside: Option<PathBuf>,
}

impl SearchPath {
    /// The search path of this process.
    ///
    /// ```
    /// # use master::command::{CommandLine, SearchPath};
    /// let search = SearchPath::from_environment()?;
    /// assert!(CommandLine::parse("sh")?.resolve(&search).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the current directory cannot be told, because it was removed, for example.
    pub fn from_environment() -> std::io::Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        // Without a path of its own a program can still use the workers on PATH.
        let running = env::current_exe().ok();
        Ok(Self::new(&path, &env::current_dir()?, running.as_deref()))
    }

    /// A search path from the value of PATH, the current directory, and the path of the running
    /// program if it is known. As in POSIX an empty entry of PATH is the current directory; an
    /// empty PATH has no entries.
    ///
    /// ```
    /// # use master::command::{CommandLine, SearchPath};
    /// # use std::path::Path;
    /// // The empty entry and `.` are the same directory.
    /// let search = SearchPath::new(":.:/bin".as_ref(), Path::new("/home"), None);
    /// let error = CommandLine::parse("no-such-worker")?.resolve(&search).unwrap_err();
    /// assert_eq!(error.candidates()[0], Path::new("/home/no-such-worker"));
    /// assert_eq!(error.candidates()[1], Path::new("/bin/no-such-worker"));
    /// # Ok::<(), master::command::ParseCommandError>(())
    /// ```
    pub fn new(path: &OsStr, current_directory: &Path, running: Option<&Path>) -> Self {
        let mut seen = HashSet::new();
        let directories = match path.is_empty() {
            true => Vec::new(),
            false => env::split_paths(path)
                .map(|directory| absolute(current_directory, &directory))
                .filter(|directory| seen.insert(directory.clone()))
                .collect(),
        };
        let default_name = format!("{DEFAULT_WORKER}{}", env::consts::EXE_SUFFIX);
        let beside = running.and_then(Path::parent).map(|parent| parent.join(default_name));
        Self { directories, current_directory: current_directory.to_owned(), beside }
    }

    /// Every worker that a command could name without a path: the executables on PATH called
    /// `worker` or `worker-*`, in the order of PATH and by name within a directory, then the one
    /// beside the running program.
    ///
    /// ```
    /// # use master::command::SearchPath;
    /// # use std::path::Path;
    /// # let worker = integration_tests::library::worker();
    /// let directory = worker.program().parent().expect("it lies in a directory");
    /// let found = SearchPath::new(directory.as_ref(), Path::new("/"), None).find_workers();
    /// assert!(found.iter().any(|found| found.path == worker.program()));
    /// ```
    pub fn find_workers(&self) -> Vec<FoundWorker> {
        let on_path = self.directories.iter().flat_map(|directory| worker_files(directory));
        let mut names: HashSet<OsString> = HashSet::new();
        let mut paths: HashSet<PathBuf> = HashSet::new();
        on_path
            .chain(self.beside.clone())
            .filter(|path| paths.insert(path.clone()))
            .filter(|path| executable::inspect(path) == executable::State::Executable)
            .map(|path| {
                let name = path.file_name().unwrap_or_default().to_owned();
                FoundWorker { shadowed: !names.insert(name), path }
            })
            .collect()
    }

    /// The paths that a name may stand for, in the order in which they are tried.
    fn candidates(&self, name: &str) -> Vec<PathBuf> {
        if is_path(name) {
            return vec![absolute(&self.current_directory, Path::new(name))];
        }
        let prefixed = format!("{WORKER_PREFIX}{name}");
        let mut candidates: Vec<PathBuf> = [name, &prefixed]
            .into_iter()
            .map(|name| format!("{name}{}", env::consts::EXE_SUFFIX))
            .flat_map(|name| self.directories.iter().map(move |entry| entry.join(&name)))
            .collect();
        candidates.extend(self.beside_for(name).map(Path::to_owned));
        candidates
    }

    fn beside_for(&self, name: &str) -> Option<&Path> {
        self.beside.as_deref().filter(|_| name == DEFAULT_WORKER)
    }
}

/// An executable that is called like a worker. Whether it is one is not known.
///
/// ```
/// # use master::command::SearchPath;
/// # use std::path::Path;
/// # let worker = integration_tests::library::worker();
/// let directory = worker.program().parent().expect("it lies in a directory");
/// // Nothing stands before a directory that is the only one.
/// let found = SearchPath::new(directory.as_ref(), Path::new("/"), None).find_workers();
/// assert!(found.iter().all(|found| !found.shadowed));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundWorker {
    /// Its absolute path.
    pub path: PathBuf,
    /// Another of the same name comes before it, so that only its path reaches this one.
    pub shadowed: bool,
}

/// The executable of a worker command was not found.
///
/// ```
/// # use master::command::{CommandLine, SearchPath};
/// let command = CommandLine::parse("./no-such-worker")?;
/// let error = command.resolve(&SearchPath::from_environment()?).unwrap_err();
/// assert!(error.to_string().starts_with("no executable for the worker command"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveError {
    name: String,
    candidates: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    beside: Option<PathBuf>,
    not_executable: Option<PathBuf>,
}

impl ResolveError {
    /// Every path that was looked at, in order.
    ///
    /// ```
    /// # use master::command::{CommandLine, SearchPath};
    /// # use std::path::Path;
    /// let search = SearchPath::new("/bin".as_ref(), Path::new("/"), None);
    /// let error = CommandLine::parse("nothing")?.resolve(&search).unwrap_err();
    /// assert_eq!(error.candidates(), [Path::new("/bin/nothing"), Path::new("/bin/worker-nothing")]);
    /// # Ok::<(), master::command::ParseCommandError>(())
    /// ```
    pub fn candidates(&self) -> &[PathBuf] {
        &self.candidates
    }

    /// The first of them that is a file, but not one that we may execute.
    ///
    /// ```
    /// # use master::command::{CommandLine, SearchPath};
    /// # use std::path::Path;
    /// let search = SearchPath::new("/bin".as_ref(), Path::new("/"), None);
    /// let error = CommandLine::parse("/etc/passwd")?.resolve(&search).unwrap_err();
    /// assert_eq!(error.not_executable(), Some(Path::new("/etc/passwd")));
    /// # Ok::<(), master::command::ParseCommandError>(())
    /// ```
    pub fn not_executable(&self) -> Option<&Path> {
        self.not_executable.as_deref()
    }
}

impl std::error::Error for ResolveError {}

impl fmt::Display for ResolveError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        write!(formatter, "no executable for the worker command `{name}`: ")?;
        match &self.candidates[..] {
            [path] if is_path(name) => write!(formatter, "tried {}", path.display())?,
            _ => self.write_search(formatter)?,
        }
        if let Some(found) = &self.not_executable {
            let quoted = shell_words::quote(&found.to_string_lossy()).into_owned();
            return write!(
                formatter,
                "; {} was found but is not executable, try: chmod +x {quoted}",
                found.display()
            );
        }
        match is_path(name) {
            true => formatter.write_str("; check the path, or name a worker that is on PATH"),
            false => write!(
                formatter,
                "; put it into a directory on PATH or give its path, such as ./{name} \
                 (`master workers` lists the workers on PATH)"
            ),
        }
    }
}

impl ResolveError {
    fn write_search(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.directories[..] {
            [] => formatter.write_str("PATH is empty")?,
            directories => {
                write!(
                    formatter,
                    "looked for `{name}` and then `{WORKER_PREFIX}{name}` on PATH ("
                )?;
                for (index, directory) in directories.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(formatter, "{separator}{}", directory.display())?;
                }
                formatter.write_str(")")?;
            }
        }
        match &self.beside {
            Some(beside) => write!(formatter, ", and for {}", beside.display()),
            None => Ok(()),
        }
    }
}

fn is_path(name: &str) -> bool {
    name.contains(std::path::is_separator)
}

/// Goes through the components, so that `./worker` leaves no `.` behind; `..` stays, because
/// what it means depends on symbolic links.
fn absolute(current_directory: &Path, path: &Path) -> PathBuf {
    current_directory.join(path).components().collect()
}

/// The files of a directory that are called like a worker, by name. A directory on PATH that
/// does not exist or cannot be read holds none, as for a shell.
fn worker_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.strip_suffix(env::consts::EXE_SUFFIX).unwrap_or(&name);
            name == DEFAULT_WORKER || name.starts_with(WORKER_PREFIX)
        })
        .collect();
    files.sort();
    files
}

mod executable {
    use std::path::Path;

    /// What is found at a path where an executable may be.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum State {
        /// A file that this process may execute.
        Executable,
        /// A file that it may not execute.
        NotExecutable,
        /// No file: nothing, a directory, or something that cannot be looked at.
        Absent,
    }

    pub(super) fn inspect(path: &Path) -> State {
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => match may_execute(path) {
                true => State::Executable,
                false => State::NotExecutable,
            },
            _ => State::Absent,
        }
    }

    #[cfg(unix)]
    fn may_execute(path: &Path) -> bool {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    }

    #[cfg(not(unix))]
    fn may_execute(_: &Path) -> bool {
        true
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
