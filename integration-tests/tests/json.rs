//! JSON that MessagePack cannot hold, and results that JSON cannot hold.

#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

use integration_tests::{check_all, master, master_with};

#[test]
fn what_both_can_hold_comes_back_as_it_was() {
    let values = [
        "null",
        "true",
        "0",
        "-1",
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "-1.5",
        "1e300",
        "\"\"",
        "\"\\u0000\\n\\\"\\\\\"",
        "\"\u{1f600} \u{fffd}\"",
        "[]",
        "{}",
        "[[],{\"a\":[1,{\"b\":null}]}]",
        "{\"b\":1,\"a\":2}",
        "{\"\":0}",
    ];
    let lines = values.join("\n") + "\n";
    let finished = master(["map", "echo"]).stdin(lines).run();
    for (line, value) in finished.ended(0).was_quiet().stdout.lines().zip(values) {
        assert_eq!(normal(line), normal(value));
    }
    assert_eq!(finished.stdout.lines().count(), values.len());
    assert!(finished.stdout.contains("{\"b\":1,\"a\":2}"), "the order of keys is kept");
}

/// A value whose spelling does not matter; integers keep all of their digits, and an integer
/// never equals a float.
fn normal(text: &str) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    match value.as_f64() {
        Some(number) if text.contains(['.', 'e']) => format!("float {number:e}").into(),
        _ => value,
    }
}

/// Nested arrays.
fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn depth_up_to_the_limit_is_fine() {
    let value = nested(128);
    let finished = master(["map", "echo"]).stdin(format!("{value}\n")).run();
    finished.ended(0).printed(&format!("{value}\n"));
}

#[test]
fn json_that_messagepack_cannot_hold_is_an_error_with_its_line() {
    let (too_deep, very_deep) = (nested(129), nested(100_000));
    let values = [
        "18446744073709551616",
        "-9223372036854775809",
        "[1, [123456789012345678901234567890]]",
        "1e400",
        "{\"a\": 1, \"a\": 2}",
        "[{\"x\": {\"b\": 1, \"b\": 1}}]",
        "\"\\ud800\"",
        "1e-400",
        &too_deep,
        &very_deep,
    ];
    check_all(&values, |value| {
        let finished = master(["map", "echo"]).stdin(format!("1\n\n{value}\n4\n")).run();
        finished.ended(2).printed("1\n").said("line 3");
    });
}

#[test]
fn on_the_command_line_such_json_is_an_error_and_no_string() {
    for value in ["18446744073709551616", "{\"a\": 1, \"a\": 2}", "1e400"] {
        master(["map", "echo", "1", value]).run().ended(2).said("input 2");
        master(["apply", "echo", value]).run().ended(2).said("argument 1");
    }
}

#[test]
fn bytes_that_are_no_text_are_binary_data_where_text_is_wanted() {
    let lines = b"a\n\xff\n";
    let expected = "\"a\"\n{\"$binary\":\"/w==\"}\n";
    master(["map", "--text", "echo"]).stdin(lines).run().ended(0).printed(expected);
}

/// An encoded result, and what stands for it in the output; nothing if it is an error.
const RESULTS: &[(&str, Option<&str>)] = &[
    ("c0", Some("null")),
    ("cfffffffffffffffff", Some("18446744073709551615")),
    ("d38000000000000000", Some("-9223372036854775808")),
    // Long forms of short values.
    ("cd0005", Some("5")),
    ("d90161", Some("\"a\"")),
    ("cb3ff0000000000000", Some("1.0")),
    ("ca3f800000", Some("1.0")),
    // Values that JSON does not have.
    ("cb7ff8000000000000", Some("{\"$float\":\"NaN\"}")),
    ("cbfff0000000000000", Some("{\"$float\":\"-Infinity\"}")),
    ("c4026869", Some("{\"$binary\":\"aGk=\"}")),
    ("d40568", Some("{\"$extension\":[5,\"aA==\"]}")),
    ("a1ff", Some("{\"$string\":\"/w==\"}")),
    ("8101a36f6e65", Some("{\"$map\":[[1,\"one\"]]}")),
    ("82a16101a16102", Some("{\"$map\":[[\"a\",1],[\"a\",2]]}")),
    ("91c4026869", Some("[{\"$binary\":\"aGk=\"}]")),
    // Values that are none.
    ("c1", None),
    ("9301", None),
    ("0102", None),
    ("a161c0", None),
];

#[test]
fn results_are_printed_whatever_their_encoding_and_errors_are_the_items_own() {
    check_all(RESULTS, |&(encoded, printed)| {
        let arguments = ["--processes", "1", "raw", "\"01\"", &format!("\"{encoded}\""), "\"03\""];
        let finished = master_with("well-behaved", "map", arguments).run();
        match printed {
            Some(text) => finished.ended(0).printed(&format!("1\n{text}\n3\n")),
            None => finished.ended(1).printed("1\n3\n").said("input 2"),
        };
    });
}
