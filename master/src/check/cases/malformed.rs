//! Malformed input, which a worker has to refuse.

use protocol::{
    launch::EXIT_PROTOCOL,
    limits::{LENGTH_BYTES, MAX_FRAME},
};

use crate::check::{
    finding::{Finding, Stop, hexadecimal},
    session::{Session, broken_here},
    subject::Came,
    trial::{Case, Trial},
};
use protocol::strict::{Form, Value, envelope, frame, framed};

pub(super) const CASES: &[Case] = &[
    Case::new("malformed frames", &[36], |trial| each(trial, FRAMES)),
    Case::new("malformed envelopes", &[36], |trial| each(trial, ENVELOPES)),
    Case::new("malformed fields of a call", &[36], |trial| each(trial, FIELDS)),
    Case::new("malformed payloads", &[36], |trial| each(trial, PAYLOADS)),
    Case::new("messages out of their place", &[36], |trial| each(trial, OUT_OF_PLACE)),
    Case::new("malformed answers to the hello", &[36], |trial| {
        for &(name, bytes) in WELCOMES {
            let mut session = Session::greeted(trial)?;
            let bytes = bytes();
            session.say_welcome(&bytes)?;
            is_refused(trial, session, 36).map_err(|stop| named(name, &bytes, stop))?;
        }
        Ok(())
    }),
    Case::new("nothing of a malformed call is run", &[36], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["print"])?;
        let text = "run though the call is malformed";
        let fields = [
            ("id", Value::Integer(1)),
            ("function", Value::text("print")),
            ("items", Value::Integer(2)),
        ];
        let items = [Value::Array(vec![Value::text(text)]), Value::Integer(1)];
        session.send(&frame(&envelope("call", fields), &items))?;
        let output = is_refused(trial, session, 36)?;
        match output.iter().any(|stream| stream.lines().any(|line| line == text)) {
            true => Err(Finding::new(36, "an item of a malformed call was run").into()),
            false => Ok(()),
        }
    }),
];

/// What is wrong, and the bytes.
type Sample = (&'static str, fn() -> Vec<u8>);

/// Sends each to a worker that is ready.
fn each(trial: &Trial<'_>, samples: &[Sample]) -> Result<(), Stop> {
    for &(name, bytes) in samples {
        let mut session = Session::ready(trial)?;
        let bytes = bytes();
        session.send(&bytes)?;
        if name.starts_with("the end of the stream") {
            session.wire.say_end();
        }
        is_refused(trial, session, 36).map_err(|stop| named(name, &bytes, stop))?;
    }
    Ok(())
}

fn named(name: &str, sent: &[u8], stop: Stop) -> Stop {
    match stop {
        Stop::Broken(finding) => {
            let problem = format!("{name}: {}", finding.problem);
            let refused =
                || format!("a complaint and status {EXIT_PROTOCOL}, for {}", hexadecimal(sent));
            let expected = Some(finding.expected.clone().unwrap_or_else(refused));
            Finding { problem, expected, ..*finding }.into()
        }
        stop => stop,
    }
}

/// The worker is to say nothing, to complain, and to exit as one does whose master broke the
/// protocol. Gives what it has printed.
pub(super) fn is_refused(
    trial: &Trial<'_>,
    mut session: Session<'_>,
    requirement: u32,
) -> Result<[String; 2], Stop> {
    let broken = |text: String| Finding::new(requirement, text);
    let patience = trial.patience;
    match session.wire.receive(MAX_FRAME, patience).map_err(broken_here)? {
        Came::End(rest) if rest.is_empty() => {}
        Came::End(rest) | Came::Frame(rest) => {
            return Err(broken("it answered what is malformed".into()).came(&rest).into());
        }
        Came::BadLength(length) => {
            return Err(broken(format!("it answered with a length of {length}")).into());
        }
        Came::Nothing => {
            let text =
                format!("it did not close its socket within {:.1} s", patience.as_secs_f64());
            return Err(broken(text).into());
        }
    }
    let status = session.exits(requirement)?;
    if matches!(status.code(), None | Some(0 | 1)) {
        let text = format!("it ended with {status}; another status than 0 and 1 is due");
        return Err(broken(text).into());
    }
    if status.code() != Some(EXIT_PROTOCOL.into()) {
        trial.remark(requirement, format!("status {EXIT_PROTOCOL} is recommended, not {status}"));
    }
    let output = session.subject.output();
    if output.iter().all(|stream| stream.trim().is_empty()) {
        let text = "it said nothing on standard error about what was malformed";
        return Err(broken(text.into()).into());
    }
    session.look_back()?;
    Ok(output)
}

fn id() -> (&'static str, Value) {
    ("id", Value::Integer(1))
}

fn echo() -> (&'static str, Value) {
    ("function", Value::text("echo"))
}

fn items(count: i128) -> (&'static str, Value) {
    ("items", Value::Integer(count))
}

fn item() -> Value {
    Value::Array(vec![Value::Nil])
}

fn call<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>, payload: &[Value]) -> Vec<u8> {
    frame(&envelope("call", fields), payload)
}

