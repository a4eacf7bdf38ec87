//! `BENCHMARKS.md`: what was measured, how to read it, and how to measure it again.

mod graph;
mod growth;
mod judged;
pub(crate) mod machine;
mod written;

pub(crate) use self::written::count;

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use integration_tests::workspace;

use self::{
    judged::Judged,
    written::{one_line, spread},
};
use crate::{context::directory, results::Run, row::Row, subject::Kind};

/// The row whose details are a table of another shape.
const GROWTH: u8 = 9;

/// How much other work, in percent, makes a run one that should be repeated.
const BUSY: u64 = 10;

/// Writes the report, and says where.
pub(crate) fn write(run: &Run, rows: &[Row]) -> Result<PathBuf, String> {
    let directory = if run.complete { workspace().join("integration-tests") } else { directory() };
    let path = directory.join("BENCHMARKS.md");
    save(&path, &text(run, rows))?;
    for row in rows.iter().filter(|row| run.has(row.number) && row.number == GROWTH) {
        save(&directory.join(growth::GRAPH), &growth::graph(run, row))?;
    }
    Ok(path)
}

fn save(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(run: &Run, rows: &[Row]) -> String {
    let mut text = String::new();
    text += "# Benchmarks\n\n";
    text += &introduction(run);
    text += "## The goals\n\n";
    text += &goals(run, rows);
    text += "## The rows\n";
    for row in rows.iter().filter(|row| run.has(row.number)) {
        text += &details(run, row);
    }
    text += "\n";
    text += &notes();
    text
}

fn introduction(run: &Run) -> String {
    let mut text = String::from(
        "The pool beside the limits of the machine and its peers, measured in one run. Written by \
         a command, from the root of the project; notes at the end are those of \
         [`benches/notes.md`](benches/notes.md):\n\n\
         ```console\n$ cargo bench -p integration-tests --bench pool\n```\n\n\
         It installs the peers below `target/peers` (it needs Python with venv, Node with npm, and \
         for GNU parallel either the program or a Debian system), measures, and writes this file. \
         `-- --only 3 --no-peers` measures one row in seconds, `-- --help` tells the rest.\n\n",
    );
    if !run.complete {
        text += "**This is not a complete run: nothing in it is to be quoted.**\n\n";
    }
    if run.others_percent > BUSY {
        let _ = write!(
            text,
            "**The machine was busy with other work for {} % of the time of its CPUs. That meets \
             all alike, but not in the same measure: repeat it on an idle one.**\n\n",
            run.others_percent
        );
    }
    text += "## The machine\n\n| | |\n|---|---|\n";
    for (heading, value) in &run.machine {
        let _ = writeln!(text, "| {heading} | {} |", one_line(value));
    }
    let others = run.others_percent;
    let _ = writeln!(text, "| other work | {others} % of the time of the CPUs during the run |");
    let _ = write!(
        text,
        "\n## How to read it\n\n\
         Figures are medians over the rounds, of which there were {}, with the smallest and the \
         largest in parentheses. In each round every limit, every peer and ours ran once, one after another, each in \
         processes of its own, so that whatever else happens on the machine meets all of them. \
         Ratios are those of the medians, in parentheses those of the single rounds; compare \
         ratios, not figures of different runs. A difference below a fifth is none. Times are \
         taken by the clock of the one who calls, so the start of an interpreter does not count, \
         except in rows about whole programs. The results of all tasks are checked, ours and \
         those of peers. Peers run with their own defaults unless a row says otherwise.\n\n\
         What blocks has to be woken, and where two CPUs are virtual and idle that costs more \
         than all the rest: a round trip takes five times as long between two of them as on one. \
         The scheduler chooses, and may choose anew in each run.\n\n",
        run.rounds
    );
    text
}

/// The table of all comparisons.
fn goals(run: &Run, rows: &[Row]) -> String {
    let mut text = String::from(
        "*Met* and *missed* are about what is asked for at least, *reached* and *not reached* \
         about what is aimed at. Under a ratio *at most* less is better.\n\n\
         | | work | ours | compared with | | ratio | asked | |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows.iter().filter(|row| run.has(row.number)) {
        let verdict = if row.subjects.is_empty() { "not there yet" } else { "" };
        let _ = writeln!(text, "| **{}** | **{}** | | | | | | {verdict} |", row.number, row.title);
        for goal in &row.goals {
            let judged = Judged::new(run, row, goal);
            let _ = writeln!(text, "{}", judged.line(goal));
        }
    }
    text + "\n"
}

fn details(run: &Run, row: &Row) -> String {
    let mut text = format!("\n### {}. {}\n\n{}\n", row.number, row.title, row.method);
    if row.subjects.is_empty() {
        return text;
    }
    text += "\n";
    text += &if row.number == GROWTH { growth::details(run, row) } else { table(run, row) };
    for subject in &row.subjects {
        for (problem, times) in run.problems(row.number, &subject.name) {
            let problem = one_line(problem);
            let rounds = run.rounds;
            // A peer that cannot is not asked again.
            let often = if subject.kind == Kind::Ours && times < rounds {
                format!(" in {times} of {rounds} rounds")
            } else {
                String::new()
            };
            let _ = write!(text, "\n{}: not measured{often}: {problem}\n", subject.name);
        }
    }
    text
}

fn table(run: &Run, row: &Row) -> String {
    let mut text = String::new();
    text += "| |";
    for column in &row.columns {
        let _ = write!(text, " {} |", column.heading);
    }
    text += "\n|---|";
    text += &"---:|".repeat(row.columns.len());
    text += "\n";
    for subject in &row.subjects {
        let name = match subject.kind {
            Kind::Limit => format!("*{}*", subject.name),
            Kind::Peer => subject.name.clone(),
            Kind::Ours => format!("**{}**", subject.name),
        };
        let _ = write!(text, "| {name} |");
        for column in &row.columns {
            let found = run.spread(row.number, &subject.name, &column.figure);
            let _ = write!(text, " {} |", found.map_or("-".into(), spread));
        }
        text += "\n";
    }
    text
}

fn notes() -> String {
    let path = workspace().join("integration-tests/benches/notes.md");
    fs::read_to_string(path).unwrap_or_default()
}
