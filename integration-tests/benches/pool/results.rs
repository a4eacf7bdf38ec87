//! What came out of the runs, round by round.

use std::{collections::BTreeMap, fs};

use serde::{Deserialize, Serialize};

use crate::{
    context::{Context, directory},
    figures::median,
    options::Options,
    report::machine,
    row::Row,
    subject::{Kind, Subject},
};

/// All that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Whether it is what is to be quoted.
    pub(crate) complete: bool,
    /// How many rounds there were.
    pub(crate) rounds: usize,
    /// The numbers of the rows that were asked for.
    rows: Vec<u8>,
    /// What the machine is, and the versions of what ran on it: headings and texts.
    pub(crate) machine: Vec<(String, String)>,
    /// What part of the CPUs others had meanwhile.
    pub(crate) others_percent: u64,
    /// By row, then by subject.
    measured: BTreeMap<u8, BTreeMap<String, Measured>>,
}

/// What came out for one subject.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Measured {
    /// The values of each figure, in the order of the rounds.
    figures: BTreeMap<String, Vec<f64>>,
    /// What went wrong.
    problems: Vec<String>,
}

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The one in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Run {
    /// Measures every subject once in every round.
    pub(crate) fn measure(options: &Options, context: &Context, rows: &[Row]) -> Self {
        let mut run = Self {
            complete: options.complete(),
            rounds: options.rounds,
            rows: rows.iter().map(|row| row.number).filter(|row| options.wants(*row)).collect(),
            machine: machine::describe(context),
            others_percent: 0,
            measured: BTreeMap::new(),
        };
        let before = machine::Busy::now();
        for round in 1..=options.rounds {
            for row in rows.iter().filter(|row| options.wants(row.number)) {
                println!("round {round} of {}, row {}: {}", options.rounds, row.number, row.title);
                for subject in &row.subjects {
                    run.take(row.number, subject);
                }
            }
        }
        run.others_percent = machine::Busy::now().others_since(&before);
        run
    }

    fn take(&mut self, row: u8, subject: &Subject) {
        let measured = self.measured.entry(row).or_default().entry(subject.name.clone());
        let measured = measured.or_default();
        // A peer that cannot is not asked again. What is ours has to work each time.
        if subject.kind != Kind::Ours && !measured.problems.is_empty() {
            return;
        }
        match subject.run() {
            Ok(figures) => {
                let shown = figures.iter().map(|(name, value)| format!("{name} {value:.1}"));
                let shown: Vec<_> = shown.take(6).collect();
                println!("  {}: {}", subject.name, shown.join(", "));
                for (name, value) in figures {
                    measured.figures.entry(name).or_default().push(value);
                }
            }
            Err(problem) => {
                println!("  {}: not measured: {problem}", subject.name);
                measured.problems.push(problem);
            }
        }
    }

    /// What went wrong with a subject, and how often.
    pub(crate) fn problems(&self, row: u8, subject: &str) -> BTreeMap<&str, usize> {
        let mut all = BTreeMap::new();
        for problem in self.measured(row, subject).into_iter().flat_map(|of| &of.problems) {
            *all.entry(problem.as_str()).or_default() += 1;
        }
        all
    }

    /// What came out for a subject, if its row was measured.
    fn measured(&self, row: u8, subject: &str) -> Option<&Measured> {
        self.measured.get(&row)?.get(subject)
    }

    /// The values of a figure, in the order of the rounds.
    pub(crate) fn values(&self, row: u8, subject: &str, figure: &str) -> Option<&[f64]> {
        Some(self.measured(row, subject)?.figures.get(figure)?)
    }

    /// Whether a row was asked for.
    pub(crate) fn has(&self, row: u8) -> bool {
        self.rows.contains(&row)
    }

    /// A figure of a subject.
    pub(crate) fn spread(&self, row: u8, subject: &str, figure: &str) -> Option<Spread> {
        let values = self.values(row, subject, figure)?;
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        Some(Spread { median: median(values), min, max })
    }

    /// Keeps it, so that the report can be written again.
    pub(crate) fn save(&self) -> Result<(), String> {
        let name = if self.complete { "complete.json" } else { "partial.json" };
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(directory().join(name), text).map_err(|error| error.to_string())
    }

    /// The last complete one.
    pub(crate) fn load() -> Result<Self, String> {
        let text = fs::read_to_string(directory().join("complete.json"))
            .map_err(|error| format!("there is no complete run: {error}"))?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}
