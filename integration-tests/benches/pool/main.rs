//! Measures the pool beside the limits of the machine and its peers, and writes `BENCHMARKS.md`.
//!
//! `cargo bench -p integration-tests --bench pool` does everything; `-- --help` tells how to
//! measure less. It asserts nothing about times: what it compares was measured in the same run,
//! one after another in every round, each in processes of its own.
//!
//! In reading order:
//! - [`options`]: the command line;
//! - [`row`]: what a row of the table is: subjects to measure and goals to compare;
//! - [`rows`]: the rows themselves;
//! - [`subject`]: one run of one subject, as a process with a time limit;
//! - [`results`]: what came out, over the rounds;
//! - [`peers`]: installs the peers;
//! - [`measure`]: the runs that are part of this executable: [`limits`], [`ours`], and
//!   [`wrapped`] programs;
//! - [`report`]: writes `BENCHMARKS.md`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reports on its terminal, and a run that goes wrong ends by a panic"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "it reads the clock, starts programs, and shares nothing with what it measures"
)]

mod context;
mod figures;
mod limits;
mod measure;
mod options;
mod ours;
mod peers;
mod report;
mod results;
mod row;
mod rows;
mod subject;
mod wrapped;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == measure::ARGUMENT) {
        return measure::main(&words[1..]);
    }
    // `cargo test --benches` runs it without.
    let (bench, words): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| word == "--bench");
    if bench.is_empty() && words.is_empty() {
        println!("nothing is measured unless `cargo bench` asks for it");
        return ExitCode::SUCCESS;
    }
    match options::Options::parse(&words) {
        Ok(Some(options)) => run(&options),
        Ok(None) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}\n{}", options::HELP);
            ExitCode::from(2)
        }
    }
}

fn run(options: &options::Options) -> ExitCode {
    let (run, rows) = if options.report_only {
        (results::Run::load(), rows::all(&context::Context::unprepared()))
    } else {
        let context = context::Context::prepare(options);
        let rows = rows::all(&context);
        let run = results::Run::measure(options, &context, &rows);
        (run.save().map(|()| run), rows)
    };
    match run.and_then(|run| report::write(&run, &rows)) {
        Ok(path) => {
            println!("\nwritten: {}", path.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
