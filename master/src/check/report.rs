//! What a check came to, requirement by requirement.

use std::{collections::BTreeSet, fmt};

use protocol::spec::{Level, Requirement, Side, requirements};
use serde_json::{Value as Json, json};

use super::{Outcome, finding::Stop};

/// What became of every requirement that was tried.
#[derive(Debug, Clone)]
pub struct Report {
    judgements: Vec<Judgement>,
    missing_functions: BTreeSet<&'static str>,
}

/// What became of one requirement.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// Which one, with its text.
    pub requirement: Requirement,
    /// How it went.
    pub verdict: Verdict,
    /// What it recommends besides, and was not done.
    pub remarks: Vec<String>,
}

/// How it went.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It was tried, and was kept each time.
    Passed,
    /// It was not kept.
    Failed(Vec<Violation>),
    /// It is about an optional feature that the worker does not have, for this reason.
    NotApplicable(String),
    /// It could not be tried, for this reason.
    NotTested(String),
}

/// One time that a requirement was not kept.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What was tried.
    pub case: &'static str,
    /// What was wrong.
    pub problem: String,
    /// What should have come, in hexadecimal or in words, if something should.
    pub expected: Option<String>,
    /// What came.
    pub came: Option<String>,
}

impl Verdict {
    /// The verdict in a word or two.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed(_) => "fail",
            Self::NotApplicable(_) => "not applicable",
            Self::NotTested(_) => "not tested",
        }
    }
}

impl Report {
    /// `named` are the requirements that are asked about, if not all that were tried.
    pub(super) fn of(outcomes: Vec<Outcome>, named: Option<Vec<u32>>) -> Self {
        let mut all: Vec<_> =
            requirements().filter(|requirement| requirement.side == Side::Worker).collect();
        all.sort_by_key(|requirement| requirement.number);
        let is_asked = |requirement: &Requirement| {
            let number = requirement.number;
            let is_tried = |outcome: &Outcome| {
                outcome.tries.contains(&number)
                    || outcome.findings.iter().any(|finding| finding.requirement == number)
            };
            let is_named = named.as_ref().is_none_or(|named| named.contains(&number));
            let is_broken = |outcome: &Outcome| {
                outcome.findings.iter().any(|finding| finding.requirement == number)
            };
            is_named && outcomes.iter().any(is_tried) || outcomes.iter().any(is_broken)
        };
        let judge = |requirement: Requirement| judge(requirement, &outcomes);
        let judgements: Vec<_> = all.into_iter().filter(is_asked).map(judge).collect();
        let untested = judgements.iter().filter(|judgement| judgement.is_untested());
        let stops = untested.flat_map(|judgement| stops(judgement.requirement.number, &outcomes));
        let missing_functions = missing_functions(stops);
        Self { judgements, missing_functions }
    }

    /// All of them, by their numbers.
    pub fn judgements(&self) -> &[Judgement] {
        &self.judgements
    }

    /// The conformance functions that the worker does not have, and for the want of which a
    /// requirement was not tested, by their names.
    pub fn missing_functions(&self) -> impl Iterator<Item = &'static str> {
        self.missing_functions.iter().copied()
    }

    /// Whether all the required ones were kept, and none could not be tried.
    pub fn passed(&self) -> bool {
        self.required()
            .all(|verdict| matches!(verdict, Verdict::Passed | Verdict::NotApplicable(_)))
            && !self.judgements.is_empty()
    }

    /// Whether any of the required ones was not kept.
    pub fn failed(&self) -> bool {
        self.required().any(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    fn required(&self) -> impl Iterator<Item = &Verdict> {
        let required = |judgement: &&Judgement| judgement.requirement.level == Level::Required;
        self.judgements.iter().filter(required).map(|judgement| &judgement.verdict)
    }

    fn count(&self, name: &str) -> usize {
        self.judgements.iter().filter(|judgement| judgement.verdict.name() == name).count()
    }

    /// For machines: an object with the array `requirements`, each with its `id`, `level`, `text`,
    /// `verdict`, `reason`, `violations` and `remarks`, the array `missing_functions`, the numbers
    /// of each verdict, and `passed`.
    pub fn to_json(&self) -> Json {
        let requirements: Vec<Json> = self.judgements.iter().map(Judgement::to_json).collect();
        json!({
            "requirements": requirements,
            "missing_functions": self.missing_functions,
            "pass": self.count("pass"),
            "fail": self.count("fail"),
            "not_applicable": self.count("not applicable"),
            "not_tested": self.count("not tested"),
            "passed": self.passed(),
        })
    }
}

fn judge(requirement: Requirement, outcomes: &[Outcome]) -> Judgement {
    let number = requirement.number;
    let violations: Vec<_> = outcomes
        .iter()
        .flat_map(|outcome| outcome.findings.iter().map(move |finding| (outcome.case, finding)))
        .filter(|(_, finding)| finding.requirement == number)
        .map(|(case, finding)| Violation {
            case,
            problem: finding.problem.clone(),
            expected: finding.expected.clone(),
            came: finding.came.clone(),
        })
        .collect();
    let mut remarks: Vec<String> = Vec::new();
    let said = outcomes.iter().flat_map(|outcome| &outcome.remarks);
    for (_, remark) in said.filter(|(about, _)| *about == number) {
        if !remarks.contains(remark) {
            remarks.push(remark.clone());
        }
    }
    let verdict = match violations.is_empty() {
        true => verdict(number, outcomes),
        false => Verdict::Failed(violations),
    };
    Judgement { requirement, verdict, remarks }
}

/// The verdict on a requirement that was never broken.
fn verdict(number: u32, outcomes: &[Outcome]) -> Verdict {
    let confirmed = outcomes.iter().any(|outcome| outcome.confirmed.contains(&number));
    // What a function is missing for was not tried, whatever else was.
    let missing = missing_functions(stops(number, outcomes));
    if !missing.is_empty() {
        return Verdict::NotTested(format!("the worker has no {}", functions(&missing)));
    }
    let impossible = |stop: &Stop| match stop {
        Stop::Impossible(reason) => Some(Verdict::NotTested(reason.clone())),
        _ => None,
    };
    // So is what was left out here. What stopped where something else was broken tells by that.
    let unbroken = outcomes.iter().filter(|outcome| outcome.findings.is_empty());
    if let Some(verdict) = stops(number, unbroken).find_map(impossible) {
        return verdict;
    }
    if confirmed {
        return Verdict::Passed;
    }
    if let Some(verdict) = stops(number, outcomes).find_map(impossible) {
        return verdict;
    }
    let without = stops(number, outcomes).find_map(|stop| match stop {
        Stop::Without(reason) => Some(reason.clone()),
        _ => None,
    });
    match without {
        Some(reason) => Verdict::NotApplicable(reason),
        None => Verdict::NotTested("nothing tries it".into()),
    }
}

/// Why cases that try a requirement did not come to their end.
fn stops<'a>(
    number: u32,
    outcomes: impl IntoIterator<Item = &'a Outcome>,
) -> impl Iterator<Item = &'a Stop> {
    let tried = outcomes.into_iter().filter(move |outcome| outcome.tries.contains(&number));
    tried.filter_map(|outcome| outcome.stop.as_ref())
}

