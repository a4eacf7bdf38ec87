//! What workers find around them, on the command line.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _, ValueParser},
};

use crate::{
    Resource,
    driver::Surroundings,
    program::{duration, size},
};

/// What workers find around them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Surroundings of workers")]
pub struct SurroundingsOptions {
    /// Set an environment variable of the workers; NAME alone passes on that of master
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = variable())]
    pub environment: Vec<Variable>,
    /// Pass on nothing of the environment but what --env says
    #[arg(long = "clear-env")]
    pub clear_environment: bool,
    /// Start the workers in this directory
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The niceness of the workers, from -20 to 19
    #[arg(
        long = "nice",
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-20..=19)
    )]
    pub niceness: Option<i32>,
    /// Let the workers use these CPUs only, such as 0,2-3
    #[arg(long, value_name = "LIST", value_parser = Cpus::parse)]
    pub cpus: Option<Cpus>,
    /// Let each worker have only so much of a resource: address-space, file-size, core, data or
    /// stack (bytes, such as 512M), cpu-time (such as 10s), open-files or processes
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limit)]
    pub limits: Vec<Limit>,
}

/// An environment variable: its name, and its value unless it is that of master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// What stands before the first `=`.
    pub name: OsString,
    /// What stands after it, if there is one.
    pub value: Option<OsString>,
}

/// Numbers of CPUs, in the order in which they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(pub Vec<usize>);

/// How much of a resource a worker may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The resource.
    pub resource: Resource,
    /// How much, in its unit.
    pub most: u64,
}

impl SurroundingsOptions {
    /// Tells the builder of a pool or a process.
    pub(crate) fn tell(&self, surroundings: &mut Surroundings) {
        if self.clear_environment {
            surroundings.clear();
        }
        for Variable { name, value } in &self.environment {
            // One that the master does not have either is passed on as that.
            if let Some(value) = value.clone().or_else(|| std::env::var_os(name)) {
                surroundings.set(name, value);
            }
        }
        if let Some(directory) = &self.directory {
            surroundings.directory = Some(directory.clone());
        }
        if let Some(niceness) = self.niceness {
            surroundings.niceness = Some(niceness);
        }
        if let Some(Cpus(cpus)) = &self.cpus {
            surroundings.pin(cpus.iter().copied());
        }
        for Limit { resource, most } in &self.limits {
            surroundings.limit(*resource, *most);
        }
    }
}

/// Reads NAME=VALUE or NAME; a value need not be UTF-8.
fn variable() -> ValueParser {
    let split = |word: OsString| {
        let bytes = word.as_bytes();
        let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
            Some(place) => (&bytes[..place], Some(&bytes[place + 1..])),
            None => (bytes, None),
        };
        if name.is_empty() {
            return Err("a name is missing; write NAME=VALUE, or NAME");
        }
        let owned = |bytes| OsStr::from_bytes(bytes).to_owned();
        Ok(Variable { name: owned(name), value: value.map(owned) })
    };
    OsStringValueParser::new().try_map(split).into()
}

impl Cpus {
    /// The highest number that is read; no system has more CPUs than a few thousand.
    const HIGHEST: usize = 65_535;

