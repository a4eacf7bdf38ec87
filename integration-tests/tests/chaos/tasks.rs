//! What is called, and what has to come back.

use std::{collections::BTreeMap, fmt::Debug};

use master::{Arguments, Encoded, FromResult};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::Value;

use crate::random::Random;

/// The arguments of one call of a function, and what is known about its outcome.
pub(crate) trait Task: Serialize + Clone + Debug + Send + 'static {
    type Output: FromResult + Clone + Debug + Send + 'static;

    /// The function of the reference worker.
    const FUNCTION: &str;

    /// Whether the arguments are a tuple, rather than one argument.
    const SPREAD: bool = false;

    fn is_result(&self, output: &Self::Output) -> bool;

    /// What the function says if it is to fail.
    fn failure(&self) -> Option<&str> {
        None
    }

    /// The pid of the worker, if the output is that.
    fn pid(_: &Self::Output) -> Option<u32> {
        None
    }

    /// Whether the worker dies of it.
    fn is_deadly(&self) -> bool {
        false
    }

    /// What a call of this task alone is given.
    fn arguments(&self, _: &mut Random) -> Arguments {
        if Self::SPREAD { Arguments::new(self) } else { Arguments::new((self,)) }.unwrap()
    }
}

/// The square of a number, which may be too large.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct Square(i64);

impl Square {
    pub(crate) fn random(random: &mut Random) -> Self {
        if random.percent(5) {
            return Self(i64::MAX);
        }
        Self(i64::try_from(random.within(0..=1_000_000)).unwrap() - 500_000)
    }
}

impl Task for Square {
    type Output = i64;

    const FUNCTION: &str = "square";

    fn is_result(&self, &output: &i64) -> bool {
        self.0.checked_mul(self.0) == Some(output)
    }

    fn failure(&self) -> Option<&str> {
        let fits = u64::try_from(i128::from(self.0).pow(2)).is_ok();
        (!fits).then_some("Overflow")
    }

    /// Now and then by keyword.
    fn arguments(&self, random: &mut Random) -> Arguments {
        let seconds = BTreeMap::from([("seconds", random.within(0..=5) as f64 / 1000.0)]);
        match random.within(0..=2) {
            0 => Arguments::new((self,)).unwrap(),
            1 => Arguments::new((self,)).unwrap().keywords(seconds).unwrap(),
            _ => Arguments::new(()).unwrap().keywords(BTreeMap::from([("n", self)])).unwrap(),
        }
    }
}

/// Bytes that come back as they are. The number tells them apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bytes(u64, ByteBuf);

impl Bytes {
    pub(crate) fn random(random: &mut Random, most: u64) -> Self {
        let size = usize::try_from(random.up_to(most)).unwrap();
        // No piece of it like another, so that nothing can get out of place unseen.
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend(random.next().to_le_bytes());
        }
        bytes.truncate(size);
        Self(random.next(), ByteBuf::from(bytes))
    }
}

impl Task for Bytes {
    type Output = Self;

    const FUNCTION: &str = "echo";

    fn is_result(&self, output: &Self) -> bool {
        self == output
    }
}

/// A value of many parts that comes back as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Nested(u64, Value);

impl Nested {
    pub(crate) fn random(random: &mut Random, most: u64) -> Self {
        let size = random.up_to(most);
        Self(random.next(), value(random, size))
    }
}

/// A value that holds about so many bytes.
fn value(random: &mut Random, size: u64) -> Value {
    if size > 16 {
        let mut left = size;
        let parts = std::iter::from_fn(|| {
            let part = (left > 0).then(|| random.up_to(left.max(2) - 1))?;
            left = left.saturating_sub(part);
            Some((random.next(), value(random, part)))
        });
        // In either case each part has its own random number, and some are deep.
        if size.is_multiple_of(2) {
            return parts.map(|(_, part)| part).collect();
        }
        return Value::Object(parts.map(|(key, part)| (key.to_string(), part)).collect());
    }
    match random.within(0..=5) {
        0 => Value::Null,
        1 => random.percent(50).into(),
        2 => random.next().into(),
        3 => (-i64::try_from(random.next() >> 1).unwrap()).into(),
        4 => (random.next() as f64 / 3.0).into(),
        _ => format!("{}ä", random.next()).into(),
    }
}

impl Task for Nested {
    type Output = Self;

    const FUNCTION: &str = "echo";

    fn is_result(&self, output: &Self) -> bool {
        self == output
    }
}

/// A value that comes after a while.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Nap(f64, u64);

impl Nap {
    pub(crate) fn random(random: &mut Random) -> Self {
        Self(random.within(0..=20) as f64 / 1000.0, random.next())
    }
}

impl Task for Nap {
    type Output = u64;

    const FUNCTION: &str = "sleep";
    const SPREAD: bool = true;

    fn is_result(&self, &output: &u64) -> bool {
        self.1 == output
    }
}

/// A failure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fail(String, String);

impl Fail {
    pub(crate) fn random(random: &mut Random) -> Self {
        Self("no".repeat(usize::try_from(random.up_to(1000)).unwrap()), random.next().to_string())
    }
}

impl Task for Fail {
    type Output = Encoded;

    const FUNCTION: &str = "fail";
    const SPREAD: bool = true;

    fn is_result(&self, _: &Encoded) -> bool {
        false
    }

    fn failure(&self) -> Option<&str> {
        Some(&self.1)
    }
}

/// The pid of the worker.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pid;

impl Task for Pid {
    type Output = u32;

    const FUNCTION: &str = "pid";

    fn is_result(&self, _: &u32) -> bool {
        true
    }

    fn pid(&output: &u32) -> Option<u32> {
        Some(output)
    }
}

/// A command that ends the worker that runs it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Die(&'static str, [&'static str; 2]);

impl Die {
    pub(crate) fn random(random: &mut Random) -> Self {
        // Not a signal that writes a core file: until that is there a worker may go on.
        let command = random.pick(&["kill -KILL $PPID", "kill -TERM $PPID"]);
        Self("sh", ["-c", *command])
    }
}

impl Task for Die {
    type Output = Encoded;

    const FUNCTION: &str = "exec";
    const SPREAD: bool = true;

    fn is_result(&self, _: &Encoded) -> bool {
        false
    }

    fn is_deadly(&self) -> bool {
        true
    }
}
