//! A script, from its file.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use protocol::strict::Value;
use serde_json::Value as Json;

/// A step with the line that it stands in, counted from 1.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) deed: Deed,
}

#[derive(Debug)]
pub(super) enum Deed {
    Send {
        name: String,
        fields: Json,
        payload: Vec<Json>,
    },
    SendBytes(Vec<u8>),
    Expect {
        name: String,
        fields: Json,
        payload: Option<Vec<Json>>,
    },
    ExpectEnd,
    Silence(f64),
    Sleep(f64),
    /// How many calls; without end if none.
    Serve(Option<u64>),
    Close,
    Exit(u8),
    Die(i32),
}

/// Why a script cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    line: Option<usize>,
    problem: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "line {line}: {}", self.problem),
            None => formatter.write_str(&self.problem),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<Step>, Unreadable> {
    let text = fs::read_to_string(path)
        .map_err(|error| Unreadable { line: None, problem: format!("cannot be read: {error}") })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Step>, Unreadable> {
    let mut steps = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let unreadable = |problem| Unreadable { line: Some(line), problem };
        let json: Json = serde_json::from_str(text)
            .map_err(|error| unreadable(format!("it is not JSON: {error}")))?;
        steps.push(Step { line, deed: deed(&json).map_err(unreadable)? });
    }
    Ok(steps)
}

fn deed(json: &Json) -> Result<Deed, String> {
    let Some(object) = json.as_object() else { return Err("a step is a JSON object".into()) };
    let payload = match object.get("payload") {
        None => None,
        Some(Json::Array(values)) => Some(values.clone()),
        Some(_) => return Err("`payload` is an array of values".into()),
    };
    let known = object.iter().filter(|(name, _)| *name != "payload");
    let [(name, value)] = known.collect::<Vec<_>>()[..] else {
        return Err("a step does one thing: see the documentation for which ones there are".into());
    };
    let seconds = || value.as_f64().filter(|seconds| *seconds >= 0.0);
    let deed = match (name.as_str(), value) {
        ("send", Json::Object(message)) => {
            let (name, fields) = message_of(message)?;
            Some(Deed::Send { name, fields, payload: payload.clone().unwrap_or_default() })
        }
        ("expect", Json::Object(message)) => {
            let (name, fields) = message_of(message)?;
            Some(Deed::Expect { name, fields, payload: payload.clone() })
        }
        ("expect", Json::String(text)) if text == "end" => Some(Deed::ExpectEnd),
        ("send_bytes", Json::String(text)) => Some(Deed::SendBytes(bytes(text)?)),
        ("silence", _) => seconds().map(Deed::Silence),
        ("sleep", _) => seconds().map(Deed::Sleep),
        ("serve", Json::Null) => Some(Deed::Serve(None)),
        ("serve", _) => value.as_u64().map(|calls| Deed::Serve(Some(calls))),
        ("close", Json::Bool(true)) => Some(Deed::Close),
        ("exit", _) => value.as_u64().and_then(|n| u8::try_from(n).ok()).map(Deed::Exit),
        ("die", _) => value.as_i64().and_then(|n| i32::try_from(n).ok()).map(Deed::Die),
        _ => None,
    };
    let takes_payload = matches!(deed, Some(Deed::Send { .. } | Deed::Expect { .. }));
    match deed {
        Some(deed) if takes_payload || payload.is_none() => Ok(deed),
        Some(_) => Err(format!("`{name}` takes no payload")),
        None => Err(format!("there is no step `{name}` with the value {value}")),
    }
}

fn message_of(message: &serde_json::Map<String, Json>) -> Result<(String, Json), String> {
    let [(name, fields)] = message.iter().collect::<Vec<_>>()[..] else {
        return Err("a message is an object of one entry: its name, and its fields".into());
    };
    match fields {
        Json::Object(_) => Ok((name.clone(), fields.clone())),
        _ => Err(format!("the fields of `{name}` are an object")),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let digits: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        let byte = u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2);
        byte.ok_or_else(|| format!("{pair:?} is not a byte in hexadecimal"))
    });
    pairs.collect()
}

/// What the variables of a script stand for.
pub(super) type Variables = BTreeMap<String, Value>;

/// The value that a piece of JSON stands for.
pub(super) fn value(json: &Json, variables: &Variables) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Integer(number.into()),
            (_, Some(number), _) => Value::Integer(number.into()),
            (.., float) => Value::float(float.unwrap_or_default()),
        },
        Json::String(text) => match text.strip_prefix('$') {
            Some(name) => variables
                .get(name)
                .cloned()
                .ok_or_else(|| format!("the variable `{text}` has no value yet"))?,
            None => Value::text(text),
        },
        Json::Array(values) => {
            let values = values.iter().map(|one| value(one, variables));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Json::Object(object) => match special(object, variables) {
            Some(value) => value?,
            None => {
                let entry = |(name, inner): (&String, &Json)| {
                    Ok::<_, String>((Value::text(name), value(inner, variables)?))
                };
                Value::Map(object.iter().map(entry).collect::<Result<_, _>>()?)
            }
        },
    })
}