    /// Reads numbers and ranges with commas between them.
    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse::<usize>() {
                Ok(cpu) if digits && cpu <= Self::HIGHEST => Ok(cpu),
                _ if digits => Err(format!("there is no CPU {text}")),
                _ => Err("expected numbers and ranges, such as 0,2-3".to_owned()),
            }
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(format!("the range {part} goes backwards"));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

/// Reads NAME=VALUE, the value in the unit of the resource.
fn limit(text: &str) -> Result<Limit, String> {
    let (name, value) =
        text.split_once('=').ok_or("expected NAME=VALUE, such as address-space=512M")?;
    let resource: Resource = name.parse().map_err(|error| format!("`{name}`: {error}"))?;
    let most = match resource {
        Resource::CpuTime => {
            let time = duration::parse(value).map_err(|error| format!("`{value}`: {error}"))?;
            // The operating system counts in seconds; a part of one counts as a whole.
            time.as_secs() + u64::from(time.subsec_nanos() > 0)
        }
        Resource::OpenFiles | Resource::Processes => count(value)?,
        Resource::AddressSpace
        | Resource::FileSize
        | Resource::Core
        | Resource::Data
        | Resource::Stack => size::parse(value).map_err(|error| format!("`{value}`: {error}"))?,
    };
    Ok(Limit { resource, most })
}

fn count(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{text}`: expected a whole number"));
    }
    text.parse().map_err(|_| format!("`{text}`: is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: SurroundingsOptions,
    }

    fn parse(words: &[&str]) -> Result<SurroundingsOptions, clap::Error> {
        let words = ["line"].iter().chain(words);
        <Line as clap::Parser>::try_parse_from(words).map(|line| line.options)
    }

    /// The variables that remain to be set, and whether all others are left out.
    #[track_caller]
    fn check_environment(words: &[&str], clear: bool, expected: &[(&str, &str)]) {
        let mut surroundings = Surroundings::default();
        parse(words).unwrap().tell(&mut surroundings);
        let expected: Vec<_> = expected
            .iter()
            .map(|&(name, value)| (OsString::from(name), Some(OsString::from(value))))
            .collect();
        assert_eq!((surroundings.clear, surroundings.variables), (clear, expected), "{words:?}");
    }

    #[test]
    fn variables_are_set_or_passed_on() {
        check_environment(
            &["--env", "A=1", "--env", "B=", "--env", "A=2=3"],
            false,
            &[("A", "1"), ("B", ""), ("A", "2=3")],
        );
        check_environment(&["--env", "A=1", "--clear-env"], true, &[("A", "1")]);
        let home = std::env::var("PATH").unwrap();
        check_environment(&["--clear-env", "--env", "PATH"], true, &[("PATH", &home)]);
        check_environment(&["--env", "NO_SUCH_VARIABLE_ANYWHERE"], false, &[]);
    }

    #[track_caller]
    fn check_limit(text: &str, resource: Resource, most: u64) {
        assert_eq!(limit(text), Ok(Limit { resource, most }), "{text}");
    }

    #[test]
    fn limits_are_in_the_unit_of_their_resource() {
        check_limit("address-space=512M", Resource::AddressSpace, 512 << 20);
        check_limit("file-size=10", Resource::FileSize, 10);
        check_limit("core=0", Resource::Core, 0);
        check_limit("data=3G", Resource::Data, 3 << 30);
        check_limit("stack=64K", Resource::Stack, 64 << 10);
        check_limit("open-files=64", Resource::OpenFiles, 64);
        check_limit("processes=100", Resource::Processes, 100);
        check_limit("cpu-time=2m", Resource::CpuTime, 120);
        check_limit("cpu-time=1.5s", Resource::CpuTime, 2);
    }

    #[test]
    fn cpus_are_numbers_and_ranges() {
        let check = |text: &str, cpus: &[usize]| {
            assert_eq!(Cpus::parse(text), Ok(Cpus(cpus.to_vec())), "{text}");
        };
        check("0", &[0]);
        check("0,2-3", &[0, 2, 3]);
        check("5-5,1", &[5, 1]);
    }

    #[test]
    fn anything_else_is_a_mistake_that_is_named() {
        for (words, part) in [
            (["--env", "=1"], "a name is missing"),
            (["--env", ""], "a name is missing"),
            (["--nice", "20"], "20 is not in -20..=19"),
            (["--nice", "-21"], "-21 is not in"),
            (["--nice", "low"], "invalid digit"),
            (["--cpus", ""], "such as 0,2-3"),
            (["--cpus", "0,"], "such as 0,2-3"),
            (["--cpus", "1-"], "such as 0,2-3"),
            (["--cpus", "+1"], "such as 0,2-3"),
            (["--cpus", "3-1"], "the range 3-1 goes backwards"),
            (["--cpus", "0-99999999999999999999"], "there is no CPU"),
            (["--limit", "core"], "expected NAME=VALUE"),
            (["--limit", "memory=1G"], "there are address-space"),
            (["--limit", "core=1X"], "expected a whole number of bytes"),
            (["--limit", "core="], "expected a whole number of bytes"),
            (["--limit", "core=-1"], "expected a whole number of bytes"),
            (["--limit", "core=99999999999G"], "is too large"),
            (["--limit", "open-files=1K"], "expected a whole number"),
            (["--limit", "open-files=99999999999999999999"], "is too large"),
            (["--limit", "cpu-time=10"], "a unit is missing"),
        ] {
            let error = parse(&words).expect_err("a mistake").to_string();
            assert!(error.contains(part), "{words:?}: no {part:?} in: {error}");
        }
    }
}
