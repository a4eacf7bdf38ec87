//! The private directory of a socket: made, held, and removed; and those of masters that died
//! without removing theirs.
//!
//! Its master holds a lock on it as long as it lives, however it ends, so whoever can have the
//! lock of such a directory knows that nobody uses it. A process id in a name would not do: it is
//! used again, and means nothing in another container that shares the place.

use std::{
    ffi::{CStr, OsStr},
    fs::{self, Permissions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, Once},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
};
use tempfile::TempDir;

use super::guardian::{Guardian, Ward};

/// The longest path that fits into the address of a Unix socket on every system, in bytes.
const MAX_SOCKET_PATH: usize = 100;

/// The name of the socket in its directory.
pub(super) const SOCKET_NAME: &str = "s";

const PREFIX: &str = "master-";

/// Characters of randomness at the end of the name.
const RANDOM_CHARACTERS: usize = 6;

/// How often a fresh directory may be taken away by another master that looks for abandoned ones,
/// in the moment before its lock is held.
const TRIES: usize = 8;

/// How many entries of a place are looked at in search of abandoned directories. A place with
/// more is not ours to tidy, and the search is not to keep a pool waiting.
const MAX_ENTRIES: usize = 10_000;

/// A directory that only our user can enter, for the life of a pool.
pub(crate) struct PrivateDirectory {
    // Fields are dropped in order: the lock is held until the directory is gone, and until then
    // the guardian knows of it.
    directory: TempDir,
    _lock: OwnedFd,
    _ward: Ward,
}

impl PrivateDirectory {
    /// Makes one in the first place where that is possible, and where the path of a socket is
    /// short enough.
    pub(crate) fn make(guardian: &Arc<Guardian>) -> io::Result<Self> {
        let mut failures = Vec::new();
        for place in places() {
            match make_in(&place) {
                Ok((directory, lock)) => {
                    let ward = guardian.guard_directory(directory.path());
                    return Ok(Self { directory, _lock: lock, _ward: ward });
                }
                Err(error) => failures.push(format!("{}: {error}", place.display())),
            }
        }
        let tried = failures.join("; ");
        Err(io::Error::other(format!(
            "no place for the directory of the socket ({tried}); set TMPDIR to a short, writable \
             path"
        )))
    }

    /// Where the socket is to be.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET_NAME)
    }

    /// Removes it before its end.
    pub(super) fn remove(mut self) {
        let path = self.directory.path().to_owned();
        // To look for what else is in it takes longer than this, and there is nothing.
        let removed = fs::remove_file(self.socket()).and_then(|()| fs::remove_dir(&path));
        if removed.is_ok() {
            return self.directory.disable_cleanup(true);
        }
        if let Err(error) = self.directory.close() {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Where such directories may lie, the best place first.
fn places() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let mut places: Vec<PathBuf> = Vec::new();
    for place in runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn make_in(place: &Path) -> io::Result<(TempDir, OwnedFd)> {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let longest = prefix.len() + RANDOM_CHARACTERS + 2 + SOCKET_NAME.len();
    if !place.is_absolute() {
        return Err(io::Error::other("not absolute"));
    }
    // The address goes through the environment of workers in any language.
    let Some(text) = place.to_str() else { return Err(io::Error::other("not UTF-8")) };
    if text.len() > MAX_SOCKET_PATH.saturating_sub(longest) {
        return Err(io::Error::other("too long for a socket"));
    }
    for _ in 0..TRIES {
        let mut builder = tempfile::Builder::new();
        builder.permissions(Permissions::from_mode(0o700));
        let directory = builder.prefix(&prefix).rand_bytes(RANDOM_CHARACTERS).tempdir_in(place)?;
        match hold(directory.path()) {
            Ok(lock) => return Ok((directory, lock)),
            // Another master took it for an abandoned one, and removes it or has done so.
            Err(Errno::WOULDBLOCK | Errno::NOENT | Errno::STALE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("each directory made there was removed at once"))
}

/// Takes the lock of a directory that was just made, if it is still there then.
fn hold(path: &Path) -> Result<OwnedFd, Errno> {
    let lock = open(CWD, path)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(Errno::WOULDBLOCK),
        // A file system without locks has none for those who look for abandoned directories.
        Err(error) => log::debug!("cannot lock {}: {error}", path.display()),
    }
    match is_same(&lock, CWD, path)? {
        true => Ok(lock),
        false => Err(Errno::STALE),
    }
}

/// Removes what masters that were killed have left behind, once in the life of this process.
pub(super) fn remove_abandoned() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for place in places() {
            if let Err(error) = remove_abandoned_in(&place) {
                log::debug!(
                    "cannot look for abandoned directories in {}: {error}",
                    place.display()
                );
            }
        }
    });
}

fn remove_abandoned_in(place: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(place, flags, Mode::empty())?;
    for entry in Dir::read_from(&descriptor)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        if !is_named_as_ours(name.to_bytes()) {
            continue;
        }
        let shown = place.join(OsStr::from_bytes(name.to_bytes()));
        match remove_if_abandoned(descriptor.as_fd(), name) {
            Ok(true) => log::info!("removed {}, which a dead master left", shown.display()),
            Ok(false) => {}
            Err(error) => log::debug!("left {} alone: {error}", shown.display()),
        }
    }
    Ok(())
}

/// Whether it is `master-PID-XXXXXX`.
fn is_named_as_ours(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX.as_bytes()) else { return false };
    let Some(dash) = rest.iter().position(|&byte| byte == b'-') else { return false };
    let (pid, random) = (&rest[..dash], &rest[dash + 1..]);
    let is_pid = !pid.is_empty() && pid.iter().all(u8::is_ascii_digit);
    is_pid && random.len() == RANDOM_CHARACTERS && random.iter().all(u8::is_ascii_alphanumeric)
}