/// A call with one more field, which spoils it.
fn with(name: &str, value: Value) -> Vec<u8> {
    call([id(), echo(), (name, value)], &[item()])
}

/// A frame of an envelope, in bytes, and a payload.
fn raw(envelope: &[u8], payload: &[Value]) -> Vec<u8> {
    let mut body = envelope.to_vec();
    payload.iter().for_each(|value| value.write(Form::Shortest, &mut body));
    framed(&body)
}

const FRAMES: &[Sample] = &[
    ("a body of 0 bytes", || vec![0; 4]),
    ("a length of 4294967295", || vec![0xff; 4]),
    ("a length beyond the limit", || {
        let length = u32::try_from(MAX_FRAME + 1).unwrap_or(u32::MAX);
        length.to_be_bytes().to_vec()
    }),
    ("the end of the stream inside a length", || vec![0, 0]),
    ("the end of the stream inside a body", || {
        let mut call = call([id(), echo()], &[item()]);
        call.pop();
        call
    }),
    ("another protocol", || b"GET / HTTP/1.1\r\n\r\n".to_vec()),
];

const ENVELOPES: &[Sample] = &[
    ("an envelope that is an array", || framed(&[0x91, 0xa5, b'd', b'r', b'a', b'i', b'n'])),
    ("an envelope that is a string", || framed(b"\xa5drain")),
    ("an envelope without an entry", || framed(&[0x80])),
    ("an envelope with two entries", || {
        let drain = || (Value::text("drain"), Value::Map(vec![]));
        let other = (Value::text("x"), Value::Map(vec![]));
        raw(&Value::Map(vec![drain(), other]).encoded(Form::Shortest), &[])
    }),
    ("an envelope that does not begin with 81", || {
        framed(&[&[0xde, 0, 1][..], b"\xa5drain\x80"].concat())
    }),
    ("a name that is binary data", || framed(b"\x81\xc4\x05drain\x80")),
    ("a name that is an integer", || framed(&[0x81, 5, 0x80])),
    ("an unknown message", || frame(&envelope("nonsense", []), &[])),
    ("fields in an array", || framed(b"\x81\xa5drain\x90")),
    ("fields that are nil", || framed(b"\x81\xa5drain\xc0")),
    ("a key that is an integer", || framed(b"\x81\xa5drain\x81\x01\x01")),
    ("a float in an envelope", || with("x", Value::float(1.5))),
    ("binary data in an envelope", || with("x", Value::Binary(vec![1]))),
    ("an extension type in an envelope", || with("x", Value::Extension(1, vec![1]))),
    ("a reserved byte in an envelope", || framed(b"\x81\xa5drain\x81\xa1x\xc1")),
    ("17 levels in an envelope", || with("x", Value::nested(15))),
    ("an envelope that is cut short", || framed(b"\x81\xa5drain\x81\xa1x")),
    ("a function that is not UTF-8", || {
        call([id(), ("function", Value::String(vec![0xff]))], &[item()])
    }),
    ("a function with half of a surrogate pair, which is not UTF-8", || {
        call([id(), ("function", Value::String(vec![0xed, 0xa0, 0x80]))], &[item()])
    }),
];

const FIELDS: &[Sample] = &[
    ("a call without an id", || call([echo()], &[item()])),
    ("a call without a function", || call([id()], &[item()])),
    ("an id that is a string", || call([("id", Value::text("1")), echo()], &[item()])),
    ("an id below 0", || call([("id", Value::Integer(-1)), echo()], &[item()])),
    ("an id that is nil", || call([("id", Value::Nil), echo()], &[item()])),
    ("an id that is a boolean", || call([("id", Value::Boolean(true)), echo()], &[item()])),
    ("a function that is binary data", || {
        call([id(), ("function", Value::Binary(b"echo".to_vec()))], &[item()])
    }),
    ("a function that is nil", || call([id(), ("function", Value::Nil)], &[item()])),
    ("items above 32 bits", || call([id(), echo(), items(1 << 32)], &[item()])),
    ("items in a string", || with("items", Value::text("1"))),
    ("items that are a boolean", || with("items", Value::Boolean(true))),
    ("items that are nil", || with("items", Value::Nil)),
    ("keywords that are an integer", || with("keywords", Value::Integer(0))),
    ("last that is nil", || with("last", Value::Nil)),
    ("last that is an integer", || with("last", Value::Integer(1))),
    ("the same field twice", || call([id(), echo(), id()], &[item()])),
];

