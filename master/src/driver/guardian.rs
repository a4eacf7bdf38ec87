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
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{before_exec, source::Source, supervisor::Supervisor};
use crate::machine::Time;

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

/// How long a pool for a single `apply` goes without a guardian. A short call is over by then, and to
/// start and end a shell would take a good part of the time that it takes.
const SINGLE_CALL: Duration = Duration::from_millis(3);

/// Watches over the processes and directories of all pools of this process. The last owner ends
/// it.
#[derive(Default)]
pub(crate) struct Guardian {
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
pub(crate) struct Ward {
    guardian: Arc<Guardian>,
    what: Guarded,
}

enum Guarded {
    Group(Pid),
    Directory(PathBuf),
}

impl Guardian {
    /// The guardian of this process, which is no process yet if nobody else has it.
    pub(crate) fn shared() -> Arc<Self> {
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
    pub(crate) fn guard_group(self: &Arc<Self>, group: Pid) -> Ward {
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
    pub(crate) fn appoint(&self) -> Option<Arc<OwnedFd>> {
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
    /// When one is to be appointed, because there is something to guard and nobody does.
    wanted: Option<Time>,
}

impl Watch {
    pub(super) fn new(guardian: Arc<Guardian>) -> Self {
        Self { guardian, watched: None, wanted: None }
    }

    /// Notes that a worker was started, perhaps for something that may well be short.
    pub(super) fn note_start(&mut self, time: Time, short: bool) {
        if self.watched.is_none() && self.wanted.is_none() {
            self.wanted = Some(if short { time + SINGLE_CALL } else { time });
        }
    }

    /// When one has to be appointed.
    pub(super) const fn deadline(&self) -> Option<Time> {
        self.wanted
    }
}

impl Supervisor {
    /// Sees to it that a guardian is at work if there are workers, and that its end will be noticed.
    pub(super) fn appoint_guardian_if_wanted(&mut self) {
        let time = self.time();
        if self.guard.wanted.is_some_and(|wanted| wanted <= time) {
            self.appoint_guardian();
        }
    }

    /// The guardian is gone: whoever may start processes appoints another.
    pub(super) const fn guardian_is_gone(&mut self, time: Time) {
        self.guard.wanted = Some(time);
    }

    fn appoint_guardian(&mut self) {
        self.guard.wanted = None;
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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{net::UnixListener, process::CommandExt as _},
    };

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// A process in a group of its own. It is killed when this is dropped.
    struct Sleeper(Child);

    impl Sleeper {
        #[expect(clippy::disallowed_methods, reason = "something to guard is a process")]
        fn start() -> Self {
            let mut sleep = std::process::Command::new("sleep");
            Self(sleep.arg("600").process_group(0).stdin(Stdio::null()).spawn().unwrap())
        }

        fn group(&self) -> Guarded {
            Guarded::Group(Pid::from_child(&self.0))
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Tells a guardian, and leaves it to do its duty as if this process had been killed.
    fn leave_to_guardian(before: &[&Guarded], after: &[(&Guarded, bool)]) {
        let everything: String = before.iter().filter_map(|what| what.message(true)).collect();
        let mut running = Running::start(&everything).unwrap();
        for (what, guarded) in after {
            running.lifeline.write_all(what.message(*guarded).unwrap().as_bytes()).unwrap();
        }
        let (_, other) = io::pipe().unwrap();
        drop(std::mem::replace(&mut running.lifeline, other));
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut end = [PollFd::new(&running.exit_watch, PollFlags::IN)];
        assert_eq!(poll(&mut end, Some(&limit)).unwrap(), 1, "it ends in time");
        assert!(running.shell.wait().unwrap().success());
    }

    #[test]
    fn what_is_guarded_at_the_end_is_killed_and_nothing_else() {
        let mut sleepers: Vec<_> = (0..5).map(|_| Sleeper::start()).collect();
        let groups: Vec<_> = sleepers.iter().map(Sleeper::group).collect();
        let [first, second, third, fourth, _] = &groups[..] else { panic!() };
        // The first and the third are reaped before the end, or so it is told.
        let after = [(third, true), (first, false), (fourth, true), (third, false)];
        leave_to_guardian(&[first, second], &after);
        for (index, killed) in [(1, true), (3, true)] {
            assert_eq!(sleepers[index].0.wait().unwrap().success(), !killed, "{index}");
        }
        for index in [0, 2, 4] {
            assert!(sleepers[index].0.try_wait().unwrap().is_none(), "{index} lives");
        }
    }

    #[test]
    fn directories_are_removed_if_nothing_but_a_socket_is_in_them() {
        let place = tempfile::tempdir().unwrap();
        let names = ["a b", " a  b ", "*", "-rf", "full", "released", "released", "$(x)`y`'\"\\"];
        let paths = names.map(|name| place.path().join(name));
        for path in &paths {
            if fs::create_dir(path).is_ok() {
                drop(UnixListener::bind(path.join("s")).unwrap());
            }
        }
        fs::write(place.path().join("full/other"), "").unwrap();
        let all = paths.map(Guarded::Directory);
        let before: Vec<_> = all.iter().collect();
        let after: Vec<_> = all.iter().skip(5).take(1).map(|what| (what, false)).collect();
        leave_to_guardian(&before, &after);
        let mut left: Vec<_> =
            fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["full", "released"]);
        assert!(place.path().join("released/s").exists());
        assert!(place.path().join("full/other").exists());
    }

    #[test]
    fn a_name_that_is_no_line_is_not_told() {
        assert_eq!(Guarded::Directory("/a\nb".into()).message(true), None);
        assert_eq!(Guarded::Directory("/a b".into()).message(false).unwrap(), "r /a b\n");
    }
}
