//! Goals, and whether they are reached.

use super::written::{number, value};
use crate::{
    results::Run,
    row::{Against, Goal, Level, Row, Target},
    subject::Kind,
};

/// What is compared, once it is known.
pub(crate) struct Judged {
    ours: Option<f64>,
    against: Option<(String, f64)>,
    /// Of the single rounds: the smallest and the largest.
    rounds: Option<(f64, f64)>,
}

impl Judged {
    /// Looks up both sides.
    pub(crate) fn new(run: &Run, row: &Row, goal: &Goal) -> Self {
        let median = |subject: &str, figure: &str| {
            run.spread(row.number, subject, figure).map(|spread| spread.median)
        };
        let ours = median(&goal.ours.0, &goal.ours.1);
        let (against, figure) = match &goal.against {
            Against::Number(number, name) => (Some(((*name).to_owned(), *number)), None),
            Against::Subject(subject, figure) => {
                let found = median(subject, figure).map(|value| (subject.clone(), value));
                (found, Some(*figure))
            }
            Against::BestPeer(figure) => {
                let peers = row.names(Kind::Peer);
                let found = peers.filter_map(|name| Some((name, median(name, figure)?)));
                let best = found.reduce(|one, other| {
                    if goal.target.better(one.1, other.1) == one.1 { one } else { other }
                });
                (best.map(|(name, value)| (name.to_owned(), value)), Some(*figure))
            }
        };
        let rounds = against.as_ref().and_then(|(subject, number)| {
            let ours = run.values(row.number, &goal.ours.0, &goal.ours.1)?;
            let theirs = match figure {
                Some(figure) => run.values(row.number, subject, figure)?.to_vec(),
                None => vec![*number; ours.len()],
            };
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
            let (min, max) = ratios
                .fold((f64::MAX, f64::MIN), |(min, max), ratio| (min.min(ratio), max.max(ratio)));
            (min < max).then_some((min, max))
        });
        Self { ours, against, rounds }
    }

    /// Its line of the table.
    pub(crate) fn line(&self, goal: &Goal) -> String {
        let written = |of: Option<f64>| of.map_or("-".to_owned(), |of| value(of, goal.unit));
        let (name, theirs) = match (&self.against, &goal.against) {
            (Some((name, theirs)), _) => (name.clone(), Some(*theirs)),
            (None, Against::Subject(name, _)) => (name.clone(), None),
            (None, _) => ("the best peer".to_owned(), None),
        };
        let ratio = self.ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
        let rounds = self.rounds.map(|(min, max)| format!(" ({}-{})", number(min), number(max)));
        let rounds = rounds.unwrap_or_default();
        let asked = match goal.target {
            Target::AtLeast(least) => format!("at least {least}"),
            Target::AtMost(most) => format!("at most {most}"),
        };
        let verdict = match (goal.level, ratio.map(|ratio| goal.target.holds(ratio))) {
            (_, None) => "not measured",
            (Level::Least, Some(true)) => "**met**",
            (Level::Least, Some(false)) => "**missed**",
            (Level::Aim, Some(true)) => "reached",
            (Level::Aim, Some(false)) => "not reached",
        };
        let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{}{rounds}", number(ratio)));
        format!(
            "| | {} | {} | {name} | {} | {ratio} | {asked} | {verdict} |",
            goal.work,
            written(self.ours),
            written(theirs),
        )
    }
}
