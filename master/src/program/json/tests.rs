//! Tables for both directions, and properties of them together.

use proptest::prelude::*;
use protocol::{limits::MAX_PAYLOAD_DEPTH, value::ValueError};

use super::*;

fn encode(text: &str) -> Result<Vec<u8>, JsonError> {
    // What is there already must stay, and must not be counted.
    let mut out = b"before".to_vec();
    let result = to_message_pack(text, &mut out);
    let rest = out.strip_prefix(b"before").unwrap();
    assert!(result.is_ok() || rest.is_empty(), "{text:?} left {rest:?} behind");
    result.map(|()| rest.to_vec())
}

fn decode(payload: &[u8]) -> Result<String, PayloadError> {
    let mut out = b"before".to_vec();
    let result = to_json(payload, &mut out);
    let rest = out.strip_prefix(b"before").unwrap();
    assert!(result.is_ok() || rest.is_empty(), "{payload:?} left {rest:?} behind");
    result.map(|()| String::from_utf8(rest.to_vec()).unwrap())
}

#[track_caller]
fn check_encoded(text: &str, expected: &[u8]) {
    assert_eq!(encode(text).as_deref(), Ok(expected), "{text}");
}

#[track_caller]
fn check_decoded(payload: &[u8], expected: &str) {
    assert_eq!(decode(payload).as_deref(), Ok(expected), "{payload:x?}");
}

#[track_caller]
fn check_syntax(text: &str, expected_position: usize) {
    match encode(text) {
        Err(JsonError::Syntax { position, .. }) => {
            assert_eq!(position, expected_position, "{text}")
        }
        other => panic!("{text}: expected a syntax error, found {other:?}"),
    }
}

#[track_caller]
fn check_problem(text: &str, expected_position: usize, expected: Problem) {
    let position = expected_position;
    let expected = JsonError::Unrepresentable { position, problem: expected };
    assert_eq!(encode(text), Err(expected), "{text}");
}

