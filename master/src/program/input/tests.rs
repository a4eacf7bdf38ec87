//! Streams that arrive in pieces, and arguments.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;

use super::*;

const MAP: ItemFormat = ItemFormat { mode: InputMode::Json, spread: Spread::Whole, keywords: None };
const STARMAP: ItemFormat =
    ItemFormat { mode: InputMode::Json, spread: Spread::Arguments, keywords: None };
const TEXT: ItemFormat =
    ItemFormat { mode: InputMode::Text, spread: Spread::Whole, keywords: None };

/// Gives one piece at each read, and counts what is left.
#[derive(Clone)]
struct Pieces(Arc<Mutex<VecDeque<io::Result<&'static [u8]>>>>);

impl Pieces {
    fn new(pieces: impl IntoIterator<Item = &'static [u8]>) -> Self {
        Self(Arc::new(Mutex::new(pieces.into_iter().map(Ok).collect())))
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pieces = self.0.lock().unwrap();
        let piece = pieces.pop_front().unwrap_or(Ok(b""))?;
        let (now, later) = piece.split_at(piece.len().min(buffer.len()));
        buffer[..now.len()].copy_from_slice(now);
        if !later.is_empty() {
            pieces.push_front(Ok(later));
        }
        Ok(now.len())
    }
}

/// Gives so many bytes at each read.
struct Slowly {
    stream: io::Cursor<Vec<u8>>,
    piece: usize,
}

impl Read for Slowly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.piece);
        self.stream.read(&mut buffer[..most])
    }
}

/// All chunks as JSON, an error as its text.
fn read(mut inputs: Inputs, max_items: usize) -> Vec<Result<String, String>> {
    let mut input = 1;
    let mut all = Vec::new();
    while let Some(result) = inputs.next_chunk(max_items) {
        match result {
            Ok(chunk) => {
                assert_eq!(chunk.first_input, input, "inputs are numbered without a gap");
                assert!(!chunk.is_empty() && chunk.len() <= max_items);
                assert_eq!(chunk.ends.last(), Some(&chunk.bytes.len()));
                input += chunk.len() as u64;
                all.extend(chunk.items().map(|item| Ok(as_json(item))));
            }
            Err(error) => all.push(Err(error.to_string())),
        }
    }
    assert!(inputs.next_chunk(max_items).is_none(), "the end stays the end");
    all
}