/// Removes a directory with nothing but a socket in it, if it is one of ours that nobody holds.
fn remove_if_abandoned(place: impl AsFd + Copy, name: &CStr) -> Result<bool, Errno> {
    let directory = match open(place, name) {
        Ok(directory) => directory,
        // A link, a file, that of another user, or gone meanwhile.
        Err(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error),
    };
    let found = rustix::fs::fstat(&directory)?;
    let ours = found.st_uid == rustix::process::geteuid().as_raw();
    if !ours || Mode::from_raw_mode(found.st_mode) != Mode::RWXU {
        return Ok(false);
    }
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(error),
    }
    // Another who looks for the same may have been faster, and the name may be in use again.
    if !is_same(&directory, place, name)? {
        return Ok(false);
    }
    let Some(has_socket) = holds_at_most_a_socket(&directory)? else { return Ok(false) };
    if has_socket {
        rustix::fs::unlinkat(&directory, SOCKET_NAME, AtFlags::empty())?;
    }
    rustix::fs::unlinkat(place, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

/// Whether there is a socket in a directory; `None` if there is anything else.
fn holds_at_most_a_socket(directory: &OwnedFd) -> Result<Option<bool>, Errno> {
    let mut has_socket = false;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name if name == SOCKET_NAME.as_bytes() => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let found = rustix::fs::statat(directory, SOCKET_NAME, flags)?;
                if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
                    return Ok(None);
                }
                has_socket = true;
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(has_socket))
}

fn open(place: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(place, path, flags, Mode::empty())
}

/// Whether what was opened is what the path leads to now.
fn is_same(
    opened: &OwnedFd,
    place: impl AsFd,
    path: impl rustix::path::Arg,
) -> Result<bool, Errno> {
    let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
    let now = rustix::fs::statat(place, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(identity(rustix::fs::fstat(opened)?) == identity(now))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn only_names_of_ours_are_looked_at() {
        for name in ["master-1-abcDE9", "master-4194304-000000"] {
            assert!(is_named_as_ours(name.as_bytes()), "{name}");
        }
        for name in [
            "master-",
            "master-1",
            "master-1-",
            "master--abcdef",
            "master-1-abcde",
            "master-1-abcdefg",
            "master-1-abcd-f",
            "master-x1-abcdef",
            "master-1-abc/ef",
            "amaster-1-abcdef",
            "master-1-abcdef ",
        ] {
            assert!(!is_named_as_ours(name.as_bytes()), "{name}");
        }
    }

    /// A place with a directory named as ours, of this mode, in which `fill` puts something.
    #[track_caller]
    fn check(mode: u32, fill: impl FnOnce(&Path), removed: bool) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("master-1-abcdef");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fill(&path);
        remove_abandoned_in(place.path()).unwrap();
        assert_eq!(!path.exists(), removed);
    }

    fn socket_in(path: &Path) {
        drop(UnixListener::bind(path.join(SOCKET_NAME)).unwrap());
    }

    #[test]
    fn what_a_dead_master_left_is_removed() {
        check(0o700, |_| {}, true);
        check(0o700, socket_in, true);
    }

    #[test]
    fn what_is_not_surely_left_by_a_master_is_not_touched() {
        check(0o755, socket_in, false);
        check(0o1700, socket_in, false);
        check(0o700, |path| fs::write(path.join(SOCKET_NAME), "a file").unwrap(), false);
        check(0o700, |path| fs::create_dir(path.join(SOCKET_NAME)).unwrap(), false);
        check(0o700, |path| symlink("/dev/null", path.join(SOCKET_NAME)).unwrap(), false);
        let other = |path: &Path| {
            socket_in(path);
            fs::write(path.join("other"), "").unwrap();
        };
        check(0o700, other, false);
        // Nor a part of it.
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("master-1-abcdef");
        fs::DirBuilder::new().create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        other(&path);
        remove_abandoned_in(place.path()).unwrap();
        assert!(path.join(SOCKET_NAME).exists());
    }

    #[test]
    fn a_link_is_not_followed() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        socket_in(elsewhere.path());
        symlink(elsewhere.path(), place.path().join("master-1-abcdef")).unwrap();
        remove_abandoned_in(place.path()).unwrap();
        assert!(elsewhere.path().join(SOCKET_NAME).exists());
    }

    #[test]
    fn what_is_held_is_not_touched() {
        let place = tempfile::tempdir().unwrap();
        let (directory, lock) = make_in(place.path()).unwrap();
        socket_in(directory.path());
        remove_abandoned_in(place.path()).unwrap();
        assert!(directory.path().join(SOCKET_NAME).exists());
        drop(lock);
        remove_abandoned_in(place.path()).unwrap();
        assert!(!directory.path().exists());
    }

    #[test]
    fn nobody_else_can_enter_it() {
        let place = tempfile::tempdir().unwrap();
        let (directory, _lock) = make_in(place.path()).unwrap();
        let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }

    #[test]
    fn a_fresh_directory_that_was_taken_away_is_not_held() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("master-1-abcdef");
        fs::create_dir(&path).unwrap();
        let other = open(CWD, &path).unwrap();
        rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(hold(&path), Err(Errno::WOULDBLOCK)));
        fs::remove_dir(&path).unwrap();
        assert!(matches!(hold(&path), Err(Errno::NOENT)));
    }

    #[test]
    fn a_place_that_will_not_do_says_why() {
        let long = format!("/tmp/{}", "a".repeat(200));
        for (place, why) in [("tmp", "not absolute"), (&long, "too long"), ("/dev/null", "")] {
            let error = make_in(Path::new(place)).unwrap_err().to_string();
            assert!(error.contains(why), "{place}: {error}");
        }
    }
}
