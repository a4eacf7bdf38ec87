//! Who else is in a process group.

use rustix::process::Pid;

/// Whether anybody but its leader runs in this process group, as far as the system tells. The leader
/// may have ended, but not been reaped, so that the number is its own.
#[cfg(target_os = "linux")]
pub(super) fn has_company(leader: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let group = leader.as_raw_pid().to_string();
    processes.flatten().any(|process| {
        let name = process.file_name();
        let is_other = name
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && name != group);
        is_other && is_in(&process.path().join("stat"), &group)
    })
}

/// Whether a process is of this group and has not ended.
#[cfg(target_os = "linux")]
fn is_in(stat: &std::path::Path, group: &str) -> bool {
    let Ok(stat) = std::fs::read(stat) else { return false };
    // The name of the program, which may hold anything, is in parentheses before all this.
    let Some(end) = stat.iter().rposition(|&byte| byte == b')') else { return false };
    let fields = String::from_utf8_lossy(stat.get(end + 1..).unwrap_or_default()).into_owned();
    let mut fields = fields.split_ascii_whitespace();
    let (state, of) = (fields.next(), fields.nth(1));
    of == Some(group) && !matches!(state, Some("Z" | "X"))
}

/// Elsewhere nobody tells.
#[cfg(not(target_os = "linux"))]
pub(super) const fn has_company(_: Pid) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command};

    use super::*;

    #[test]
    fn who_runs_in_a_group_is_found() {
        #[expect(clippy::disallowed_methods, reason = "a process group is what is looked at")]
        let mut command = Command::new("sleep");
        let mut leader = command.arg("600").process_group(0).spawn().unwrap();
        let group = Pid::from_child(&leader);
        assert!(!has_company(group));
        #[expect(clippy::disallowed_methods, reason = "a process group is what is looked at")]
        let mut command = Command::new("sleep");
        let mut other = command.arg("600").process_group(group.as_raw_pid()).spawn().unwrap();
        assert!(has_company(group));
        leader.kill().unwrap();
        assert!(has_company(group), "its leader is no company");
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!has_company(group));
        leader.wait().unwrap();
    }
}
