//! The guardian: a small process that outlives the master, to end its workers if it is killed.
//!
//! Nobody can catch SIGKILL, and a worker in any language, stopped or in the middle of a call,
//! need not notice that its master is gone. So there is one shell for all pools of a process,
//! which waits at the end of a pipe. It is told of every process group and every directory, and
//! when the pipe ends while some are still listed, it kills the groups and removes the
//! directories. In its session it is alone, so that neither Ctrl-C nor the end of a terminal
//! reaches it; and what it was told is still known here, so that another can take its place.

use std::{
    collections::HashSet,
    io::{self, PipeWriter, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{before_exec, source::Source, supervisor::Supervisor};

/// What runs the script; POSIX says that it is there.
const SHELL: &str = "/bin/sh";

/// What the guardian is called among processes: the last word of its command line. It is not the
/// first, since there are shells that take that for what they are to be.
const NAME: &str = "master-guardian";

/// Reads what there is to guard: `+ GROUP` and `- GROUP`, `d DIRECTORY` and `r DIRECTORY`. A group
/// is killed also where its processes are stopped. In a directory nothing but the socket is
/// removed, and then the directory, if it is empty.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM ALRM USR1 USR2 PIPE TSTP TTIN TTOU
PATH=/usr/bin:/bin:$PATH
groups=' '
while IFS= read -r line; do
    what=${line#??}
    case $line in
    '+ '*) groups="$groups$what " ;;
    '- '*)
        case $groups in
        *" $what "*) groups="${groups%%" $what "*} ${groups#*" $what "}" ;;
        esac ;;
    'd '*) set -- "$@" "$what" ;;
    'r '*)
        left=$#
        while [ "$left" -gt 0 ]; do
            [ "$1" = "$what" ] || set -- "$@" "$1"
            shift
            left=$((left - 1))
        done ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
for directory do
    rm -f -- "$directory/s"
    rmdir -- "$directory"
done
"#;

/// How many guardians may follow the first. Who kills that many wants none, and a shell that ends
/// at once is not tried for ever.
const MAX_SUCCESSORS: usize = 16;

/// Watches over the processes and directories of all pools of this process. The last owner ends
/// it.
#[derive(Default)]
pub(super) struct Guardian {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: HashSet<Pid>,
    directories: HashSet<PathBuf>,
    process: Option<Running>,
    /// How many were tried, whether they could be started or not.
    appointed: usize,
}

/// A guardian at work. Dropping it ends it, without harm to what it guards.
struct Running {
    shell: Child,
    /// Its standard input. The end of it is the end of the master.
    lifeline: PipeWriter,
    exit_watch: Arc<OwnedFd>,
}

/// Something that is guarded, until this is dropped.
#[must_use]
pub(super) struct Ward {
    guardian: Arc<Guardian>,
    what: Guarded,
}

enum Guarded {
    Group(Pid),
    Directory(PathBuf),
}

