//! The runs that are part of this executable, which starts itself with a hidden argument.

use std::{ffi::OsString, process::ExitCode};

use crate::{
    figures::{Figures, Parameters},
    limits, ours, wrapped,
};

/// What such a run begins with.
pub(crate) const ARGUMENT: &str = "--measure";

type Run = fn(&Parameters, &[String]) -> Figures;

/// All runs, by name.
const RUNS: &[(&str, Run)] = &[
    ("limit-round-trip", limits::round_trip::run),
    ("limit-bare-pool", limits::bare_pool::run),
    ("limit-bytes", limits::bytes::run),
    ("limit-encoding", limits::encoding::run),
    ("limit-burn", limits::burn::run),
    ("ours-one-by-one", ours::tasks::one_by_one),
    ("ours-map", ours::tasks::map),
    ("ours-apply", ours::tasks::apply),
    ("ours-bytes", ours::bytes::run),
    ("ours-start", ours::start::run),
    ("ours-burn", ours::burn::run),
    ("ours-burn-python", ours::burn::python),
    ("ours-growth", ours::growth::run),
    ("ours-memory", ours::memory::run),
    ("cold", wrapped::cold),
    ("lines", wrapped::lines),
    ("all-at-once", wrapped::all_at_once),
    ("machine", wrapped::machine),
];

/// The words of a run: this executable, the hidden argument, a name and `name=value`.
pub(crate) fn words(name: &str, parameters: &str) -> Vec<OsString> {
    let this = std::env::current_exe().expect("this executable has a path");
    let mut words = vec![this.into_os_string(), ARGUMENT.into(), name.into()];
    words.extend(parameters.split_whitespace().map(OsString::from));
    words
}

/// Carries out a run and prints its figures.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let (name, words) = words.split_first().expect("a run has a name");
    // The other ends of limits are runs too, which measure nothing.
    if let Some(end) = limits::other_end(name) {
        end(&Parameters::parse(words).0);
        return ExitCode::SUCCESS;
    }
    let run = RUNS.iter().find(|(known, _)| known == name);
    let (_, run) = run.unwrap_or_else(|| panic!("there is no run `{name}`"));
    let (parameters, program) = Parameters::parse(words);
    let figures = run(&parameters, program);
    println!("{}", serde_json::to_string(&figures).expect("figures are numbers"));
    ExitCode::SUCCESS
}
