//! Command lines, and what they mean.

use super::*;

fn parse(command_line: &[&str]) -> Result<Verb, clap::Error> {
    Arguments::parse(["master"].iter().chain(command_line)).map(|arguments| arguments.verb)
}

#[track_caller]
fn map(command_line: &[&str]) -> MapArguments {
    match parse(command_line) {
        Ok(Verb::Map(Deferred(map)) | Verb::Starmap(Deferred(map))) => map,
        other => panic!("{command_line:?}: {other:?}"),
    }
}

#[track_caller]
fn check_inputs(command_line: &[&str], function: &str, inputs: &[&str]) {
    let map = map(command_line);
    assert_eq!((&*map.function, &*map.inputs), (function, &*words(inputs)), "{command_line:?}");
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A mistake exits with 2, and its message holds all of `parts`.
#[track_caller]
fn check_mistake(command_line: &[&str], parts: &[&str]) {
    let error = parse(command_line).expect_err("a mistake");
    let message = error.to_string();
    assert_eq!(error.exit_code(), 2, "{command_line:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{command_line:?}: no {part:?} in: {message}");
    }
    assert!(!message.contains('\0'), "{message:?}");
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn inputs_stand_beside_options() {
    check_inputs(&["map", "square"], "square", &[]);
    check_inputs(&["map", "square", "2", "3"], "square", &["2", "3"]);
    check_inputs(&["map", "square", "2", "--processes", "4", "3"], "square", &["2", "3"]);
    check_inputs(&["map", "--unordered", "square", "2"], "square", &["2"]);
    check_inputs(&["starmap", "square", "[1,-2]"], "square", &["[1,-2]"]);
    check_inputs(&["map", "f", "--", "--unordered", "-x", "--"], "f", &["--unordered", "-x", "--"]);
    check_inputs(&["map", "f", "1", "--", "2"], "f", &["1", "2"]);
    check_inputs(&["map", "f", "", "-", ":::"], "f", &["", "-", ":::"]);
}

#[test]
fn negative_numbers_need_no_dashes_before_them() {
    let numbers = ["-3", "-3.5", "-1e5", "-1E+5", "-1e-5", "-0.5e-07", "-0"];
    check_inputs(&[&["map", "f"], &numbers[..]].concat(), "f", &numbers);
    check_inputs(
        &[&["map", "f", "--text"], &numbers[..], &["--unordered"]].concat(),
        "f",
        &numbers,
    );
    check_inputs(&[&["map", "f", "--"], &numbers[..]].concat(), "f", &numbers);
    match parse(&[&["apply", "f"], &numbers[..]].concat()) {
        Ok(Verb::Apply(apply)) => assert_eq!(apply.arguments, words(&numbers)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_are_read() {
    let map = map(&[
        "map",
        "f",
        "--worker",
        "2*worker-python tasks.py",
        "--processes",
        "3",
        "--chunksize=5",
        "--unordered",
        "--input",
        "numbers",
        "--text",
        "--kwargs",
        r#"{"a":1}"#,
        "--initializer",
        "prepare",
        "--initargs",
        "[1]",
        "--max-tasks-per-child",
        "7",
        "--timeout",
        "1.5s",
        "--start-timeout",
        "2m",
    ]);
    let number = |number: Option<NonZeroUsize>| number.map_or(0, NonZeroUsize::get);
    assert_eq!(map.workers.worker, ["2*worker-python tasks.py".parse().unwrap()]);
    assert_eq!(number(map.pool.processes), 3);
    assert_eq!(number(map.chunksize), 5);
    assert!(map.unordered);
    assert_eq!(map.input, Some("numbers".into()));
    assert_eq!(map.workers.initializer.as_deref(), Some("prepare"));
    assert_eq!(map.workers.initargs.as_ref().map(Positional::encoded), Some(&b"\x91\x01"[..]));
    assert_eq!(number(map.pool.max_tasks_per_child), 7);
    assert_eq!(map.calls.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(map.workers.start_timeout, Duration::from_secs(120));
    let format = map.format(Spread::Whole);
    assert_eq!(format.mode, InputMode::Text);
    assert_eq!(format.keywords.as_ref().map(Keywords::encoded), Some(&b"\x81\xa1a\x01"[..]));
}

#[test]
fn options_have_defaults() {
    let map = map(&["map", "f"]);
    assert!(map.workers.worker.is_empty());
    assert_eq!(map.pool.processes, None);
    assert_eq!(map.chunksize, None);
    assert_eq!(map.calls.timeout, None);
    assert_eq!(map.workers.start_timeout, Duration::from_secs(10));
    assert_eq!(map.calls.mode(), InputMode::Json);
    assert!(matches!(
        parse(&["workers"]),
        Ok(Verb::Workers(workers)) if workers.start_timeout.as_secs() == 10
    ));
}

#[test]
fn mistakes_are_explained() {
    for option in ["--processes", "--chunksize", "--max-tasks-per-child"] {
        for number in ["0", "-1"] {
            check_mistake(&["map", "f", option, number], &[option, "must be at least 1"]);
        }
        check_mistake(&["map", "f", option, "many"], &[option, "a whole number, at least 1"]);
        check_mistake(&["map", "f", option, &"9".repeat(30)], &[option, "is too large"]);
    }
    check_mistake(&["map", "f", "--timeout", "0s"], &["--timeout", "longer than 0"]);
    check_mistake(&["map", "f", "--timeout", "10"], &["--timeout", "a unit is missing"]);
    check_mistake(&["map", "f", "--start-timeout", "soon"], &["--start-timeout", "500ms"]);
    check_mistake(&["map", "f", "1", "--input", "file"], &["--input", "[INPUT]", "cannot be used"]);
    check_mistake(&["map", "f", "--initargs", "[1]"], &["--initializer", "required"]);
    check_mistake(
        &["map", "f", "--initializer", "g", "--initargs", "1"],
        &["--initargs", "expected a JSON array, found an integer"],
    );
    check_mistake(&["map", "f", "--kwargs", "[]"], &["--kwargs", "expected a JSON object"]);
    check_mistake(&["map", "f", "--kwargs", "{a:1}"], &["--kwargs", "not JSON"]);
    check_mistake(&["map", "f", "--worker", "'w"], &["--worker", "not closed"]);
    check_mistake(&["map", "f", "--worker", ""], &["--worker", "empty"]);
    check_mistake(&["starmap", "f", "--text"], &["master map --text", "master starmap"]);
    check_mistake(&["map"], &["FUNCTION", "required"]);
    check_mistake(&["map", "f", "--unknown"], &["--unknown", "'-- --unknown'"]);
    check_mistake(&["apply", "f", "--chunksize", "1"], &["--chunksize"]);
    check_mistake(&["mop", "f"], &["mop", "map"]);
    check_mistake(&["map", "f", "--chunksize", "-1e-5"], &["--chunksize", "at least 1"]);
    check_mistake(&[], &["Usage", "Commands", "Examples"]);
}

#[track_caller]
fn check_calls(command_line: &[&str], expected: &[(Option<&str>, &str, &[&str])]) {
    let run = match parse(&[&["run"], command_line].concat()) {
        Ok(Verb::Run(Deferred(run))) => run,
        other => panic!("{command_line:?}: {other:?}"),
    };
    let expected: Vec<_> = expected
        .iter()
        .map(|&(name, function, arguments)| ProcessCall {
            name: name.map(str::to_owned),
            function: function.to_owned(),
            arguments: words(arguments),
        })
        .collect();
    assert_eq!(run.calls, expected, "{command_line:?}");
}

#[test]
fn run_takes_several_calls() {
    check_calls(&["pid"], &[(None, "pid", &[])]);
    let both: [(Option<&str>, &str, &[&str]); 2] =
        [(None, "square", &["10", "-1"]), (None, "cube", &["15"])];
    check_calls(&["square", "10", "-1", ":::", "cube", "15"], &both);
    check_calls(&["square", "10", "-1", ":::", "cube", "--timeout", "5s", "15"], &both);
    check_calls(&["--", "square", "10", "-1", ":::", "cube", "15"], &both);
    check_calls(
        &["f", ":::", "g", "--", "--text", ":::", "h"],
        &[(None, "f", &[]), (None, "g", &["--text"]), (None, "h", &[])],
    );
    check_calls(
        &["f", "--name", "a", ":::", "g", "--name", "b", ":::", "h"],
        &[(Some("a"), "f", &[]), (Some("b"), "g", &[]), (None, "h", &[])],
    );
    check_calls(&["f", "::::", "-1e-5", "\":::\""], &[(None, "f", &["::::", "-1e-5", "\":::\""])]);
}

#[test]
fn run_explains_mistakes() {
    for calls in [&["run", ":::", "f"][..], &["run", "f", ":::"], &["run", "f", ":::", ":::", "g"]]
    {
        check_mistake(calls, &["a function is missing", "FUNCTION [ARG]... [:::"]);
    }
    check_mistake(&["run"], &["required"]);
    check_mistake(&["run", "f", "--name", "a", "--name", "b"], &["--name b has no call"]);
}

#[test]
fn help_fits_80_columns_and_tells_the_statuses() {
    for verb in ["", "map", "starmap", "apply", "run", "workers"] {
        for flag in ["-h", "--help"] {
            let command_line: Vec<_> =
                [verb, flag].into_iter().filter(|word| !word.is_empty()).collect();
            let error = parse(&command_line).expect_err("help");
            assert_eq!(error.exit_code(), 0);
            let text = error.to_string();
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest.is_some_and(|columns| columns <= 80), "{longest:?} in {text}");
            let expected = if verb == "workers" { "PATH" } else { "Examples:" };
            assert!(text.contains(expected), "{text}");
        }
    }
    let help = parse(&["--help"]).expect_err("help").to_string();
    assert!(
        help.starts_with(help::ABOUT.split(" executables").next().unwrap_or_default()),
        "{help}"
    );
    for status in ["  0 ", "  1 ", "  2 ", "  3 ", "  130 ", "  143 ", "RUST_LOG"] {
        assert!(help.contains(status), "{status} in {help}");
    }
}
