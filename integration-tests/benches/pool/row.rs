//! What a row of the table is.

use crate::subject::{Kind, Subject};

/// One row: what is measured for it, and how it is judged.
pub(crate) struct Row {
    /// Its number in the table of goals.
    pub(crate) number: u8,
    /// What the work is, in a few words.
    pub(crate) title: &'static str,
    /// How it is measured: a paragraph of the report.
    pub(crate) method: String,
    /// What is measured, in this order in each round.
    pub(crate) subjects: Vec<Subject>,
    /// The figures that the report shows of each subject.
    pub(crate) columns: Vec<Column>,
    /// How ours is compared.
    pub(crate) goals: Vec<Goal>,
}

/// A figure of the report.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// The name of the figure.
    pub(crate) figure: String,
    /// Its heading.
    pub(crate) heading: String,
    /// How its values are written.
    pub(crate) unit: Unit,
}

impl Column {
    /// A column.
    pub(crate) fn new(figure: &str, heading: &str, unit: Unit) -> Self {
        Self { figure: figure.to_owned(), heading: heading.to_owned(), unit }
    }
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Something in a second: 12.3 k, 4.5 M.
    Rate,
    /// A plain number with a name behind it.
    Plain(&'static str),
}

/// A comparison.
pub(crate) struct Goal {
    /// Whether it is asked for, or aimed at.
    pub(crate) level: Level,
    /// What of the row is compared, in a few words.
    pub(crate) work: String,
    /// Ours: the name of a subject and of its figure.
    pub(crate) ours: (String, String),
    /// What it is compared with.
    pub(crate) against: Against,
    /// The ratio of ours to it.
    pub(crate) target: Target,
    /// How both are written.
    pub(crate) unit: Unit,
}

/// How much a goal binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// It is missed otherwise.
    Least,
    /// It is good to reach it.
    Aim,
}

/// What ours is compared with.
pub(crate) enum Against {
    /// The best of all peers of the row that have this figure.
    BestPeer(&'static str),
    /// One subject, and its figure.
    Subject(String, &'static str),
    /// A number that stands by itself, and what it is.
    Number(f64, &'static str),
}

/// A ratio that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Where more is better.
    AtLeast(f64),
    /// Where less is better.
    AtMost(f64),
}

impl Target {
    /// Whether a ratio is as asked.
    pub(crate) fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }

    /// The better one of two values.
    pub(crate) const fn better(self, one: f64, other: f64) -> f64 {
        match self {
            Self::AtLeast(_) => one.max(other),
            Self::AtMost(_) => one.min(other),
        }
    }
}

impl Row {
    /// A row without anything yet.
    pub(crate) fn new(number: u8, title: &'static str, method: &str) -> Self {
        // The sources are wrapped, paragraphs of the report are not.
        let method = method.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { number, title, method, subjects: vec![], columns: vec![], goals: vec![] }
    }

    /// Adds a subject.
    pub(crate) fn add(&mut self, subject: Subject) {
        self.subjects.push(subject);
    }

    /// Adds a column.
    pub(crate) fn column(&mut self, figure: &str, heading: &str, unit: Unit) {
        self.columns.push(Column::new(figure, heading, unit));
    }

    /// Adds what is asked for at least.
    pub(crate) fn least(
        &mut self,
        work: &str,
        ours: (&str, &str),
        against: Against,
        target: Target,
    ) {
        self.goal(Level::Least, work, ours, against, target);
    }

    /// Adds what is aimed at.
    pub(crate) fn aim(&mut self, work: &str, ours: (&str, &str), against: Against, target: Target) {
        self.goal(Level::Aim, work, ours, against, target);
    }

    /// Adds a goal.
    pub(crate) fn goal(
        &mut self,
        level: Level,
        work: &str,
        (subject, figure): (&str, &str),
        against: Against,
        target: Target,
    ) {
        let column = self.columns.iter().find(|column| column.figure == figure);
        let unit = column.unwrap_or_else(|| panic!("no column shows {figure}")).unit;
        let known = |name: &str| self.subjects.iter().any(|subject| subject.name == name);
        assert!(known(subject), "row {} has no subject `{subject}`", self.number);
        let ours = (subject.to_owned(), figure.to_owned());
        self.goals.push(Goal { level, work: work.to_owned(), ours, against, target, unit });
    }

    /// The names of the subjects of a kind.
    pub(crate) fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let subjects = self.subjects.iter().filter(move |subject| subject.kind == kind);
        subjects.map(|subject| subject.name.as_str())
    }
}
