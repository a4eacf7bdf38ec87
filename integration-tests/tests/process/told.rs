//! What a process is told before it starts: its name, its surroundings, its arguments and what comes
//! before them.

use std::{
    collections::{BTreeMap, HashSet},
    env,
    time::Duration,
};

use integration_tests::library::{watched, worker};
use master::{Arguments, Error, Process, ProcessBuilder};

use super::process;

#[test]
fn mistakes_are_errors_of_the_builder() {
    let fine = || process("square", (3,));
    let cases = [
        (Process::builder(worker()), "a process needs a function"),
        (fine().arguments(5), "arguments are a tuple"),
        (fine().initializer("square", "text"), "arguments are a tuple"),
        (fine().start_timeout(Duration::ZERO), "the start timeout"),
        (fine().task_timeout(Duration::ZERO), "the task timeout"),
        (fine().environment("", "x"), "the name of an environment variable is empty"),
        (fine().environment("A=B", "x"), "\"A=B\""),
        (fine().environment("A\0", "x"), "NUL"),
        (fine().environment("A", "x\0"), "\"A\" cannot hold a NUL"),
        (fine().remove_environment("A=B"), "\"A=B\""),
        (fine().directory(""), "directory is empty"),
        (fine().directory("a\0"), "NUL"),
    ];
    for (builder, text) in cases {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_) | Error::Encode(_)), "{error}");
        assert!(error.to_string().contains(text), "{text}: {error}");
    }
    // Kept until then, also where it is replaced afterwards.
    assert!(fine().arguments(5).arguments((5,)).build().is_ok());
}

#[test]
fn names_are_counted_unless_given() {
    let build = |builder: ProcessBuilder| builder.build().unwrap().name().to_owned();
    let names: HashSet<String> = (0..20).map(|_| build(process("square", (3,)))).collect();
    assert_eq!(names.len(), 20);
    for name in names {
        let number = name.strip_prefix("Process-").unwrap();
        assert!(number.parse::<u64>().is_ok_and(|number| number > 0), "{name}");
    }
    assert_eq!(build(process("square", (3,)).name("mine")), "mine");
}

#[derive(serde::Deserialize)]
struct Printed {
    stdout: String,
}

fn printed(builder: ProcessBuilder) -> String {
    let process = builder.start().unwrap();
    process.result::<Printed>().unwrap().stdout
}

#[test]
fn its_environment_is_as_told() {
    let check = |change: fn(ProcessBuilder) -> ProcessBuilder, expected: &[&str], inherits| {
        let printed = printed(change(process("exec", ("/usr/bin/env",))));
        let lines: HashSet<_> = printed.lines().collect();
        for line in expected {
            assert!(lines.contains(line), "no {line} in {printed}");
        }
        assert!(!printed.contains("LEFT_OUT"), "{printed}");
        assert!(!printed.contains("WORKER_TOKEN"), "{printed}");
        match inherits {
            true => assert!(lines.iter().any(|line| line.starts_with("PATH=")), "{printed}"),
            false => assert_eq!(lines.len(), expected.len(), "{printed}"),
        }
    };
    watched(move || {
        check(|builder| builder, &[], true);
        check(|builder| builder.environment("ONE", "1"), &["ONE=1"], true);
        check(
            |builder| builder.environment("ONE", "1").environment("ONE", "2 = ü"),
            &["ONE=2 = ü"],
            true,
        );
        check(
            |builder| builder.environment("LEFT_OUT", "1").remove_environment("LEFT_OUT"),
            &[],
            true,
        );
        check(
            |builder| builder.remove_environment("PATH").environment("PATH", "x"),
            &["PATH=x"],
            true,
        );
        check(ProcessBuilder::clear_environment, &[], false);
        check(
            |builder| {
                builder.environment("LEFT_OUT", "1").clear_environment().environment("ONE", "1")
            },
            &["ONE=1"],
            false,
        );
        // What a worker needs to find its master cannot be taken away.
        check(
            |builder| {
                builder
                    .environment("WORKER_ADDRESS", "/nowhere")
                    .environment("WORKER_TOKEN", "wrong")
                    .environment("ONE", "1")
            },
            &["ONE=1"],
            true,
        );
        check(
            |builder| {
                builder.remove_environment("WORKER_ADDRESS").remove_environment("WORKER_TOKEN")
            },
            &[],
            true,
        );
    });
}

#[test]
fn its_directory_is_as_told() {
    watched(|| {
        let directory = tempfile::tempdir().unwrap();
        let pwd = || process("exec", ("pwd", ["-P"]));
        let path = directory.path().canonicalize().unwrap();
        assert_eq!(printed(pwd().directory(&path)).trim_end(), path.to_str().unwrap());
        let here = env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(printed(pwd()).trim_end(), here.to_str().unwrap());
        assert_eq!(
            printed(pwd().directory("..")).trim_end(),
            here.parent().unwrap().to_str().unwrap()
        );

        let error = pwd().directory(path.join("missing")).start().unwrap_err();
        assert!(matches!(error, Error::ProcessFailed(_)), "{error}");
        assert!(error.to_string().contains("there is no directory"), "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
    });
}

#[test]
fn keyword_arguments_are_passed_on() {
    watched(|| {
        let keywords = Arguments::new((5,)).unwrap().keywords(BTreeMap::from([("seconds", 0)]));
        let process = process("square", keywords.unwrap()).start().unwrap();
        assert_eq!(process.result::<i64>().unwrap(), 25);
    });
}

#[test]
fn an_initializer_comes_first() {
    watched(|| {
        let fine = process("square", (2,)).initializer("square", (3,)).start().unwrap();
        assert_eq!(fine.result::<i64>().unwrap(), 4);
        for _ in 0..5 {
            let broken =
                process("square", (2,)).initializer("fail", ("no model",)).start().unwrap();
            let error = broken.result::<i64>().unwrap_err();
            assert!(matches!(error, Error::ProcessFailed(_)), "{error}");
            assert!(error.to_string().contains("no model"), "{error}");
            broken.join().unwrap();
            assert_eq!(broken.exit_code().unwrap(), Some(1), "its own, and not a signal's");
        }
    });
}
