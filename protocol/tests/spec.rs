//! `SPEC.md` against the crate and the vectors, so that the text cannot drift from either.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, fs, path::Path};

use protocol::{
    launch, limits,
    message::{feature, kind},
    shared_output,
};

const SPEC: &str = include_str!("../SPEC.md");

/// The headings under which messages are described, in the order of the enums.
const MESSAGES: [&str; 13] = [
    "hello",
    "ready",
    "initializer_failed",
    "result",
    "results",
    "shared_result",
    "error",
    "progress",
    "welcome",
    "reject",
    "call",
    "cancel",
    "drain",
];

/// The features, in the order of their table.
const FEATURES: [&str; 5] = [
    feature::PROGRESS,
    feature::CANCEL,
    feature::SHARED_OUTPUT,
    feature::SHARED_RESULTS,
    feature::SHARED_ARGUMENTS,
];

#[test]
fn every_example_is_a_vector() {
    let examples: Vec<&str> = fenced("vector").collect();
    assert!(examples.len() > 10, "only {} examples found", examples.len());
    for example in examples {
        check_example(example);
    }
}

#[test]
fn every_message_has_a_section() {
    let sections: Vec<&str> = SPEC.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(sections, MESSAGES);
}

#[test]
fn every_limit_is_in_the_table() {
    let rows = [
        ("PROTOCOL_VERSION", limits::PROTOCOL_VERSION as usize, "version of the protocol"),
        ("LENGTH_BYTES", limits::LENGTH_BYTES, "length field of a frame"),
        ("MAX_FRAME", limits::MAX_FRAME, "body of a frame from the welcome on"),
        (
            "MAX_FRAME_BEFORE_WELCOME",
            limits::MAX_FRAME_BEFORE_WELCOME,
            "body of a frame before the welcome",
        ),
        ("MAX_ENVELOPE_DEPTH", limits::MAX_ENVELOPE_DEPTH, "levels of an envelope"),
        ("MAX_PAYLOAD_DEPTH", limits::MAX_PAYLOAD_DEPTH, "levels of a payload value"),
        (
            "PROGRESS_INTERVAL",
            usize::try_from(limits::PROGRESS_INTERVAL.as_millis()).unwrap(),
            "time between two reports of progress about an item",
        ),
        (
            "HOLD_TIME",
            usize::try_from(limits::HOLD_TIME.as_millis()).unwrap(),
            "time for which a worker keeps an answer in a shared output",
        ),
        (
            "MAX_PATIENCE",
            usize::try_from(limits::MAX_PATIENCE.as_millis()).unwrap(),
            "time for which a worker looks for input without sleeping",
        ),
    ];
    for (name, value, limit) in rows {
        let row = table_row(limit);
        let number = row.split(' ').next().unwrap();
        assert_eq!(number, value.to_string(), "{name}");
    }
    let checked: BTreeSet<&str> = rows.iter().map(|(name, ..)| *name).collect();
    assert_eq!(checked, constants(include_str!("../src/limits.rs")));
}

#[test]
fn the_launch_contract_is_in_the_text() {
    let variables = [launch::ADDRESS_VARIABLE, launch::TOKEN_VARIABLE];
    for variable in variables {
        table_row(&format!("`{variable}`"));
    }
    let statuses = [
        (launch::EXIT_NORMAL, "asked to"),
        (launch::EXIT_CALL_FAILED, "failed"),
        (launch::EXIT_USAGE, "by hand"),
        (launch::EXIT_PROTOCOL, "broke the protocol"),
    ];
    for (status, words) in statuses {
        assert!(table_row(&status.to_string()).contains(words), "exit status {status}");
    }
    let constants = constants(include_str!("../src/launch.rs"));
    assert_eq!(constants.len(), variables.len() + statuses.len(), "{constants:?}");
}

#[test]
fn every_kind_of_failure_is_in_the_table() {
    let kinds = [
        kind::UNKNOWN_FUNCTION,
        kind::INVALID_ARGUMENTS,
        kind::INVALID_RESULT,
        kind::PANIC,
        kind::CANCELLED,
    ];
    for kind in kinds {
        table_row(&format!("`{kind}`"));
    }
    let features = FEATURES.len();
    assert_eq!(constants(include_str!("../src/message.rs")).len(), kinds.len() + features);
}

#[test]
fn every_feature_is_in_the_table() {
    let (_, table) = SPEC.split_once("| Feature | What it adds |\n|---|---|\n").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .map_while(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(feature, _)| feature)
        .collect();
    assert_eq!(rows, FEATURES);
}