#[test]
fn json_becomes_the_shortest_message_pack() {
    check_encoded("null", b"\xc0");
    check_encoded(" true\r\n", b"\xc3");
    check_encoded("\tfalse ", b"\xc2");
    check_encoded("0", b"\x00");
    check_encoded("-0", b"\x00");
    check_encoded("-1", b"\xff");
    check_encoded("128", b"\xcc\x80");
    check_encoded("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    check_encoded("-9223372036854775808", b"\xd3\x80\0\0\0\0\0\0\0");
    check_encoded("1.0", b"\xcb\x3f\xf0\0\0\0\0\0\0");
    check_encoded("1e0", b"\xcb\x3f\xf0\0\0\0\0\0\0");
    check_encoded("10E-1", b"\xcb\x3f\xf0\0\0\0\0\0\0");
    check_encoded("-0.0", b"\xcb\x80\0\0\0\0\0\0\0");
    check_encoded("0e5", b"\xcb\0\0\0\0\0\0\0\0");
    check_encoded(r#""""#, b"\xa0");
    check_encoded(r#""aß""#, b"\xa3a\xc3\x9f");
    check_encoded(r#""\"\\\/\b\f\n\r\t""#, b"\xa8\"\\/\x08\x0c\n\r\t");
    check_encoded(r#""\u0041\u00e4\uD83D\ude00.""#, &[&b"\xa8"[..], "Aä😀.".as_bytes()].concat());
    check_encoded("[]", b"\x90");
    check_encoded("[ [ ] , { } ]", b"\x92\x90\x80");
    check_encoded(r#"{"b":1,"a":[2,{"c":null}]}"#, b"\x82\xa1b\x01\xa1a\x92\x02\x81\xa1c\xc0");
}

#[test]
fn long_containers_have_long_headers() {
    for (length, header) in [
        (15, &b"\x9f"[..]),
        (16, b"\xdc\x00\x10"),
        (65_535, b"\xdc\xff\xff"),
        (65_536, b"\xdd\x00\x01\x00\x00"),
    ] {
        let text = format!("[[{}],2]", vec!["1"; length].join(","));
        let expected = [b"\x92", header, &vec![1; length], b"\x02"].concat();
        check_encoded(&text, &expected);
    }
    let keys: Vec<String> = (0..70_000).map(|key| format!(r#""{key:05}":0"#)).collect();
    let text = format!("{{{}}}", keys.join(","));
    let encoded = encode(&text).unwrap();
    assert_eq!(encoded[..5], [0xdf, 0, 1, 0x11, 0x70]);
    check_decoded(&encoded, &text);
}

#[test]
fn what_is_not_json_is_a_syntax_error() {
    for (text, position) in [
        ("", 1),
        ("  ", 3),
        ("hello", 1),
        ("nan", 1),
        ("NaN", 1),
        ("Infinity", 1),
        ("nul", 1),
        ("nullx", 5),
        ("True", 1),
        ("007", 2),
        ("-", 2),
        ("-a", 2),
        ("+1", 1),
        (".5", 1),
        ("1.", 3),
        ("1.e5", 3),
        ("1e", 3),
        ("1e+", 4),
        ("0x10", 2),
        ("1 2", 3),
        ("1,", 2),
        ("-01", 3),
        ("[", 2),
        ("[1", 3),
        ("[1,", 4),
        ("[1,]", 4),
        ("[,1]", 2),
        ("[1 2]", 4),
        ("[1}", 3),
        ("]", 1),
        ("{", 2),
        ("{1:2}", 2),
        (r#"{"a"}"#, 5),
        (r#"{"a":}"#, 6),
        (r#"{"a":1,}"#, 8),
        (r#"{"a":1]"#, 7),
        (r#"{"a":1 "b"}"#, 8),
        ("\"", 2),
        (r#""a"#, 3),
        (r#""\x""#, 3),
        (r#""\u12g4""#, 6),
        ("\"\\", 3),
        ("\"ä\n\"", 3),
        ("'a'", 1),
        ("\u{feff}1", 1),
        ("/* */ 1", 1),
        ("\u{a0}1", 1),
        ("1\0", 2),
        (r#""\ud800\u00"#, 12),
    ] {
        check_syntax(text, position);
    }
    // Both at once: whoever takes what is not JSON for a string needs to know that it is not.
    check_syntax("99999999999999999999 bottles", 22);
    assert_eq!(
        encode("[1,]").unwrap_err().to_string(),
        "not JSON: expected a value at character 4, found `]`"
    );
    assert_eq!(
        encode("[1").unwrap_err().to_string(),
        "not JSON: expected `,` or `]` at character 3, found the end"
    );
}

#[test]
fn what_cannot_be_held_is_an_error() {
    for text in ["18446744073709551616", "-9223372036854775809"] {
        check_problem(text, 1, Problem::Integer(text.to_owned()));
    }
    let long = "1".repeat(1000);
    check_problem(&format!("[0,{long}]"), 4, Problem::Integer(format!("{}...", &long[..40])));
    for text in ["1e309", "-1.8e308", "1e-400", "-0.1e-999", "1e99999999999999999999"] {
        check_problem(text, 1, Problem::Float(text.to_owned()));
    }
    check_problem(r#"{"ä":1,"b":2,"\u00e4":3}"#, 14, Problem::DuplicateKey("ä".to_owned()));
    check_problem(
        r#"[{"a":{"b":1,"b":2},"c":{"b":1}}]"#,
        14,
        Problem::DuplicateKey("b".to_owned()),
    );
    let many: String = (0..100).map(|key| format!(r#""{key}":0,"#)).collect();
    check_problem(&format!(r#"{{{many}"77":0}}"#), 692, Problem::DuplicateKey("77".to_owned()));
    check_problem(r#""\ud800""#, 2, Problem::LoneSurrogate(0xd800));
    check_problem(r#""\udc00 \ud800""#, 2, Problem::LoneSurrogate(0xdc00));
    check_problem(r#"["ab\ud800\u0041"]"#, 5, Problem::LoneSurrogate(0xd800));
    check_problem(r#""\ud800\ud800\udc00""#, 2, Problem::LoneSurrogate(0xd800));
}

#[test]
fn nesting_has_a_limit_in_both_directions() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    check_decoded(&encode(&nested(MAX_DEPTH)).unwrap(), &nested(MAX_DEPTH));
    check_problem(&nested(MAX_DEPTH + 1), MAX_DEPTH + 1, Problem::Depth);
    check_problem(&"{\"a\":".repeat(1_000_000), 5 * MAX_DEPTH + 1, Problem::Depth);

    let deep = |depth| [vec![0x91; depth], vec![1]].concat();
    let text = format!("{}1{}", "[".repeat(MAX_PAYLOAD_DEPTH), "]".repeat(MAX_PAYLOAD_DEPTH));
    check_decoded(&deep(MAX_PAYLOAD_DEPTH), &text);
    for depth in [MAX_PAYLOAD_DEPTH + 1, 1_000_000] {
        let error = ValueError::TooDeep { offset: MAX_PAYLOAD_DEPTH, limit: MAX_PAYLOAD_DEPTH };
        assert_eq!(decode(&deep(depth)), Err(error.into()));
    }
}

#[test]
fn message_pack_becomes_json() {
    check_decoded(b"\xc0", "null");
    check_decoded(b"\x7f", "127");
    check_decoded(b"\xe0", "-32");
    check_decoded(b"\xcc\xff", "255");
    check_decoded(b"\xcd\xff\xff", "65535");
    check_decoded(b"\xce\xff\xff\xff\xff", "4294967295");
    check_decoded(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615");
    check_decoded(b"\xcf\0\x20\0\0\0\0\0\x01", "9007199254740993");
    check_decoded(b"\xd0\x80", "-128");
    check_decoded(b"\xd0\x01", "1");
    check_decoded(b"\xd1\xff\xfe", "-2");
    check_decoded(b"\xd2\x80\0\0\0", "-2147483648");
    check_decoded(b"\xd3\x80\0\0\0\0\0\0\0", "-9223372036854775808");
    check_decoded(b"\xcb\x3f\xf0\0\0\0\0\0\0", "1.0");
    check_decoded(b"\xcb\x80\0\0\0\0\0\0\0", "-0.0");
    check_decoded(b"\xcb\x54\xb2\x49\xad\x25\x94\xc3\x7d", "1e100");
    check_decoded(b"\xca\x3d\xcc\xcc\xcd", "0.10000000149011612");
    check_decoded(b"\xa4\"\\\n\x1f", r#""\"\\\n\u001f""#);
    check_decoded(&[&b"\xa6"[..], "\u{7f}ä\u{2028}".as_bytes()].concat(), "\"\u{7f}ä\u{2028}\"");
    check_decoded(b"\x92\x90\x80", "[[],{}]");
    check_decoded(b"\xdc\0\x02\x01\xdf\0\0\0\x01\xa1a\x02", r#"[1,{"a":2}]"#);
    check_decoded(
        b"\x83\xa1b\x01\xa1a\x91\x02\xa1c\x81\xa1a\xc3",
        r#"{"b":1,"a":[2],"c":{"a":true}}"#,
    );
}

#[test]
fn what_must_be_escaped_is_wherever_it_stands() {
    for before in 0..40 {
        let (before, after) = ("ä".repeat(before), "x".repeat(before));
        for (character, escaped) in
            [('"', "\\\""), ('\\', "\\\\"), ('\n', "\\n"), ('\0', "\\u0000"), ('\x1f', "\\u001f")]
        {
            let mut payload = Vec::new();
            rmp::encode::write_str(&mut payload, &format!("{before}{character}{after}")).unwrap();
            let text = format!("\"{before}{escaped}{after}\"");
            check_decoded(&payload, &text);
            check_encoded(&text, &payload);
        }
        check_syntax(&format!("\"{before}\n{after}\""), before.chars().count() + 2);
    }
}

#[test]
fn what_json_cannot_hold_has_an_agreed_form() {
    check_decoded(b"\xcb\x7f\xf8\0\0\0\0\0\0", r#"{"$float":"NaN"}"#);
    check_decoded(b"\xca\x7f\x80\0\0", r#"{"$float":"Infinity"}"#);
    check_decoded(b"\xcb\xff\xf0\0\0\0\0\0\0", r#"{"$float":"-Infinity"}"#);
    check_decoded(b"\xc4\0", r#"{"$binary":""}"#);
    check_decoded(b"\xc4\x01h", r#"{"$binary":"aA=="}"#);
    check_decoded(b"\xc5\0\x02hi", r#"{"$binary":"aGk="}"#);
    check_decoded(b"\xc6\0\0\0\x03\xff\xff\xfe", r#"{"$binary":"///+"}"#);
    check_decoded(b"\xd4\x05h", r#"{"$extension":[5,"aA=="]}"#);
    check_decoded(b"\xc7\0\xff", r#"{"$extension":[-1,""]}"#);
    check_decoded(b"\xa1\xff", r#"{"$string":"/w=="}"#);
    check_decoded(b"\x82\x01\xa3one\x02\xa3two", r#"{"$map":[[1,"one"],[2,"two"]]}"#);
    check_decoded(b"\x82\xa1a\x01\xa1a\x02", r#"{"$map":[["a",1],["a",2]]}"#);
    check_decoded(b"\x81\xa1\xff\x01", r#"{"$map":[[{"$string":"/w=="},1]]}"#);
    check_decoded(
        b"\x81\xc0\x81\x91\x01\x81\xa1a\x02",
        r#"{"$map":[[null,{"$map":[[[1],{"a":2}]]}]]}"#,
    );
    check_decoded(b"\x81\x81\x01\x02\x91\x03", r#"{"$map":[[{"$map":[[1,2]]},[3]]]}"#);
}

#[test]
fn a_map_that_looks_like_an_agreed_form_is_told_apart() {
    for name in ["$float", "$binary", "$extension", "$string", "$map"] {
        let entry = format!(r#""{name}":0"#);
        let encoded = encode(&format!("{{{entry}}}")).unwrap();
        check_decoded(&encoded, &format!(r#"{{"$map":[["{name}",0]]}}"#));
        let with_another = format!(r#"{{{entry},"a":1}}"#);
        check_decoded(&encode(&with_another).unwrap(), &with_another);
    }
    check_decoded(&encode(r#"{"$other":0}"#).unwrap(), r#"{"$other":0}"#);
}

#[test]
fn what_is_not_one_value_is_an_error() {
    let truncated = |offset, expected| ValueError::Truncated { offset, expected }.into();
    for (payload, expected) in [
        (&b""[..], truncated(0, "a value")),
        (b"\x92\x01", truncated(2, "a value")),
        (b"\xcd\x01", truncated(2, "an integer")),
        (b"\xa3ab", truncated(3, "a string")),
        (b"\xdf\xff\xff\xff\xff", truncated(5, "a value")),
        (b"\xc6\xff\xff\xff\xff0", truncated(6, "binary data")),
        (b"\xc8\x01", truncated(2, "a length")),
        (b"\x01\x02\x03", PayloadError::Surplus { surplus: 2 }),
        (
            b"\x91\xc1",
            ValueError::Unexpected {
                offset: 1,
                expected: "a MessagePack value",
                found: "the reserved byte 0xc1",
            }
            .into(),
        ),
    ] {
        assert_eq!(decode(payload), Err(expected), "{payload:x?}");
    }
}

/// JSON text in the form in which this module prints it.
fn json_text() -> impl Strategy<Value = String> {
    let string = || any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
    let finite = any::<f64>().prop_filter("JSON has no others", |value| value.is_finite());
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (-300i64..300).prop_map(|value| value.to_string()),
        (-300i32..300).prop_map(|value| format!("{:?}", f64::from(value))),
        finite.prop_map(|value| format!("{value:?}")),
        string(),
    ];
    leaf.prop_recursive(6, 100, 20, move |inner| {
        let array = prop::collection::vec(inner.clone(), 0..20)
            .prop_map(|values| format!("[{}]", values.join(",")));
        let object = prop::collection::hash_map(string(), inner, 0..20).prop_map(|entries| {
            let entries: Vec<_> =
                entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", entries.join(","))
        });
        prop_oneof![array, object]
    })
}

/// Text that is often JSON, and otherwise often nearly so.
fn nearly_json() -> impl Strategy<Value = String> {
    let replacement = prop::sample::select(&b"[]{},:\"\\0123456789.-+eEu \ntfn"[..]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), replacement), 0..3);
    (json_text(), changes).prop_map(|(text, changes)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (index, replacement) in changes {
            *index.get_mut(&mut characters) = char::from(replacement);
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn json_survives_the_way_there_and_back(text in json_text()) {
        let encoded = encode(&text).unwrap();
        prop_assert_eq!(protocol::value::skip(&encoded), Ok(encoded.len()));
        prop_assert_eq!(decode(&encoded), Ok(text));
    }

    #[test]
    fn what_is_json_is_what_serde_json_takes_for_it(text in nearly_json()) {
        // A raw value is only checked for its syntax, so the two judge the same thing.
        let raw = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        let syntax_error = matches!(encode(&text), Err(JsonError::Syntax { .. }));
        prop_assert_eq!(syntax_error, raw.is_err(), "{:?}", raw);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        drop(encode(&text));
    }

    #[test]
    fn any_bytes_are_printed_or_refused(bytes in any::<Vec<u8>>()) {
        match (decode(&bytes), protocol::value::skip(&bytes)) {
            (Ok(text), Ok(length)) => {
                prop_assert_eq!(length, bytes.len());
                let parsed = serde_json::from_str::<serde_json::Value>(&text);
                prop_assert!(parsed.is_ok(), "{}", text);
            }
            (Err(PayloadError::Value(_)), Err(_)) => {}
            (Err(PayloadError::Surplus { surplus }), Ok(length)) => {
                prop_assert_eq!(surplus, bytes.len() - length);
            }
            (printed, skipped) => prop_assert!(false, "{:?}, {:?}", printed, skipped),
        }
    }
}