/// A value that JSON lacks, in the notation of the golden vectors.
fn special(
    object: &serde_json::Map<String, Json>,
    variables: &Variables,
) -> Option<Result<Value, String>> {
    let [(name, inner)] = object.iter().collect::<Vec<_>>()[..] else { return None };
    let wrong = || format!("`{name}` does not hold what it should");
    let text = || inner.as_str().ok_or_else(wrong);
    let special = match name.as_str() {
        "$bin" => text().and_then(bytes).map(Value::Binary),
        "$integer" => text().and_then(|text| text.parse().map_err(|_| wrong())).map(Value::Integer),
        "$float" => text().and_then(|text| text.parse().map_err(|_| wrong())).map(Value::float),
        "$float32" => text()
            .and_then(|text| text.parse::<f32>().map_err(|_| wrong()))
            .map(|float| Value::Float32(float.to_bits())),
        "$ext" => match inner.as_array().map(Vec::as_slice) {
            Some([kind, Json::String(data)]) => {
                let kind = kind.as_i64().and_then(|kind| i8::try_from(kind).ok()).ok_or_else(wrong);
                kind.and_then(|kind| Ok(Value::Extension(kind, bytes(data)?)))
            }
            _ => Err(wrong()),
        },
        "$map" => inner.as_array().ok_or_else(wrong).and_then(|pairs| {
            let pair = |pair: &Json| match pair.as_array().map(Vec::as_slice) {
                Some([key, inner]) => Ok((value(key, variables)?, value(inner, variables)?)),
                _ => Err(wrong()),
            };
            Ok(Value::Map(pairs.iter().map(pair).collect::<Result<_, String>>()?))
        }),
        _ => return None,
    };
    Some(special)
}

/// Whether what came is what is expected; variables take what they do not have.
pub(super) fn fits(
    expected: &Json,
    came: &Value,
    variables: &mut Variables,
) -> Result<bool, String> {
    match (expected, came) {
        (Json::String(text), came) if text.starts_with('$') => {
            let name = text.trim_start_matches('$').to_owned();
            Ok(variables.entry(name).or_insert_with(|| came.clone()).is_same(came))
        }
        (Json::Array(expected), Value::Array(came)) => all_fit(expected, came, variables),
        (Json::Object(object), Value::Map(_)) if special(object, variables).is_none() => {
            fields_fit(expected, came, variables)
        }
        _ => Ok(value(expected, variables)?.is_same(came)),
    }
}

/// As many values, each as expected.
pub(super) fn all_fit(
    expected: &[Json],
    came: &[Value],
    variables: &mut Variables,
) -> Result<bool, String> {
    if expected.len() != came.len() {
        return Ok(false);
    }
    for (expected, came) in expected.iter().zip(came) {
        if !fits(expected, came, variables)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Each expected field is there, whatever others there are.
pub(super) fn fields_fit(
    expected: &Json,
    came: &Value,
    variables: &mut Variables,
) -> Result<bool, String> {
    let (Some(expected), Value::Map(entries)) = (expected.as_object(), came) else {
        return Ok(false);
    };
    for (name, expected) in expected {
        let found = entries.iter().find(|(key, _)| *key == Value::text(name));
        match found {
            Some((_, value)) if fits(expected, value, variables)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_with_their_lines() {
        let steps = parse("# a remark\n\n{\"send\": {\"ready\": {}}}\n{\"expect\": \"end\"}\n");
        let steps = steps.expect("it is a script");
        assert!(
            matches!(&steps[0], Step { line: 3, deed: Deed::Send { name, .. } } if name == "ready")
        );
        assert!(matches!(steps[1], Step { line: 4, deed: Deed::ExpectEnd }));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let problem = |text: &str| parse(text).expect_err("it is none").to_string();
        assert!(problem("\n{").starts_with("line 2: it is not JSON"));
        assert!(problem("{\"dance\": 1}").contains("there is no step `dance`"));
        assert!(problem("{\"send\": {\"a\": {}, \"b\": {}}}").contains("one entry"));
        assert!(problem("{\"sleep\": -1}").contains("no step `sleep`"));
        assert!(problem("{\"sleep\": 1, \"payload\": []}").contains("takes no payload"));
        assert!(problem("{\"send_bytes\": \"0\"}").contains("not a byte"));
    }

    #[test]
    fn variables_take_what_comes_and_hold_it() {
        let mut variables = Variables::new();
        let expected = serde_json::json!({"id": "$id", "items": 2});
        let came = |id| {
            let fields = [("id", Value::Integer(id)), ("items", Value::Integer(2))];
            Value::fields(fields)
        };
        assert_eq!(fits(&expected, &came(7), &mut variables), Ok(true));
        assert_eq!(fits(&expected, &came(7), &mut variables), Ok(true));
        assert_eq!(fits(&expected, &came(8), &mut variables), Ok(false));
        let sent = value(&serde_json::json!(["$id", {"$bin": "00ff"}]), &variables);
        let expected = Value::Array(vec![Value::Integer(7), Value::Binary(vec![0, 0xff])]);
        assert_eq!(sent, Ok(expected));
        assert!(value(&serde_json::json!("$other"), &variables).is_err());
    }
}
