//! Messages, taken apart and judged by the letter of the specification, and written as they should be
//! or otherwise.

use super::{
    fields::{MESSAGES, MESSAGES_OF_MASTERS, canonical, check_map, find},
    value::{Form, Value, read},
};
use crate::{
    limits::{LENGTH_BYTES, MAX_ENVELOPE_DEPTH, MAX_PAYLOAD_DEPTH},
    spec::Side,
};

/// The numbers of the requirements that are the same for both sides.
struct Numbers {
    envelope: u32,
    payload: u32,
    canonical: u32,
}

const fn numbers(side: Side) -> Numbers {
    match side {
        Side::Worker => Numbers { envelope: 12, payload: 15, canonical: 14 },
        Side::Master => Numbers { envelope: 10, payload: 13, canonical: 12 },
    }
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Defect {
    /// The number of the requirement that it breaks, of those for the side that sent it.
    pub requirement: u32,
    /// What is wrong, in words.
    pub problem: String,
    /// What should have come, where that can be told in bytes.
    pub expected: Option<Vec<u8>>,
    /// What came.
    pub body: Vec<u8>,
}

/// A message, whole.
///
/// ```
/// use protocol::{
///     spec::Side,
///     strict::{Message, Value, envelope, frame},
/// };
///
/// let fields = [("id", Value::Integer(7)), ("item", Value::Integer(0))];
/// let frame = frame(&envelope("result", fields), &[Value::Nil]);
/// let message = Message::read(Side::Worker, frame[4..].to_vec())?;
/// assert_eq!((message.name, message.number("id")), ("result", 7));
///
/// let error = Message::read(Side::Worker, vec![0x93, 1, 2, 3]).unwrap_err();
/// assert_eq!(error.requirement, 12);
/// # Ok::<(), protocol::strict::Defect>(())
/// ```
#[derive(Debug, Clone)]
pub struct Message {
    /// Who sent it.
    pub side: Side,
    /// Its name.
    pub name: &'static str,
    /// A map.
    fields: Value,
    /// The values behind the envelope.
    pub payload: Vec<Value>,
    /// All bytes, but for the length before them.
    pub body: Vec<u8>,
    /// What the envelope would be in its canonical form, if it is not.
    canonical: Option<Vec<u8>>,
}

impl Message {
    /// Reads the body of a frame that this side has sent.
    ///
    /// # Errors
    /// What is wrong with it, whatever message was due.
    pub fn read(side: Side, body: Vec<u8>) -> Result<Self, Defect> {
        match Self::parse(side, &body) {
            Ok((name, fields, payload, canonical)) => {
                Ok(Self { side, name, fields, payload, body, canonical })
            }
            Err((requirement, problem)) => {
                Err(Defect { requirement, problem, expected: None, body })
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn parse(
        side: Side,
        body: &[u8],
    ) -> Result<(&'static str, Value, Vec<Value>, Option<Vec<u8>>), (u32, String)> {
        let numbers = numbers(side);
        let broken = |text: String| (numbers.envelope, text);
        if body.first() != Some(&0x81) {
            return Err(broken("an envelope does not begin with the byte 81".into()));
        }
        let (envelope, end) = read(body, 0, MAX_ENVELOPE_DEPTH)
            .map_err(|error| broken(format!("an envelope, {error}")))?;
        check_envelope(&envelope).map_err(broken)?;
        let Value::Map(entries) = &envelope else {
            return Err(broken("an envelope is not a map".into()));
        };
        let Some((Value::String(name), fields)) = entries.first() else {
            return Err(broken("an envelope has no entry".into()));
        };
        let messages = match side {
            Side::Worker => MESSAGES,
            Side::Master => MESSAGES_OF_MASTERS,
        };
        let known = messages.iter().find(|(known, _)| known.as_bytes() == name);
        let Some(&(name, table)) = known else {
            let name = String::from_utf8_lossy(name).into_owned();
            let side = if side == Side::Worker { "worker" } else { "master" };
            return Err(broken(format!("no message of a {side} is called `{name}`")));
        };
        check_map(fields, table).map_err(|text| {
            let is_frozen = ["`token`", "`oldest`", "`newest`"].iter().any(|f| text.contains(f));
            let requirement = match name {
                "hello" if is_frozen => 18,
                _ => numbers.envelope,
            };
            (requirement, format!("`{name}`: {text}"))
        })?;
        let mut payload = Vec::new();
        let mut offset = end;
        while offset < body.len() {
            let (value, end) = read(body, offset, MAX_PAYLOAD_DEPTH)
                .map_err(|error| (numbers.payload, format!("the payload of `{name}`, {error}")))?;
            payload.push(value);
            offset = end;
        }
        check_payload(side, name, fields, &payload)?;
        let canonical = Value::fields([(name, canonical(fields, table))]).encoded(Form::Shortest);
        let canonical = (body.get(..end) != Some(&canonical)).then_some(canonical);
        Ok((name, fields.clone(), payload, canonical))
    }

    /// What is recommended and not done: the envelope has another form than the canonical one.
    pub fn canonical_defect(&self) -> Option<Defect> {
        let canonical = self.canonical.as_ref()?;
        Some(Defect {
            requirement: numbers(self.side).canonical,
            problem: format!("the envelope of `{}` is not canonical", self.name),
            expected: Some(canonical.clone()),
            body: self.body.clone(),
        })
    }

    /// All fields as they came.
    pub const fn fields(&self) -> &Value {
        &self.fields
    }

    /// A field, if it is there.
    pub fn get(&self, name: &str) -> Option<&Value> {
        find(&self.fields, name)
    }

    /// An unsigned field; 0 if it is absent.
    pub fn number(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(&Value::Integer(number)) => u64::try_from(number).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    /// A field that is a boolean; false if it is absent.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == Some(&Value::Boolean(true))
    }

    /// A field that is a string; empty if it is absent.
    pub fn text(&self, name: &str) -> String {
        self.get(name).map(text_of).unwrap_or_default()
    }

    /// A list of strings.
    pub fn texts(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::Array(texts)) => texts.iter().map(text_of).collect(),
            _ => Vec::new(),
        }
    }

    /// The functions of a hello.
    pub fn functions(&self) -> Vec<Function> {
        let Some(Value::Array(functions)) = self.get("functions") else { return Vec::new() };
        let flag = |function, name| find(function, name) == Some(&Value::Boolean(true));
        let function = |function| Function {
            name: find(function, "name").map(text_of).unwrap_or_default(),
            progress: flag(function, "progress"),
            cancel: flag(function, "cancel"),
        };
        functions.iter().map(function).collect()
    }

    /// The kind and the message of an error or a failed initializer.
    pub fn failure(&self) -> (String, String) {
        let failure = self.get("failure").unwrap_or(&self.fields);
        let text = |name| find(failure, name).map(text_of).unwrap_or_default();
        (text("kind"), text("message"))
    }
}

/// A function as a hello describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name to call it by.
    pub name: String,
    /// It says that it reports its progress.
    pub progress: bool,
    /// It says that it can be told to stop.
    pub cancel: bool,
}

/// Whether the values behind an envelope are those that it calls for.
fn check_payload(
    side: Side,
    name: &str,
    fields: &Value,
    payload: &[Value],
) -> Result<(), (u32, String)> {
    let count = payload.len();
    let numbers = numbers(side);
    match name {
        "result" if count != 1 => {
            Err((21, format!("a `result` has {count} payload values instead of 1")))
        }
        "results" if count == 0 => Err((42, "`results` without a value".into())),
        "result" | "results" => Ok(()),
        "error" | "initializer_failed" => match payload {
            [] | [Value::Binary(_)] => Ok(()),
            _ => {
                Err((numbers.payload, format!("the payload of `{name}` is not one bin or nothing")))
            }
        },
        "welcome" if matches!(find(fields, "initializer"), Some(Value::String(_))) => {
            check_items(name, fields, 1, payload)
        }
        "call" if matches!(find(fields, "shared"), None | Some(Value::Nil)) => {
            let items = match find(fields, "items") {
                Some(&Value::Integer(items)) => usize::try_from(items).unwrap_or(usize::MAX),
                _ => 1,
            };
            check_items(name, fields, items, payload)
        }
        _ if count > 0 => Err((numbers.envelope, format!("`{name}` has a payload"))),
        _ => Ok(()),
    }
}

/// Whether a payload of a master is so many items.
fn check_items(
    name: &str,
    fields: &Value,
    items: usize,
    payload: &[Value],
) -> Result<(), (u32, String)> {
    let keywords = find(fields, "keywords") == Some(&Value::Boolean(true));
    let width = if keywords { 2 } else { 1 };
    if items == 0 {
        return Err((15, format!("`{name}` has 0 items")));
    }
    if payload.len() != items.saturating_mul(width) {
        let text = format!("`{name}` of {items} items has {} values", payload.len());
        return Err((13, text));
    }
    let fits = |(place, value): (usize, &Value)| match place % width {
        0 => matches!(value, Value::Array(_)),
        _ => matches!(value, Value::Map(_)),
    };
    match payload.iter().enumerate().all(fits) {
        true => Ok(()),
        false => Err((13, format!("an item of `{name}` is not a list of arguments"))),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// What holds for every value of an envelope.
fn check_envelope(value: &Value) -> Result<(), String> {
    match value {
        Value::Float32(_) | Value::Float64(_) => Err("an envelope holds a float".into()),
        Value::Binary(_) => Err("an envelope holds binary data".into()),
        Value::Extension(..) => Err("an envelope holds an extension type".into()),
        Value::String(bytes) if std::str::from_utf8(bytes).is_err() => {
            Err("a string of an envelope is not UTF-8".into())
        }
        Value::Array(elements) => elements.iter().try_for_each(check_envelope),
        Value::Map(entries) => {
            for (number, (key, value)) in entries.iter().enumerate() {
                if !matches!(key, Value::String(_)) {
                    return Err(format!("a key of an envelope is not a string but {key}"));
                }
                if entries.iter().take(number).any(|(before, _)| before == key) {
                    return Err(format!("the key {key} stands twice in a map of an envelope"));
                }
                check_envelope(key)?;
                check_envelope(value)?;
            }
            Ok(())
        }
        Value::Nil | Value::Boolean(_) | Value::Integer(_) | Value::String(_) => Ok(()),
    }
}

/// A message as an envelope.
pub fn envelope<'a>(name: &str, fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::fields([(name, Value::fields(fields))])
}

/// A frame of an envelope and payload values, in their shortest form.
pub fn frame(envelope: &Value, payload: &[Value]) -> Vec<u8> {
    frame_in(Form::Shortest, envelope, payload)
}

/// The same with everything in one form, but for the outermost map, which has one form alone.
pub fn frame_in(form: Form, envelope: &Value, payload: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    envelope.write(form, &mut body);
    // The outermost map has one form alone.
    if form == Form::Longest
        && let Value::Map(entries) = envelope
        && let [(name, fields)] = entries.as_slice()
    {
        body = vec![0x81];
        name.write(form, &mut body);
        fields.write(form, &mut body);
    }
    payload.iter().for_each(|value| value.write(form, &mut body));
    framed(&body)
}

/// A frame around these bytes.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(LENGTH_BYTES + body.len());
    frame.extend(length.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(name: &str, fields: &[(&str, Value)], payload: &[Value]) -> Vec<u8> {
        frame(&envelope(name, fields.iter().cloned()), payload)[LENGTH_BYTES..].to_vec()
    }

    fn breaks(requirement: u32, body: Vec<u8>) {
        let shown = format!("{body:02x?}");
        let broken =
            Message::read(Side::Worker, body).map(|_| ()).map_err(|defect| defect.requirement);
        assert_eq!(broken, Err(requirement), "{shown}");
    }

    fn item() -> [(&'static str, Value); 2] {
        [("id", Value::Integer(7)), ("item", Value::Integer(0))]
    }

    #[test]
    fn a_message_is_taken_apart() {
        let message = Message::read(Side::Worker, body("result", &item(), &[Value::text("x")]))
            .expect("it is one");
        assert_eq!((message.name, message.number("id")), ("result", 7));
        assert_eq!(message.payload, [Value::text("x")]);
        assert!(message.canonical_defect().is_none());
    }

    #[test]
    fn each_defect_breaks_its_requirement() {
        breaks(12, vec![0x93, 1, 2, 3]);
        breaks(12, vec![0xde, 0, 1, 0xa5, b'r', b'e', b'a', b'd', b'y', 0x80]);
        breaks(12, body("ready", &[("x", Value::float(1.0))], &[]));
        breaks(12, body("ready", &[("x", Value::Binary(vec![]))], &[]));
        breaks(12, body("ready", &[("x", Value::Array(vec![Value::Extension(1, vec![])]))], &[]));
        breaks(12, body("ready", &[("x", Value::nested(15))], &[]));
        breaks(12, body("ready", &[("x", Value::Nil), ("x", Value::Nil)], &[]));
        breaks(12, body("ready", &[("shared_arguments", Value::Integer(1))], &[]));
        breaks(12, body("nonsense", &[], &[]));
        breaks(12, body("result", &item()[..1], &[Value::Nil]));
        breaks(12, body("result", &[("id", Value::Integer(-1)), item()[1].clone()], &[Value::Nil]));
        breaks(12, body("ready", &[], &[Value::Nil]));
        breaks(18, body("hello", &[("oldest", Value::Integer(1))], &[]));
        breaks(21, body("result", &item(), &[]));
        breaks(21, body("result", &item(), &[Value::Nil, Value::Nil]));
        breaks(42, body("results", &item(), &[]));
        breaks(15, body("initializer_failed", &[], &[Value::Nil]));
        breaks(15, [body("result", &item(), &[]), vec![0xc1]].concat());
        breaks(15, body("result", &item(), &[Value::nested(513)]));
        assert!(
            Message::read(Side::Worker, body("ready", &[("x", Value::nested(14))], &[])).is_ok()
        );
    }

    #[test]
    fn what_is_not_canonical_is_found() {
        let of = |bytes| {
            let message = Message::read(Side::Worker, bytes).expect("it is a message");
            message.canonical_defect().map(|defect| defect.requirement)
        };
        let mut other_order = item();
        other_order.reverse();
        assert_eq!(of(body("result", &other_order, &[Value::Nil])), Some(14));
        let wide = frame_in(Form::Longest, &envelope("result", item()), &[Value::Nil]);
        assert_eq!(of(wide[LENGTH_BYTES..].to_vec()), Some(14));
        assert_eq!(
            of(body("ready", &[("shared_arguments", Value::Boolean(false))], &[])),
            Some(14)
        );
        let kind = ("kind", Value::text("E"));
        let failure = Value::fields([kind.clone()]);
        let [id, number] = item();
        let fields = [id, number, ("failure", failure)];
        assert_eq!(of(body("error", &fields, &[])), Some(14), "the message is written always");
        assert_eq!(
            of(body("initializer_failed", &[kind, ("message", Value::text(""))], &[])),
            None
        );
    }
}
