//! The fields of each message: what they hold, whether they have to be there, and their canonical form.

use super::value::Value;

/// What a field holds. Its default, where it has one, is what is empty, false or 0.
#[derive(Debug, Clone, Copy)]
enum Kind {
    U32,
    U64,
    /// An unsigned integer of 32 bits whose default is 1.
    Count,
    Text,
    Boolean,
    /// One of these, or nil, which is the default.
    Nullable(&'static Kind),
    List(&'static Kind),
    Map(&'static [Field]),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    kind: Kind,
    necessity: Necessity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Necessity {
    Required,
    /// It has a default, and is written all the same.
    Always,
    /// It has a default, and is left out then.
    Optional,
}

use Necessity::{Always, Optional, Required};

const fn field(name: &'static str, kind: Kind, necessity: Necessity) -> Field {
    Field { name, kind, necessity }
}

const FUNCTION: &[Field] = &[
    field("name", Kind::Text, Required),
    field("parameters", Kind::Text, Optional),
    field("help", Kind::Text, Optional),
    field("progress", Kind::Boolean, Optional),
    field("cancel", Kind::Boolean, Optional),
];

const FAILURE: &[Field] = &[
    field("kind", Kind::Text, Always),
    field("message", Kind::Text, Always),
    field("traceback", Kind::Text, Optional),
];

const ID: Field = field("id", Kind::U64, Required);
const NUMBER: Field = field("item", Kind::U32, Required);
const ITEM: &[Field] = &[ID, NUMBER];

/// The messages of a worker, with their fields in order.
pub(super) const MESSAGES: &[(&str, &[Field])] = &[
    (
        "hello",
        &[
            field("token", Kind::Text, Required),
            field("oldest", Kind::U32, Required),
            field("newest", Kind::U32, Required),
            field("features", Kind::List(&Kind::Text), Optional),
            field("name", Kind::Text, Always),
            field("version", Kind::Text, Always),
            field("functions", Kind::List(&Kind::Map(FUNCTION)), Always),
        ],
    ),
    ("ready", &[field("shared_arguments", Kind::Boolean, Optional)]),
    ("initializer_failed", FAILURE),
    ("result", ITEM),
    ("results", ITEM),
    (
        "shared_result",
        &[ID, NUMBER, field("offset", Kind::U64, Required), field("length", Kind::U64, Required)],
    ),
    ("error", &[ID, NUMBER, field("failure", Kind::Map(FAILURE), Required)]),
    ("progress", &[ID, NUMBER, field("note", Kind::Text, Optional)]),
];

const PATH: Field = field("path", Kind::Text, Required);
const KEY: Field = field("key", Kind::U64, Required);

/// The messages of a master, with their fields in order.
pub(super) const MESSAGES_OF_MASTERS: &[(&str, &[Field])] = &[
    (
        "welcome",
        &[
            field("version", Kind::U32, Required),
            field("features", Kind::List(&Kind::Text), Optional),
            field("slot", Kind::U32, Always),
            field("pool", Kind::Text, Optional),
            field("initializer", Kind::Nullable(&Kind::Text), Optional),
            field("keywords", Kind::Boolean, Optional),
            field(
                "shared_output",
                Kind::Nullable(&Kind::Map(&[
                    PATH,
                    KEY,
                    field("results", Kind::Nullable(&Kind::U64), Optional),
                ])),
                Optional,
            ),
            field("shared_arguments", Kind::Nullable(&Kind::Map(&[PATH, KEY])), Optional),
        ],
    ),
    ("reject", &[field("reason", Kind::Text, Required)]),
    (
        "call",
        &[
            ID,
            field("function", Kind::Text, Required),
            field("items", Kind::Count, Optional),
            field("keywords", Kind::Boolean, Optional),
            field("last", Kind::Boolean, Optional),
            field(
                "shared",
                Kind::Nullable(&Kind::Map(&[
                    field("offset", Kind::U64, Required),
                    field("length", Kind::U64, Required),
                ])),
                Optional,
            ),
        ],
    ),
    ("cancel", ITEM),
    ("drain", &[]),
];

/// The value of this key, if it is a map that has it.
pub(super) fn find<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Map(entries) = map else { return None };
    let is_it = |key: &Value| matches!(key, Value::String(key) if key == name.as_bytes());
    entries.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
}

/// Whether all that is known is there and is what it should be.
pub(super) fn check_map(map: &Value, table: &[Field]) -> Result<(), String> {
    if !matches!(map, Value::Map(_)) {
        return Err(format!("its fields are not a map but {map}"));
    }
    for Field { name, kind, necessity } in table {
        match find(map, name) {
            Some(value) => check_kind(value, *kind).map_err(|text| format!("`{name}` {text}"))?,
            None if *necessity == Required => return Err(format!("`{name}` is missing")),
            None => {}
        }
    }
    Ok(())
}

fn check_kind(value: &Value, kind: Kind) -> Result<(), String> {
    let (fits, what) = match kind {
        Kind::U32 => (
            matches!(value, Value::Integer(number) if u32::try_from(*number).is_ok()),
            "an unsigned integer of 32 bits",
        ),
        Kind::U64 => (
            matches!(value, Value::Integer(number) if u64::try_from(*number).is_ok()),
            "an unsigned integer of 64 bits",
        ),
        Kind::Count => return check_kind(value, Kind::U32),
        Kind::Nullable(_) if *value == Value::Nil => return Ok(()),
        Kind::Nullable(kind) => return check_kind(value, *kind),
        Kind::Text => (matches!(value, Value::String(_)), "a string"),
        Kind::Boolean => (matches!(value, Value::Boolean(_)), "a boolean"),
        Kind::List(kind) => {
            if let Value::Array(elements) = value {
                return elements.iter().try_for_each(|element| check_kind(element, *kind));
            }
            (false, "an array")
        }
        Kind::Map(table) => {
            if matches!(value, Value::Map(_)) {
                return check_map(value, table).map_err(|text| format!("has a defect: {text}"));
            }
            (false, "a map")
        }
    };
    if fits { Ok(()) } else { Err(format!("is not {what} but {value}")) }
}

/// The same fields in their order, without those that have their default; unknown ones behind.
pub(super) fn canonical(map: &Value, table: &[Field]) -> Value {
    let Value::Map(entries) = map else { return map.clone() };
    let mut fields = Vec::new();
    for Field { name, kind, necessity } in table {
        let value = find(map, name).map(|value| canonical_value(value, *kind));
        let value = value.unwrap_or_else(|| default(*kind));
        if *necessity != Optional || value != default(*kind) {
            fields.push((Value::text(name), value));
        }
    }
    let is_known = |key: &Value| table.iter().any(|field| *key == Value::text(field.name));
    fields.extend(entries.iter().filter(|(key, _)| !is_known(key)).cloned());
    Value::Map(fields)
}

fn canonical_value(value: &Value, kind: Kind) -> Value {
    match (kind, value) {
        (Kind::Nullable(kind), value) if *value != Value::Nil => canonical_value(value, *kind),
        (Kind::Map(table), value) => canonical(value, table),
        (Kind::List(kind), Value::Array(elements)) => {
            Value::Array(elements.iter().map(|element| canonical_value(element, *kind)).collect())
        }
        _ => value.clone(),
    }
}

fn default(kind: Kind) -> Value {
    match kind {
        Kind::U32 | Kind::U64 => Value::Integer(0),
        Kind::Count => Value::Integer(1),
        Kind::Nullable(_) => Value::Nil,
        Kind::Text => Value::text(""),
        Kind::Boolean => Value::Boolean(false),
        Kind::List(_) => Value::Array(vec![]),
        Kind::Map(_) => Value::Map(vec![]),
    }
}
