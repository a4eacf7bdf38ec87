//! Looking up executables in directories made for the purpose.

use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;

use super::*;

#[track_caller]
fn check_words(text: &str, expected: Result<&[&str], ParseCommandError>) {
    let words = CommandLine::parse(text).map(|line| line.words().to_vec());
    assert_eq!(words, expected.map(|words| words.iter().map(|&word| word.to_owned()).collect()));
}

#[test]
fn a_command_is_split_as_a_shell_does() {
    check_words("worker", Ok(&["worker"]));
    check_words("  worker-python   tasks.py ", Ok(&["worker-python", "tasks.py"]));
    check_words(r#"'/my worker' "a b" c\ d ''"#, Ok(&["/my worker", "a b", "c d", ""]));
    check_words("$HOME/worker *", Ok(&["$HOME/worker", "*"]));
    check_words("", Err(ParseCommandError::Empty));
    check_words(" \t\n", Err(ParseCommandError::Empty));
    check_words("'' argument", Err(ParseCommandError::Empty));
    check_words("worker 'tasks.py", Err(ParseCommandError::UnbalancedQuote));
    check_words("worker \"tasks.py", Err(ParseCommandError::UnbalancedQuote));
}

#[track_caller]
fn check_group(text: &str, expected: Result<(Option<usize>, &str), ParseCommandError>) {
    let group = text.parse::<WorkerGroup>();
    let group = group.map(|group| (group.count.map(NonZeroUsize::get), group.command.to_string()));
    assert_eq!(group, expected.map(|(count, command)| (count, command.to_owned())));
}

#[test]
fn a_group_may_begin_with_a_count() {
    check_group("worker", Ok((None, "worker")));
    check_group("2*worker-python tasks.py", Ok((Some(2), "worker-python tasks.py")));
    check_group("12 * ./w", Ok((Some(12), "./w")));
    check_group("*worker", Ok((None, "'*worker'")));
    check_group("worker 2*3", Ok((None, "worker '2*3'")));
    check_group("0*worker", Err(ParseCommandError::NoWorkers));
    check_group("99999999999999999999*worker", Err(ParseCommandError::TooManyWorkers));
    check_group("2*", Err(ParseCommandError::Empty));
    check_group("2*'worker", Err(ParseCommandError::UnbalancedQuote));
}

/// A directory with two more in it for PATH, and one for the running program.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        for name in ["first", "second", "program"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn with(self, name: &str, mode: u32) -> Self {
        fs::write(self.path(name), "").unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn search(&self, directories: &[&str]) -> SearchPath {
        let directories = directories.iter().map(|&name| match name {
            "" => PathBuf::new(),
            name => self.path(name),
        });
        let path = env::join_paths(directories).unwrap();
        SearchPath::new(&path, self.root.path(), Some(&self.path("program/master")))
    }

    #[track_caller]
    fn check(&self, command: &str, expected: &str) {
        let line = CommandLine::parse(command).unwrap();
        let found = line.resolve(&self.search(&["first", "second"])).unwrap();
        assert_eq!(found.program(), self.path(expected), "{command}");
    }

    #[track_caller]
    fn error(&self, command: &str) -> ResolveError {
        let line = CommandLine::parse(command).unwrap();
        line.resolve(&self.search(&["first", "second"])).unwrap_err()
    }
}

#[test]
fn a_name_is_looked_up_on_path_in_order() {
    let place = Place::new()
        .with("first/both", 0o755)
        .with("second/both", 0o755)
        .with("second/worker-both", 0o755)
        .with("first/worker-python", 0o755)
        .with("second/worker-late", 0o755)
        .with("second/late", 0o755);
    place.check("both", "first/both");
    place.check("python tasks.py", "first/worker-python");
    place.check("worker-python", "first/worker-python");
    place.check("late", "second/late");
}

#[test]
fn the_default_worker_may_lie_beside_the_program() {
    let place = Place::new().with("program/worker", 0o755).with("program/other", 0o755);
    place.check("worker", "program/worker");
    place.error("other");
    let place = place.with("second/worker", 0o755);
    place.check("worker", "second/worker");
}