const PAYLOADS: &[Sample] = &[
    ("0 items", || call([id(), echo(), items(0)], &[])),
    ("0 items and a value", || call([id(), echo(), items(0)], &[item()])),
    ("fewer values than items", || call([id(), echo(), items(2)], &[item()])),
    ("more values than items", || call([id(), echo()], &[item(), item()])),
    ("no value", || call([id(), echo()], &[])),
    ("an item that is not an array", || call([id(), echo()], &[Value::Integer(1)])),
    ("an item that is a map", || call([id(), echo()], &[Value::Map(vec![])])),
    ("an item that is binary data", || call([id(), echo()], &[Value::Binary(vec![0x90])])),
    ("keywords without a map", || {
        call([id(), echo(), ("keywords", Value::Boolean(true))], &[item()])
    }),
    ("keywords that are an array", || {
        call([id(), echo(), ("keywords", Value::Boolean(true))], &[item(), item()])
    }),
    ("an item that is cut short", || {
        let mut bytes = call([id(), echo()], &[Value::Array(vec![Value::text("abc")])]);
        bytes.pop();
        let body = bytes.get(LENGTH_BYTES..).unwrap_or_default().to_vec();
        framed(&body)
    }),
    ("a reserved byte in an item", || {
        let body = call([id(), echo()], &[]);
        let body = body.get(LENGTH_BYTES..).unwrap_or_default();
        framed(&[body, &[0x91, 0xc1]].concat())
    }),
    ("an item of 513 levels", || call([id(), echo()], &[Value::nested(513)])),
    ("bytes behind the last value", || {
        let body = call([id(), echo()], &[item()]);
        let body = body.get(LENGTH_BYTES..).unwrap_or_default();
        framed(&[body, &[0xc0]].concat())
    }),
    ("a drain with a payload", || frame(&envelope("drain", []), &[Value::Nil])),
];

const OUT_OF_PLACE: &[Sample] = &[
    ("a second welcome", || frame(&envelope("welcome", [("version", Value::Integer(1))]), &[])),
    ("a reject behind the welcome", || {
        frame(&envelope("reject", [("reason", Value::text("late"))]), &[])
    }),
    ("a message of a worker", || {
        frame(&envelope("result", [id(), ("item", Value::Integer(0))]), &[Value::Nil])
    }),
    ("a hello", || frame(&envelope("hello", [("token", Value::text("x"))]), &[])),
    ("a cancel that was not agreed on", || {
        frame(&envelope("cancel", [id(), ("item", Value::Integer(0))]), &[])
    }),
    ("a shared payload that was not agreed on", || {
        let range = [("offset", Value::Integer(64)), ("length", Value::Integer(2))];
        call([id(), echo(), ("shared", Value::fields(range))], &[])
    }),
];

const WELCOMES: &[Sample] = &[
    ("a call before the welcome", || call([id(), echo()], &[item()])),
    ("a drain before the welcome", || frame(&envelope("drain", []), &[])),
    ("a welcome without a version", || frame(&envelope("welcome", []), &[])),
    ("a version that is a string", || {
        frame(&envelope("welcome", [("version", Value::text("1"))]), &[])
    }),
    ("a version of 0", || frame(&envelope("welcome", [("version", Value::Integer(0))]), &[])),
    ("a slot above 32 bits", || {
        let fields = [("version", Value::Integer(1)), ("slot", Value::Integer(1 << 32))];
        frame(&envelope("welcome", fields), &[])
    }),
    ("features that are a string", || {
        let fields = [("version", Value::Integer(1)), ("features", Value::text("progress"))];
        frame(&envelope("welcome", fields), &[])
    }),
    ("a shared output without a key, although nobody has that feature", || {
        let output = Value::fields([("path", Value::text("/nowhere"))]);
        let fields = [("version", Value::Integer(1)), ("shared_output", output)];
        frame(&envelope("welcome", fields), &[])
    }),
    ("a welcome with a payload and no initializer", || {
        frame(&envelope("welcome", [("version", Value::Integer(1))]), &[item()])
    }),
    ("an initializer without arguments", || {
        let fields = [("version", Value::Integer(1)), ("initializer", Value::text("echo"))];
        frame(&envelope("welcome", fields), &[])
    }),
    ("a reject without a reason", || frame(&envelope("reject", []), &[])),
    ("a body of 0 bytes", || vec![0; 4]),
    ("a length of 4294967295", || vec![0xff; 4]),
    ("the byte c1", || framed(&[0xc1])),
];