/// All functions for the want of which a case stopped.
fn missing_functions<'a>(stops: impl Iterator<Item = &'a Stop>) -> BTreeSet<&'static str> {
    let names = stops.filter_map(|stop| match stop {
        Stop::Lacking(names) => Some(names),
        _ => None,
    });
    names.flatten().copied().collect()
}

/// One or more functions, by their names.
fn functions(names: &BTreeSet<&str>) -> String {
    let list: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("function{} {}", if list.len() == 1 { "" } else { "s" }, list.join(", "))
}

impl Judgement {
    const fn is_untested(&self) -> bool {
        matches!(self.verdict, Verdict::NotTested(_))
    }

    fn to_json(&self) -> Json {
        let violation = |violation: &Violation| {
            json!({
                "case": violation.case,
                "problem": violation.problem,
                "expected": violation.expected,
                "came": violation.came,
            })
        };
        let (violations, reason): (Vec<Json>, Option<&String>) = match &self.verdict {
            Verdict::Passed => (Vec::new(), None),
            Verdict::Failed(violations) => (violations.iter().map(violation).collect(), None),
            Verdict::NotApplicable(reason) | Verdict::NotTested(reason) => {
                (Vec::new(), Some(reason))
            }
        };
        json!({
            "id": self.requirement.to_string(),
            "level": self.requirement.level.name(),
            "text": self.requirement.text,
            "verdict": self.verdict.name(),
            "reason": reason,
            "violations": violations,
            "remarks": self.remarks,
        })
    }
}

/// For people: a line for each requirement, with the evidence of what was not kept below it, and a
/// summary.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Judgement { requirement, verdict, remarks } in &self.judgements {
            let level = requirement.level.name();
            let id = requirement.to_string();
            match verdict {
                Verdict::Failed(violations) => {
                    let (verdict, text) = (verdict.name(), requirement.text);
                    writeln!(formatter, "{id:<5} {level:<12} {verdict}: {text}")?;
                    for Violation { case, problem, expected, came } in violations {
                        writeln!(formatter, "      {problem}")?;
                        writeln!(formatter, "        when:     {case}")?;
                        if let Some(expected) = expected {
                            writeln!(formatter, "        expected: {expected}")?;
                        }
                        if let Some(came) = came {
                            writeln!(formatter, "        came:     {came}")?;
                        }
                    }
                }
                Verdict::NotApplicable(reason) | Verdict::NotTested(reason) => {
                    writeln!(formatter, "{id:<5} {level:<12} {}: {reason}", verdict.name())?;
                }
                Verdict::Passed => writeln!(formatter, "{id:<5} {level:<12} {}", verdict.name())?,
            }
            for remark in remarks {
                writeln!(formatter, "      remark: {remark}")?;
            }
        }
        write!(
            formatter,
            "{} {}: {} pass, {} fail{}, {} not applicable, {} not tested",
            self.judgements.len(),
            if self.judgements.len() == 1 { "requirement" } else { "requirements" },
            self.count("pass"),
            self.count("fail"),
            if self.count("fail") > 0 && !self.failed() { " (only recommended)" } else { "" },
            self.count("not applicable"),
            self.count("not tested"),
        )?;
        if self.missing_functions.is_empty() {
            return Ok(());
        }
        let missing = functions(&self.missing_functions);
        write!(
            formatter,
            "\nto test the rest takes the conformance {missing}, as in section 23 of SPEC.md; many \
             workers offer them under a flag, such as --conformance"
        )
    }
}
