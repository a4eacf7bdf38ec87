//! What a run is told, and what it gives: words `name=value`, and one line of JSON.
//!
//! It is the same contract for every subject, in whichever language it is written.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

/// The figures of one run, by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// The figures of these names and values.
pub(crate) fn figures<const N: usize>(all: [(&str, f64); N]) -> Figures {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a run is told.
#[derive(Debug)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads the words before `--`; the words behind it are a program.
    pub(crate) fn parse(words: &[String]) -> (Self, &[String]) {
        let end = words.iter().position(|word| word == "--");
        let (words, program) = match end {
            Some(end) => (&words[..end], &words[end + 1..]),
            None => (words, &words[..0]),
        };
        let split = |word: &String| {
            let (name, value) = word.split_once('=').expect("a parameter is name=value");
            (name.to_owned(), value.to_owned())
        };
        (Self(words.iter().map(split).collect()), program)
    }

    /// A parameter that has to be there.
    pub(crate) fn get<T: FromStr>(&self, name: &str) -> T {
        self.find(name).unwrap_or_else(|| panic!("the parameter {name} is missing"))
    }

    /// A parameter that may be there.
    pub(crate) fn find<T: FromStr>(&self, name: &str) -> Option<T> {
        let value = self.0.get(name)?;
        Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} cannot be read")))
    }
}

/// The median; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Of several runs with the same figures.
pub(crate) fn medians(runs: &[Figures]) -> Figures {
    let names = runs.first().into_iter().flat_map(Figures::keys);
    let middle = |name: &String| median(&runs.iter().map(|run| run[name]).collect::<Vec<_>>());
    names.map(|name| (name.clone(), middle(name))).collect()
}

/// The 50th, 90th and 99th of a hundred, in microseconds.
pub(crate) fn latencies(times: &[Duration]) -> Figures {
    let micros: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    let sorted = sorted(&micros);
    let at = |percent: usize| sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)];
    figures([("p50_us", at(50)), ("p90_us", at(90)), ("p99_us", at(99))])
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Tasks, or bytes, in a second.
#[expect(clippy::cast_precision_loss, reason = "a figure has few digits")]
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The argument of the task with this number: small, and not always the same.
pub(crate) const fn argument(task: u64) -> u64 {
    task % 1000
}

/// The sum of the squares of the arguments of so many tasks.
pub(crate) fn sum_of_squares(tasks: u64) -> u64 {
    (0..tasks).map(|task| argument(task) * argument(task)).sum()
}