#[test]
fn a_word_with_a_separator_is_a_path() {
    let place = Place::new().with("mine", 0o755).with("first/worker", 0o755);
    place.check("./mine", "mine");
    place.check("first/./worker", "first/worker");
    place.check(&place.path("mine").display().to_string(), "mine");
    let error = place.error("./worker");
    assert_eq!(error.candidates(), [place.path("worker")]);
    assert!(error.to_string().contains("check the path"), "{error}");
}

#[test]
fn a_symbolic_link_stays_as_it_is() {
    let place = Place::new().with("program/many-in-one", 0o755);
    std::os::unix::fs::symlink(place.path("program/many-in-one"), place.path("first/short"))
        .unwrap();
    place.check("short", "first/short");
    std::os::unix::fs::symlink(place.path("nowhere"), place.path("first/dangling")).unwrap();
    place.error("dangling");
}

#[test]
fn an_empty_entry_of_path_is_the_current_directory() {
    let place = Place::new().with("here", 0o755);
    let line = CommandLine::parse("here").unwrap();
    for directories in [&["first", "", "second"][..], &["", "first"], &["first", ""]] {
        let found = line.resolve(&place.search(directories)).unwrap();
        assert_eq!(found.program(), place.path("here"));
    }
    let empty = SearchPath::new(OsStr::new(""), place.root.path(), None);
    let error = line.resolve(&empty).unwrap_err();
    assert!(error.to_string().contains("PATH is empty"), "{error}");
    assert_eq!(empty.find_workers(), []);
}

#[test]
fn what_is_not_executable_is_passed_over_and_remembered() {
    let place = Place::new().with("first/tool", 0o644).with("second/tool", 0o755);
    place.check("tool", "second/tool");
    let place = place.with("first/text file", 0o644);
    fs::create_dir(place.path("second/directory")).unwrap();
    assert_eq!(place.error("directory").not_executable(), None);
    let error = place.error("'text file'");
    assert_eq!(error.not_executable(), Some(&*place.path("first/text file")));
    let advice = format!("try: chmod +x '{}'", place.path("first/text file").display());
    assert!(error.to_string().ends_with(&advice), "{error}");
}

#[test]
fn an_error_names_every_place() {
    let place = Place::new();
    let root = place.root.path().display();
    assert_eq!(
        place.error("worker --flag").to_string(),
        format!(
            "no executable for the worker command `worker`: looked for `worker` and then \
             `worker-worker` on PATH ({root}/first, {root}/second), and for \
             {root}/program/worker; put it into a directory on PATH or give its path, such as \
             ./worker (`master workers` lists the workers on PATH)"
        )
    );
    assert_eq!(
        place.error("thing").candidates(),
        ["first/thing", "second/thing", "first/worker-thing", "second/worker-thing"]
            .map(|name| place.path(name))
    );
}

#[test]
fn workers_are_listed_in_the_order_of_path() {
    let place = Place::new()
        .with("first/worker-b", 0o755)
        .with("first/worker-a", 0o755)
        .with("first/worker-c", 0o644)
        .with("first/worker.txt", 0o755)
        .with("first/workers", 0o755)
        .with("second/worker-a", 0o755)
        .with("second/worker-c", 0o755)
        .with("second/worker", 0o755)
        .with("program/worker", 0o755);
    fs::create_dir(place.path("second/worker-directory")).unwrap();
    let found: Vec<_> = place
        .search(&["first", "missing", "second", "first"])
        .find_workers()
        .into_iter()
        .map(|worker| (worker.path, worker.shadowed))
        .collect();
    let expected = [
        ("first/worker-a", false),
        ("first/worker-b", false),
        ("second/worker", false),
        ("second/worker-a", true),
        ("second/worker-c", false),
        ("program/worker", true),
    ];
    assert_eq!(found, expected.map(|(name, shadowed)| (place.path(name), shadowed)));
}

#[test]
fn a_command_is_shown_as_it_can_be_typed() {
    let place = Place::new().with("first/my worker", 0o755);
    let line = CommandLine::parse("'my worker' -x 'a b'").unwrap();
    let command = line.resolve(&place.search(&["first"])).unwrap();
    let path = place.path("first/my worker");
    assert_eq!(command.to_string(), format!("'{}' -x 'a b'", path.display()));
    assert_eq!(command.arguments(), ["-x", "a b"]);
}
