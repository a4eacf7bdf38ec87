//! Whether an executable is still the one that its command is pinned to.

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::child::{NotStarted, fault_of};
use crate::{
    command::{Checksum, WorkerCommand},
    machine::StartFault,
};

/// How much is read at a time.
const BUFFER: usize = 64 * 1024;

/// How many files are remembered; when there are more, all are forgotten. A program has a few
/// kinds of workers.
const MOST_REMEMBERED: usize = 256;

/// How long ago a file must have been changed to be remembered. Two changes within one tick of
/// the clock of a file system cannot be told apart by their times; no such clock is coarser.
const SETTLED: Duration = Duration::from_secs(2);

/// What is the same as long as nobody has changed a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = u64::try_from(self.changed.0).ok().map(Duration::from_secs);
        let changed = changed.and_then(|changed| UNIX_EPOCH.checked_add(changed + SETTLED));
        changed.is_some_and(|settled| settled < now)
    }
}

/// Refuses to start a command whose executable is not the one that it is pinned to. A file that
/// was not changed since is not read again.
///
/// The path is followed once more when the file is started, so who may replace it can do so just
/// after it was checked: this finds an executable that was updated or damaged, and is no defence
/// against somebody who may write to its directory.
pub(super) fn verify(command: &WorkerCommand) -> Result<(), NotStarted> {
    let Some(expected) = command.checksum() else { return Ok(()) };
    let found = checksum_of(command.program()).map_err(|error| NotStarted {
        fault: match error.kind() {
            io::ErrorKind::ResourceBusy => StartFault::Passing,
            _ => fault_of(&error),
        },
        error: io::Error::new(error.kind(), format!("cannot check its SHA-256: {error}")),
    })?;
    if found == expected {
        return Ok(());
    }
    let text = format!("its SHA-256 is {found}, and it is pinned to {expected}");
    Err(NotStarted { error: io::Error::other(text), fault: StartFault::Permanent })
}

/// Reads the executables that are pinned, so that the thread that starts them need not.
pub(super) fn read_ahead(commands: &[WorkerCommand]) {
    for command in commands.iter().filter(|command| command.checksum().is_some()) {
        if let Err(error) = checksum_of(command.program()) {
            // It is told when it is to be started.
            log::debug!("cannot read {}: {error}", command.program().display());
        }
    }
}

fn checksum_of(path: &Path) -> io::Result<Checksum> {
    // Something that is no file, such as a pipe, must not keep anyone waiting.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let identity = Identity::of(&metadata);
    if let Some(checksum) = remembered().get(&identity) {
        return Ok(*checksum);
    }
    let checksum = read(&mut file)?;
    // Neither the file nor the way to it may have changed meanwhile.
    let unchanged = Identity::of(&file.metadata()?) == identity
        && Identity::of(&std::fs::metadata(path)?) == identity;
    if !unchanged {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it was changed meanwhile"));
    }
    if identity.is_settled(SystemTime::now()) {
        let mut remembered = remembered();
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(identity, checksum);
    }
    Ok(checksum)
}

fn read(file: &mut File) -> io::Result<Checksum> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Checksum::from(<[u8; 32]>::from(hash.finalize()))),
            Ok(length) => hash.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The files that were read.
fn remembered() -> MutexGuard<'static, HashMap<Identity, Checksum>> {
    static REMEMBERED: LazyLock<Mutex<HashMap<Identity, Checksum>>> = LazyLock::new(Mutex::default);
    REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn check(path: &Path, expected: &str) {
        assert_eq!(checksum_of(path).unwrap().to_string(), expected);
    }

    #[test]
    fn it_is_that_of_the_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        check(&path, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        fs::write(&path, "abc").unwrap();
        check(&path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // The same size at the same moment.
        fs::write(&path, "abd").unwrap();
        check(&path, "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9");
    }

    #[test]
    fn a_file_is_remembered_once_it_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "abc").unwrap();
        let fresh = Identity::of(&fs::metadata(&path).unwrap());
        checksum_of(&path).unwrap();
        assert!(!remembered().contains_key(&fresh));
        let now = SystemTime::now();
        assert!(!fresh.is_settled(now) && fresh.is_settled(now + 2 * SETTLED));
        let old = fs::metadata("/bin/sh").unwrap();
        let checksum = checksum_of(Path::new("/bin/sh")).unwrap();
        assert_eq!(remembered().get(&Identity::of(&old)), Some(&checksum));
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        for (path, kind) in [
            ("/", io::ErrorKind::InvalidInput),
            ("/dev/zero", io::ErrorKind::InvalidInput),
            ("/nowhere", io::ErrorKind::NotFound),
        ] {
            assert_eq!(checksum_of(Path::new(path)).unwrap_err().kind(), kind, "{path}");
        }
    }
}
