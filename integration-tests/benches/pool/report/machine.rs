//! What the machine is, without what it is called.

use std::{fs, process::Command};

use integration_tests::this_process::fields;

use crate::{context::Context, peers::sources};

/// Headings and texts.
pub(crate) fn describe(context: &Context) -> Vec<(String, String)> {
    let kernel = file("/proc/sys/kernel/osrelease");
    // What stands behind the version is the name of a build.
    let kernel = kernel.split('-').next().unwrap_or_default();
    let mut all = vec![
        ("processor".to_owned(), processor(context.cpus)),
        ("memory".to_owned(), memory()),
        ("kernel".to_owned(), format!("Linux {kernel}")),
        ("Rust".to_owned(), first_line("rustc", &["--version"])),
    ];
    let mut add = |heading: &str, text: Result<String, String>| {
        let text = text.unwrap_or_else(|reason| format!("not there: {reason}"));
        all.push((heading.to_owned(), text));
    };
    let peers = &context.peers;
    add("Rust peers", peers.rust.clone().map(|_| rust_versions()));
    add("Python", peers.python.clone().map(|python| first_line(&python, &["--version"])));
    add("Python peers", peers.python.clone().map(|_| python_versions()));
    add("Node", peers.node.clone().map(|_| first_line("node", &["--version"])));
    add("Node peers", peers.node.clone().map(|_| node_versions()));
    let parallel = peers.parallel.clone();
    add("GNU parallel", parallel.map(|parallel| first_line(parallel, &["--version"])));
    add("xargs", Ok(first_line("xargs", &["--version"])));
    all
}

/// How busy the CPUs have been so far, in ticks of the system.
pub(crate) struct Busy {
    all: u64,
    busy: u64,
    ours: u64,
}

impl Busy {
    /// Until now: user, nice, system, idle, waiting for disks, interrupts (two), and what the host
    /// of a virtual machine took away.
    pub(crate) fn now() -> Self {
        let stat = file("/proc/stat");
        let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let ticks: Vec<u64> = ticks.take(8).filter_map(|ticks| ticks.parse().ok()).collect();
        let all = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        // Our own time, and that of all whom we have waited for.
        let ours = fields("/proc/self/stat", |fields| {
            fields.iter().skip(11).take(4).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
        });
        Self { all, busy: all - idle, ours: ours.unwrap_or_default() }
    }

    /// What part of the CPUs others than this run have had since, in percent.
    pub(crate) fn others_since(&self, before: &Self) -> u64 {
        let others = (self.busy - before.busy).saturating_sub(self.ours - before.ours);
        others * 100 / (self.all - before.all).max(1)
    }
}

fn processor(cpus: usize) -> String {
    let all = file("/proc/cpuinfo");
    let field = |name: &str| {
        let line = all.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| "of unknown model".to_owned());
    let is_virtual = field("flags").is_some_and(|flags| flags.contains("hypervisor"));
    format!("{model}, {cpus} CPUs{}", if is_virtual { ", virtual" } else { "" })
}

fn memory() -> String {
    let all = file("/proc/meminfo");
    let total = all.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or("unknown".to_owned(), |kib| format!("{} GiB", kib >> 20))
}

fn python_versions() -> String {
    let list = file(sources().join("python/requirements.txt"));
    list.lines().map(|line| line.replace("==", " ")).collect::<Vec<_>>().join(", ")
}

fn node_versions() -> String {
    let list = file(sources().join("node/package.json"));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap_or_default();
    let all = list["dependencies"].as_object().into_iter().flatten();
    let all = all.map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or_default()));
    all.collect::<Vec<_>>().join(", ")
}

fn rust_versions() -> String {
    let manifest = file(sources().join("rust/Cargo.toml"));
    // Those are pinned that are measured.
    let pinned = manifest.lines().filter_map(|line| line.split_once(" = \"="));
    let all = pinned.map(|(name, version)| format!("{name} {}", version.trim_end_matches('"')));
    all.collect::<Vec<_>>().join(", ")
}

fn first_line(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

fn file(path: impl AsRef<std::path::Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