#[test]
fn the_layout_of_a_shared_output_is_in_the_table() {
    let numbers = [
        (shared_output::KEY, "key"),
        (shared_output::BASE, "base"),
        (shared_output::HELD, "held"),
        (shared_output::LAST, "last"),
        (shared_output::PATIENCE, "patience"),
        (shared_output::TAKEN, "taken"),
    ];
    for (offset, name) in numbers {
        let row = table_row(&format!("{offset} to {}", offset + 7));
        assert!(row.starts_with(&format!("`{name}` | u64 | ")), "offset {offset}: {row}");
    }
    let frames = table_row(&format!("{} to the end", shared_output::DATA));
    assert!(frames.starts_with("frames | "), "{frames}");
    let constants = constants(include_str!("../src/shared_output.rs"));
    assert_eq!(constants.len(), numbers.len() + 1, "{constants:?}");
}

#[test]
fn requirements_are_numbered_from_1_without_gaps() {
    for letter in ["W", "M"] {
        // A later one has the next number and stands where it belongs.
        let mut found: Vec<usize> = requirements(letter).map(|(number, _)| number).collect();
        found.sort_unstable();
        assert!(found.len() > 20, "only {} requirements {letter}-", found.len());
        assert_eq!(found, (1..=found.len()).collect::<Vec<_>>(), "requirements {letter}-");
    }
}

#[test]
fn every_requirement_says_how_binding_it_is() {
    for letter in ["W", "M"] {
        for (number, text) in requirements(letter) {
            let binding = ["MUST", "SHOULD", "MAY"].iter().any(|word| text.contains(word));
            assert!(binding, "{letter}-{number}: {text}");
        }
    }
    let loose = SPEC.lines().filter(|line| !line.starts_with("- **") && line.contains("MUST "));
    assert_eq!(loose.collect::<Vec<_>>(), Vec::<&str>::new(), "a MUST without a number");
}

#[test]
fn every_requirement_that_is_referred_to_exists() {
    for letter in ["W", "M"] {
        let last = requirements(letter).count();
        let start = format!("{letter}-");
        let mut referred = 0;
        for (place, _) in SPEC.match_indices(&start) {
            let rest = &SPEC[place + start.len()..];
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            if let Ok(number) = rest[..end].parse::<usize>() {
                assert!((1..=last).contains(&number), "{start}{number} is not defined");
                referred += 1;
            }
        }
        assert!(referred > last, "no reference to a requirement {start} found");
    }
}

/// Compares one hexadecimal dump with the vector that its first line names.
fn check_example(example: &str) {
    let (title, dump) = example.split_once('\n').unwrap();
    let title = title.strip_prefix("# ").expect(title);
    let (name, frame) = match title.split_once(", frame ") {
        Some((name, number)) => (name, Some(number.parse::<usize>().unwrap())),
        None => (title, None),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(format!("{name}.bin"));
    let file = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let expected = match frame {
        Some(number) => frames(&file)[number - 1],
        None => &file[..],
    };
    let bytes: Vec<u8> = dump
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    assert_eq!(bytes, expected, "{title}");
}

/// The frames of a vector, lengths included.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>() {
        let (frame, rest) = bytes.split_at(4 + u32::from_be_bytes(*length) as usize);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// What stands in the fenced blocks of a language.
fn fenced(language: &str) -> impl Iterator<Item = &'static str> {
    let start = format!("```{language}\n");
    SPEC.match_indices(&start)
        .map(|(place, start)| SPEC[place + start.len()..].split_once("\n```").unwrap().0)
        .collect::<Vec<_>>()
        .into_iter()
}

/// The number and the text of each requirement, in the order of the document.
fn requirements(letter: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let start = format!("- **{letter}-");
    SPEC.lines().filter_map(move |line| {
        let (number, text) = line.strip_prefix(&start)?.split_once("** ").expect(line);
        Some((number.parse().expect(line), text))
    })
}

/// The second cell of the one row of a table that has this first cell.
fn table_row(first: &str) -> &'static str {
    let start = format!("| {first} | ");
    let rows: Vec<&str> = SPEC.lines().filter_map(|line| line.strip_prefix(&start)).collect();
    assert_eq!(rows.len(), 1, "rows that begin with {first}");
    rows[0]
}

/// The names of the public constants in a source file.
fn constants(source: &str) -> BTreeSet<&str> {
    source
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("pub const "))
        .filter(|line| !line.starts_with("fn "))
        .filter_map(|line| line.split(':').next())
        .collect()
}
