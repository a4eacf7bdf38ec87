//! Row 10: memory, and what a task costs the pure machine.

use std::{ffi::OsString, fs, path::Path};

use integration_tests::workspace;

use crate::{
    context::Context,
    row::{Against, Row, Target, Unit},
    subject::Kind,
};

const PROGRAM: &str = "ours, master map square";
const MACHINE: &str = "ours, the pure machine";

/// Row 10.
pub(crate) fn row(context: &Context) -> Row {
    let mut row = Row::new(
        10,
        "memory",
        "The program `master` with two reference workers has printed the squares of 100,000 lines \
         and waits for more: its largest resident memory so far, and of a worker the resident \
         memory and its share (Pss: what several processes share is divided among them). Beside \
         it what a task costs the state machine that decides, without processes and sockets.",
    );
    let map = ["map", "square", "--processes", "2"];
    row.add(context.program(PROGRAM, "ours-memory", [], &map));
    let machine = context.wrapped((Kind::Ours, MACHINE), "machine", [], machine());
    row.add(machine.within(1200));
    let mebibytes = Unit::Plain("MiB");
    row.column("master_peak_mib", "master, peak, MiB", mebibytes);
    row.column("worker_resident_mib", "worker, resident, MiB", mebibytes);
    row.column("worker_share_mib", "worker, share, MiB", mebibytes);
    row.column("machine_ns", "machine, ns a task", Unit::Plain("ns"));

    let master = (PROGRAM, "master_peak_mib");
    row.least("master", master, Against::Number(20.0, "20 MiB"), Target::AtMost(1.0));
    let worker = (PROGRAM, "worker_share_mib");
    row.least("idle worker", worker, Against::Number(5.0, "5 MiB"), Target::AtMost(1.0));
    row
}

/// The measurement is among the tests of the machine, which nothing outside can reach.
fn machine() -> Result<Vec<OsString>, String> {
    const NAME: &str = "machine_cost";
    if !mentions(&workspace().join("master/src/machine"), NAME) {
        return Err("there is no such measurement yet".to_owned());
    }
    let words = ["test", "--quiet", "--release", "-p", "master", "--lib", NAME];
    let words = [env!("CARGO")].into_iter().chain(words);
    let words = words.chain(["--", "--ignored", "--nocapture"]);
    Ok(words.map(OsString::from).collect())
}

fn mentions(directory: &Path, name: &str) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return mentions(&path, name);
        }
        fs::read_to_string(&path).is_ok_and(|text| text.contains(name))
    })
}