impl Guardian {
    /// The guardian of this process, which is no process yet if nobody else has it.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Guardian>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let guardian = Arc::default();
            *shared = Arc::downgrade(&guardian);
            guardian
        })
    }

    /// Guards a process group, which has to be released before its leader is reaped: then the
    /// number may become another's.
    pub(super) fn guard_group(self: &Arc<Self>, group: Pid) -> Ward {
        self.guard(Guarded::Group(group))
    }

    /// Guards a directory with at most a socket in it.
    pub(super) fn guard_directory(self: &Arc<Self>, directory: &Path) -> Ward {
        self.guard(Guarded::Directory(directory.to_owned()))
    }

    fn guard(self: &Arc<Self>, what: Guarded) -> Ward {
        let mut state = self.state();
        match &what {
            Guarded::Group(group) => state.groups.insert(*group),
            Guarded::Directory(directory) => state.directories.insert(directory.clone()),
        };
        state.tell(&what, true);
        Ward { guardian: Arc::clone(self), what }
    }

    /// Sees to it that a guardian is at work if there is something to guard. Gives what becomes
    /// readable when it ends.
    fn appoint(&self) -> Option<Arc<OwnedFd>> {
        let mut state = self.state();
        if let Some(running) = &mut state.process {
            match running.shell.try_wait() {
                Ok(None) => return Some(Arc::clone(&running.exit_watch)),
                Ok(Some(status)) => log::warn!("the guardian of the workers ended: {status}"),
                Err(error) => log::warn!("the guardian of the workers is out of sight: {error}"),
            }
            state.process = None;
        }
        if state.groups.is_empty() || state.appointed > MAX_SUCCESSORS {
            return None;
        }
        state.appointed += 1;
        match Running::start(&state.everything()) {
            Ok(running) => {
                log::debug!("process {} is the guardian of the workers", running.shell.id());
                let exit_watch = Arc::clone(&running.exit_watch);
                state.process = Some(running);
                Some(exit_watch)
            }
            Err(error) => {
                log::warn!(
                    "cannot start a guardian ({SHELL}): workers may stay behind if this process is \
                     killed: {error}"
                );
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// All that is guarded, as messages.
    fn everything(&self) -> String {
        let groups = self.groups.iter().copied().map(Guarded::Group);
        let directories = self.directories.iter().cloned().map(Guarded::Directory);
        groups.chain(directories).filter_map(|what| what.message(true)).collect()
    }

    /// Tells the guardian, if there is one. The pipe holds thousands of messages; a guardian that
    /// leaves them there is stopped or worse, and ended, so that another takes its place.
    fn tell(&mut self, what: &Guarded, guarded: bool) {
        let Some(running) = &mut self.process else { return };
        let Some(message) = what.message(guarded) else { return };
        if let Err(error) = running.lifeline.write_all(message.as_bytes()) {
            log::warn!("the guardian of the workers does not listen: {error}");
            // Its end is seen by whoever watches it. It may have ended by itself already.
            let _ = running.shell.kill();
        }
    }
}

impl Guarded {
    /// The line that tells that it is guarded from now on, or no more. There is none for a
    /// directory with a strange name, which the next master removes.
    fn message(&self, guarded: bool) -> Option<String> {
        match self {
            Self::Group(group) => Some(format!("{} {group}\n", if guarded { '+' } else { '-' })),
            Self::Directory(path) => {
                let path = path.to_str().filter(|path| !path.contains('\n'))?;
                Some(format!("{} {path}\n", if guarded { 'd' } else { 'r' }))
            }
        }
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let mut state = self.guardian.state();
        match &self.what {
            Guarded::Group(group) => state.groups.remove(group),
            Guarded::Directory(directory) => state.directories.remove(directory),
        };
        state.tell(&self.what, false);
    }
}

impl Running {
    /// Starts a guardian that knows of `everything` from its beginning.
    fn start(everything: &str) -> io::Result<Self> {
        let (reader, mut lifeline) = io::pipe()?;
        // Nobody is to wait for a guardian.
        rustix::io::ioctl_fionbio(&lifeline, true)?;
        lifeline.write_all(everything.as_bytes())?;
        #[expect(clippy::disallowed_methods, reason = "the guardian is the master's own process")]
        let mut builder = std::process::Command::new(SHELL);
        builder
            .args(["-c", SCRIPT, NAME])
            .current_dir("/")
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        before_exec::prepare_guardian(&mut builder);
        let mut shell = builder.spawn()?;
        match pidfd_open(Pid::from_child(&shell), PidfdFlags::empty()) {
            Ok(exit_watch) => Ok(Self { shell, lifeline, exit_watch: Arc::new(exit_watch) }),
            Err(error) => {
                // Nothing else can be done about a process that cannot be killed.
                let _ = shell.kill();
                let _ = shell.wait();
                Err(error.into())
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Before the pipe is closed, which would have it do its duty.
        if let Err(error) = self.shell.kill() {
            log::debug!("cannot end the guardian: {error}");
        }
        if let Err(error) = self.shell.wait() {
            log::debug!("cannot reap the guardian: {error}");
        }
    }
}

/// What a supervisor has of the guardian.
pub(super) struct Watch {
    pub(super) guardian: Arc<Guardian>,
    /// The exit that is watched at present.
    watched: Option<Arc<OwnedFd>>,
    /// There is something to guard, and nothing that watches over it.
    wanted: bool,
}

impl Watch {
    pub(super) fn new(guardian: Arc<Guardian>) -> Self {
        Self { guardian, watched: None, wanted: false }
    }

    /// Notes that a worker was started.
    pub(super) const fn note_start(&mut self) {
        self.wanted |= self.watched.is_none();
    }
}

impl Supervisor {
    /// Sees to it that a guardian is at work if there are workers, and that its end will be noticed.
    pub(super) fn appoint_guardian_if_wanted(&mut self) {
        if self.guard.wanted {
            self.appoint_guardian();
        }
    }

    pub(super) fn appoint_guardian(&mut self) {
        self.guard.wanted = false;
        let exit_watch = self.guard.guardian.appoint();
        if let Some(before) = self.guard.watched.take() {
            self.unwatch(before.as_raw_fd());
        }
        if let Some(exit_watch) = &exit_watch
            && let Err(error) = self.watch(exit_watch.as_raw_fd(), Source::Guardian)
        {
            log::warn!("cannot watch the guardian: {error}");
            return;
        }
        self.guard.watched = exit_watch;
    }
}