/// The values of an item, with a space between them.
fn as_json(mut item: &[u8]) -> String {
    let mut out = Vec::new();
    while !item.is_empty() {
        let (value, rest) = item.split_at(protocol::value::skip(item).unwrap());
        if !out.is_empty() {
            out.push(b' ');
        }
        json::to_json(value, &mut out).unwrap();
        item = rest;
    }
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn check_stream(format: &ItemFormat, stream: &'static [u8], expected: &[Result<&str, &str>]) {
    let expected: Vec<_> =
        expected.iter().map(|result| result.map(str::to_owned).map_err(str::to_owned)).collect();
    // As a whole and byte by byte, in chunks of every size that matters.
    for max_items in [1, 2, 100] {
        let whole = Box::new(Pieces::new([stream]));
        let bytes = Box::new(Pieces::new(stream.chunks(1)));
        assert_eq!(read(Inputs::from_stream(format.clone(), whole), max_items), expected);
        assert_eq!(read(Inputs::from_stream(format.clone(), bytes), max_items), expected);
    }
}

#[track_caller]
fn check_arguments(format: &ItemFormat, arguments: &[&str], expected: &[Result<&str, &str>]) {
    let arguments = arguments.iter().map(OsString::from).collect();
    let expected: Vec<_> =
        expected.iter().map(|result| result.map(str::to_owned).map_err(str::to_owned)).collect();
    assert_eq!(read(Inputs::from_arguments(format.clone(), arguments), 2), expected);
}

#[test]
fn json_lines() {
    check_stream(&MAP, b"", &[]);
    check_stream(&MAP, b"\n \t\r\n\n", &[]);
    check_stream(&MAP, b"1\n2\n3\n", &[Ok("[1]"), Ok("[2]"), Ok("[3]")]);
    check_stream(&MAP, b"1\r\n\r\n  \n[2, 3]", &[Ok("[1]"), Ok("[[2,3]]")]);
    check_stream(&MAP, b"\xef\xbb\xbf1\n2\n", &[Ok("[1]"), Ok("[2]")]);
    check_stream(&MAP, b"\xef\xbb\xbf\n2", &[Ok("[2]")]);
}

#[test]
fn a_bad_line_ends_the_input() {
    let not_json = "line 4: not JSON: expected a value at character 1, found `x`";
    check_stream(&MAP, b"1\n\n2\nx\n3\n", &[Ok("[1]"), Ok("[2]"), Err(not_json)]);
    let mark = "line 2: not JSON: expected a value at character 1, found `\\u{feff}`";
    check_stream(&MAP, b"1\n\xef\xbb\xbf2\n", &[Ok("[1]"), Err(mark)]);
    let not_utf8 = "line 1: not JSON: byte 3 is not UTF-8; --text passes lines on as they are";
    check_stream(&MAP, b"\"a\xff\"\n", &[Err(not_utf8)]);
    let unfinished = "line 2: not JSON: expected `,` or `]` at character 3, found the end";
    check_stream(&MAP, b"1\n[2", &[Ok("[1]"), Err(unfinished)]);
    let twice = "line 1: the key \"a\" comes twice in one object (at character 8)";
    check_stream(&MAP, b"{\"a\":1,\"a\":2}\n", &[Err(twice)]);
}

#[test]
fn integers_at_their_limits() {
    check_stream(
        &MAP,
        b"0\n-0\n10\n-1\n9223372036854775807\n9223372036854775808\n-9223372036854775808\n\
          9999999999999999999\n10000000000000000000\n18446744073709551615",
        &[
            Ok("[0]"),
            Ok("[0]"),
            Ok("[10]"),
            Ok("[-1]"),
            Ok("[9223372036854775807]"),
            Ok("[9223372036854775808]"),
            Ok("[-9223372036854775808]"),
            Ok("[9999999999999999999]"),
            Ok("[10000000000000000000]"),
            Ok("[18446744073709551615]"),
        ],
    );
    for (stream, digits) in [
        (&b"1\n18446744073709551616\n2\n"[..], "18446744073709551616"),
        (b"1\n-9223372036854775809\n2\n", "-9223372036854775809"),
        (b"1\n-9999999999999999999\n2\n", "-9999999999999999999"),
        (b"1\n-10000000000000000000", "-10000000000000000000"),
    ] {
        let error = format!(
            "line 2: the integer {digits} does not fit 64 bits; write it as a string, or with a \
             fraction for the nearest float (at character 1)"
        );
        check_stream(&MAP, stream, &[Ok("[1]"), Err(&error)]);
    }
}

#[test]
fn what_begins_like_an_integer() {
    check_stream(
        &MAP,
        b"1\n1.5\n2\n1e2\n-0.0\n 3\n4 \n5\t\r\n6\r\r\n7\r\n8\r",
        &[
            Ok("[1]"),
            Ok("[1.5]"),
            Ok("[2]"),
            Ok("[100.0]"),
            Ok("[-0.0]"),
            Ok("[3]"),
            Ok("[4]"),
            Ok("[5]"),
            Ok("[6]"),
            Ok("[7]"),
            Ok("[8]"),
        ],
    );
    let digit = "expected no digit after a leading 0 at character";
    for (stream, error) in [
        (&b"1\n\n00\n2\n"[..], format!("line 3: not JSON: {digit} 2, found `0`")),
        (b"1\r\n \r\n-01\r\n2\r\n", format!("line 3: not JSON: {digit} 3, found `1`")),
        (b"1\n-\n2\n", "line 2: not JSON: expected a digit at character 2, found the end".into()),
        (b"1\n+2\n3\n", "line 2: not JSON: expected a value at character 1, found `+`".into()),
        (b"1\n2\r3\n", "line 2: not JSON: expected the end at character 3, found `3`".into()),
        (b"1\n2 3\n", "line 2: not JSON: expected the end at character 3, found `3`".into()),
        (b"1\n2x\n", "line 2: not JSON: expected the end at character 2, found `x`".into()),
        (
            b"1\n23\xff\n",
            "line 2: not JSON: byte 3 is not UTF-8; --text passes lines on as they are".into(),
        ),
    ] {
        check_stream(&MAP, stream, &[Ok("[1]"), Err(&error)]);
    }
    check_stream(&TEXT, b"1\n007\n", &[Ok(r#"["1"]"#), Ok(r#"["007"]"#)]);
    check_stream(
        &STARMAP,
        b"[1]\n\n2\n",
        &[Ok("[1]"), Err("line 3: expected a JSON array of arguments, found an integer")],
    );
}

#[test]
fn a_number_of_a_million_digits_is_one_error() {
    let stream = format!("1\n{}\n2\n", "9".repeat(1_000_000));
    let read = read(Inputs::from_stream(MAP, Box::new(io::Cursor::new(stream))), 100);
    let [Ok(_), Err(error)] = &read[..] else { panic!("{read:?}") };
    assert!(error.starts_with("line 2: the integer 9999"), "{error}");
    assert!(error.len() < 300, "{error}");
}

#[test]
fn an_integer_with_keywords_that_leave_no_room_is_left_to_who_can_say_so() {
    let mut chunk = EncodedChunk::default();
    assert_eq!(integers::append_plain(b"1\n", &vec![0; MAX_ITEM - 9], 1, &mut chunk), (0, 0));
    assert_eq!(integers::append_plain(b"1\n", b"\x80", 1, &mut chunk), (2, 1));
}

/// What comes of a stream that goes the general way line by line.
fn read_generally(format: &ItemFormat, stream: Vec<u8>) -> (EncodedChunk, Option<String>) {
    let mut lines = Lines::new(Box::new(io::Cursor::new(stream)), true);
    let mut chunk = EncodedChunk { first_input: 1, ..EncodedChunk::default() };
    loop {
        let appended = match lines.next(true) {
            Ok(lines::Next::Line(line)) if is_blank(line, format.mode) => continue,
            Ok(lines::Next::Line(line)) => {
                append_item(format, &mut chunk, |out| encode_line(line, format.mode, out))
            }
            Ok(lines::Next::NotYet | lines::Next::End) => return (chunk, None),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = appended {
            return (chunk, Some(format!("line {}: {problem}", lines.number())));
        }
    }
}

/// A line that is often an integer, and otherwise often nearly one.
fn integer_line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (any::<u64>(), 0..64u32).prop_map(|(value, shift)| (value >> shift).to_string()),
        8 => (any::<i64>(), 0..64u32).prop_map(|(value, shift)| (value >> shift).to_string()),
        2 => "-?[0-9]{17,21}",
        1 => "-?0{1,3}[0-9]{0,2}",
        1 => "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,2})?([eE][+-]?[0-9]{1,2})?",
        1 => "[ \t]{0,2}",
        1 => "[-+0-9.eEx \t\r]{0,5}",
    ]
}

/// Several of them, each with its line end, and perhaps without one at the end.
fn integer_lines() -> impl Strategy<Value = String> {
    let line_end = prop::sample::select(&["\n", "\n", "\r\n", "\r\r\n"][..]);
    let lines = prop::collection::vec((integer_line(), line_end), 0..20)
        .prop_map(|lines| lines.into_iter().map(|(line, end)| line + end).collect::<String>());
    (lines, integer_line()).prop_map(|(lines, last)| lines + &last)
}

proptest! {
    #[test]
    fn integers_come_to_the_same_as_the_general_way(
        stream in integer_lines(),
        keywords in prop::option::of(Just(Keywords(b"\x81\xa1a\x01".to_vec()))),
        most in 1..30usize,
        piece in 1..50usize,
    ) {
        let format = ItemFormat { keywords, ..MAP };
        let (expected, expected_error) = read_generally(&format, stream.clone().into());
        let pieces = Slowly { stream: io::Cursor::new(stream.into()), piece };
        let mut inputs = Inputs::from_stream(format, Box::new(pieces));
        let (mut bytes, mut ends, mut error) = (Vec::new(), Vec::new(), None);
        while let Some(chunk) = inputs.next_chunk(most) {
            match chunk {
                Ok(chunk) => {
                    prop_assert_eq!(chunk.first_input, ends.len() as u64 + 1);
                    prop_assert!(!chunk.is_empty() && chunk.len() <= most);
                    ends.extend(chunk.ends.iter().map(|end| bytes.len() + end));
                    bytes.extend(chunk.bytes);
                }
                Err(problem) => error = Some(problem.to_string()),
            }
        }
        prop_assert_eq!((bytes, ends), (expected.bytes, expected.ends));
        prop_assert_eq!(error, expected_error);
    }
}

#[test]
fn starmap_spreads_arrays() {
    check_stream(&STARMAP, b"[1,2]\n[]\n[[3]]", &[Ok("[1,2]"), Ok("[]"), Ok("[[3]]")]);
    let not_array = "line 2: expected a JSON array of arguments, found an integer";
    check_stream(&STARMAP, b"[1]\n2\n[3]", &[Ok("[1]"), Err(not_array)]);
    let not_array = "input 2: expected a JSON array of arguments, found an object";
    check_arguments(&STARMAP, &["[1,-2]", "{}"], &[Ok("[1,-2]"), Err(not_array)]);
}

#[test]
fn text_lines_are_passed_on_as_they_are() {
    check_stream(
        &TEXT,
        b"1\n\n a \nb\r\n \nlast",
        &[Ok(r#"["1"]"#), Ok(r#"[" a "]"#), Ok(r#"["b\r"]"#), Ok(r#"[" "]"#), Ok(r#"["last"]"#)],
    );
    check_stream(
        &TEXT,
        b"\xef\xbb\xbfa\n\xff\n",
        &[Ok("[\"\u{feff}a\"]"), Ok(r#"[{"$binary":"/w=="}]"#)],
    );
}

#[test]
fn arguments_are_json_or_strings() {
    check_arguments(
        &MAP,
        &["-3", "-1e5", "1.0", "[1,-2]", "\"3\"", " 4 "],
        &[Ok("[-3]"), Ok("[-100000.0]"), Ok("[1.0]"), Ok("[[1,-2]]"), Ok(r#"["3"]"#), Ok("[4]")],
    );
    check_arguments(
        &MAP,
        &["hello", "", "007", "nan", "{a:1}", "99999999999999999999 l"],
        &[
            Ok(r#"["hello"]"#),
            Ok(r#"[""]"#),
            Ok(r#"["007"]"#),
            Ok(r#"["nan"]"#),
            Ok(r#"["{a:1}"]"#),
            Ok(r#"["99999999999999999999 l"]"#),
        ],
    );
    let too_large = "input 2: the integer 18446744073709551616 does not fit 64 bits; write it as \
                     a string, or with a fraction for the nearest float (at character 1)";
    check_arguments(&MAP, &["1", "18446744073709551616", "2"], &[Ok("[1]"), Err(too_large)]);
    check_arguments(
        &TEXT,
        &["1", "18446744073709551616", ""],
        &[Ok(r#"["1"]"#), Ok(r#"["18446744073709551616"]"#), Ok(r#"[""]"#)],
    );
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8_are_binary_data() {
    use std::os::unix::ffi::OsStringExt;
    for format in [MAP, TEXT] {
        let inputs = Inputs::from_arguments(format, vec![OsString::from_vec(vec![0xff])]);
        assert_eq!(read(inputs, 1), [Ok(r#"[{"$binary":"/w=="}]"#.to_owned())]);
    }
}

#[test]
fn keywords_follow_each_item() {
    let keywords = Some(Keywords::parse(r#"{"a": 1}"#).unwrap());
    let format = ItemFormat { keywords: keywords.clone(), ..MAP };
    check_stream(&format, b"1\n2", &[Ok(r#"[1] {"a":1}"#), Ok(r#"[2] {"a":1}"#)]);
    let call = encode_call(&["x".into(), "2".into()], InputMode::Json, keywords.as_ref()).unwrap();
    assert_eq!(as_json(&call), r#"["x",2] {"a":1}"#);
    let call = encode_call(&["x".into(), "2".into()], InputMode::Text, None).unwrap();
    assert_eq!(as_json(&call), r#"["x","2"]"#);
    let error = encode_call(&["x".into(), "1e999".into()], InputMode::Json, None).unwrap_err();
    assert!(error.to_string().starts_with("argument 2: the number 1e999"), "{error}");
}

#[test]
fn keywords_are_an_object_and_positional_arguments_an_array() {
    assert_eq!(
        Keywords::parse("[1]").unwrap_err().to_string(),
        "expected a JSON object, found an array"
    );
    assert_eq!(
        Positional::parse("{}").unwrap_err().to_string(),
        "expected a JSON array, found an object"
    );
    assert_eq!(
        Positional::parse("null").unwrap_err().to_string(),
        "expected a JSON array, found null"
    );
    assert_eq!(Positional::parse("[1]").unwrap().encoded(), b"\x91\x01");
    Keywords::parse("{a:1}").unwrap_err();
}

#[test]
fn a_chunk_is_not_held_back_while_the_stream_is_open() {
    let pieces = Pieces::new([&b"1\n2\n"[..], b"3", b"\n", b"4\n5\n6\n"]);
    let mut inputs = Inputs::from_stream(MAP, Box::new(pieces.clone()));
    assert_eq!(pieces.left(), 4, "nothing is read before it is asked for");
    let mut next = |max_items| inputs.next_chunk(max_items).map(|chunk| chunk.unwrap().len());
    assert_eq!(next(100), Some(2));
    assert_eq!(pieces.left(), 3, "2 inputs were there, so no more was read");
    assert_eq!(next(100), Some(1));
    assert_eq!(pieces.left(), 1);
    assert_eq!(next(2), Some(2));
    assert_eq!(next(2), Some(1));
    assert_eq!(next(2), None);
}

#[test]
fn a_stream_that_breaks_is_an_error_behind_what_came() {
    let pieces = Pieces::new([&b"1\n2"[..]]);
    pieces.0.lock().unwrap().extend([
        Err(io::ErrorKind::Interrupted.into()),
        Ok(&b"0\n"[..]),
        Err(io::Error::other("the disk is gone")),
    ]);
    let expected = [
        Ok("[1]".to_owned()),
        Ok("[20]".to_owned()),
        Err("line 3: cannot read on: the disk is gone".to_owned()),
    ];
    assert_eq!(read(Inputs::from_stream(MAP, Box::new(pieces)), 100), expected);
}

#[test]
fn lines_longer_than_a_read_are_whole() {
    let long = "x".repeat(300_000);
    let stream = format!("{long}\nshort\n{long}");
    let inputs = Inputs::from_stream(TEXT, Box::new(io::Cursor::new(stream)));
    let expected = [&long, "short", &long].map(|text| Ok(format!("[\"{text}\"]")));
    assert_eq!(read(inputs, 100), expected);
}

#[test]
fn large_keyword_arguments_do_not_multiply() {
    let keywords =
        Keywords::parse(&format!(r#"{{"a":"{}"}}"#, "x".repeat(FULL_CHUNK / 2))).unwrap();
    let format = ItemFormat { keywords: Some(keywords), ..MAP };
    let mut inputs = Inputs::from_stream(format, Box::new(&b"1\n2\n3\n4\n5\n"[..]));
    assert_eq!(inputs.next_chunk(100).unwrap().unwrap().len(), 2);
}
