//! Starts a process without a fork, where nothing has to be done in the child but what the system
//! does by itself.
//!
//! A fork copies the tables of all memory of this program, whatever the size of the child: with
//! 200 MiB it takes some 10 ms, for which the loop stands still, and afterwards each thread pays
//! for each page that it writes to. A spawn shares the memory until the child becomes another
//! program, so it takes as long in a program of any size. But it can set no limits.

#![expect(unsafe_code, reason = "the standard library cannot have a spawn close descriptors")]

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, OsStr, OsString},
    io::{self, PipeReader, PipeWriter},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    process::{ChildStderr, ChildStdout, Command},
    ptr,
    sync::LazyLock,
};

use libc::{c_char, c_int, posix_spawn_file_actions_t, posix_spawnattr_t};
use rustix::process::Pid;

/// The first descriptor that is none of the three standard ones.
const FIRST: c_int = 3;

/// What was started, and what it writes to, unless that is our own standard output and error.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

/// Starts what `command` says, as the leader of a process group of its own, with nothing to read
/// and with no descriptor beyond the standard ones. Without `inherits` it has no environment but
/// what the command sets.
///
/// What the command says of its streams and its group cannot be read, and has to be the same.
/// Where this fails, a fork of the same command may succeed, or says why not.
pub(super) fn spawn(command: &Command, inherits: bool, own_output: bool) -> io::Result<Spawned> {
    let Some(calls) = &*CALLS else { return Err(io::ErrorKind::Unsupported.into()) };
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let program = text(command.get_program())?;
    let arguments = [Ok(program.clone())].into_iter().chain(command.get_args().map(text));
    let arguments: Vec<_> = arguments.collect::<io::Result<_>>()?;
    let environment = environment(command, inherits)?;

    let mut actions = Actions::new()?;
    actions.open_nothing(0)?;
    let pipe = |descriptor: c_int, actions: &mut Actions| -> io::Result<_> {
        let (reader, writer) = io::pipe()?;
        actions.duplicate(&writer, descriptor)?;
        Ok((reader, writer))
    };
    let pipes = match own_output {
        true => Some((pipe(1, &mut actions)?, pipe(2, &mut actions)?)),
        false => None,
    };
    let directory = command.get_current_dir().map(|path| text(path.as_os_str())).transpose()?;
    if let Some(directory) = &directory {
        // SAFETY: the actions are initialized, and the text is copied.
        check(unsafe { (calls.add_chdir)(&raw mut actions.0, directory.as_ptr()) })?;
    }
    // SAFETY: the actions are initialized.
    check(unsafe { (calls.add_close_from)(&raw mut actions.0, FIRST) })?;
    let attributes = Attributes::new()?;

    let (arguments, environment) = (pointers(&arguments), pointers(&environment));
    let mut pid = 0;
    // SAFETY: everything is initialized and outlives the call; both lists end with a null.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    })?;
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("the process has no valid id"))?;
    let (stdout, stderr) = pipes.map(|((stdout, _), (stderr, _))| (stdout, stderr)).unzip();
    let descriptor = |reader: PipeReader| OwnedFd::from(reader);
    Ok(Spawned {
        pid,
        stdout: stdout.map(descriptor).map(ChildStdout::from),
        stderr: stderr.map(descriptor).map(ChildStderr::from),
    })
}

/// All variables that the child is to have, as `NAME=value`.
fn environment(command: &Command, inherits: bool) -> io::Result<Vec<CString>> {
    let mut all: BTreeMap<OsString, OsString> = BTreeMap::new();
    if inherits {
        all.extend(std::env::vars_os());
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => all.insert(name.to_owned(), value.to_owned()),
            None => all.remove(name),
        };
    }
    let join = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        Ok(CString::new(name.as_bytes())?)
    };
    all.into_iter().map(join).collect()
}

fn pointers(texts: &[CString]) -> Vec<*mut c_char> {
    let texts = texts.iter().map(|text| text.as_ptr().cast_mut());
    texts.chain([ptr::null_mut()]).collect()
}

fn check(error: c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// What is done in the child, in this order.
struct Actions(posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given, unless it fails.
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Self(actions.assume_init()))
        }
    }

    /// Has it read nothing there.
    fn open_nothing(&mut self, descriptor: c_int) -> io::Result<()> {
        let (path, mode) = (c"/dev/null".as_ptr(), libc::O_RDONLY);
        // SAFETY: the actions are initialized, and the text is copied.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.0, descriptor, path, mode, 0)
        })
    }

    /// Gives it this pipe as that descriptor.
    fn duplicate(&mut self, pipe: &PipeWriter, descriptor: c_int) -> io::Result<()> {
        // Where a standard one was closed, a pipe may have its number, and be lost to another.
        if pipe.as_raw_fd() < FIRST {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let from = pipe.as_raw_fd();
        // SAFETY: the actions are initialized.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, descriptor) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: they were initialized.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// What the child is: the leader of a group, with no signal blocked, and with the default for
/// SIGPIPE, which programs in Rust ignore. So the standard library does it.
struct Attributes(posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        let mut signals = MaybeUninit::uninit();
        let flags = libc::POSIX_SPAWN_SETPGROUP
            | libc::POSIX_SPAWN_SETSIGDEF
            | libc::POSIX_SPAWN_SETSIGMASK;
        // SAFETY: each is initialized, by a call that fails otherwise, before it is used.
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut attributes = Self(attributes.assume_init());
            let this = &raw mut attributes.0;
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(this, signals.as_ptr()))?;
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(this, signals.as_ptr()))?;
            check(libc::posix_spawnattr_setpgroup(this, 0))?;
            check(libc::posix_spawnattr_setflags(this, flags as libc::c_short))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they were initialized.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// Calls that not every C library has: those of glibc are of 2019 and 2021.
struct Calls {
    add_chdir: unsafe extern "C" fn(*mut posix_spawn_file_actions_t, *const c_char) -> c_int,
    add_close_from: unsafe extern "C" fn(*mut posix_spawn_file_actions_t, c_int) -> c_int,
}

static CALLS: LazyLock<Option<Calls>> = LazyLock::new(|| {
    // SAFETY: it only looks a name up.
    let find = |name: &CStr| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    let add_chdir = find(c"posix_spawn_file_actions_addchdir_np");
    let add_close_from = find(c"posix_spawn_file_actions_addclosefrom_np");
    if add_chdir.is_null() || add_close_from.is_null() {
        return None;
    }
    // SAFETY: the functions of these names have these types, wherever there are any.
    unsafe {
        Some(Calls {
            add_chdir: std::mem::transmute::<
                *mut libc::c_void,
                unsafe extern "C" fn(*mut posix_spawn_file_actions_t, *const c_char) -> c_int,
            >(add_chdir),
            add_close_from: std::mem::transmute::<
                *mut libc::c_void,
                unsafe extern "C" fn(*mut posix_spawn_file_actions_t, c_int) -> c_int,
            >(add_close_from),
        })
    }
});
