//! The body of a frame taken apart, whatever it says.

use super::Value;

/// What a frame says: the name of the message, its fields and its payload, as they stand there.
/// Also what this program does not know is told.
///
/// ```
/// use master::recording::{Message, Value};
///
/// let message = Message::read(b"\x81\xa6result\x82\xa2id\x01\xa4item\x00\x09")?;
/// assert_eq!(message.name, "result");
/// assert_eq!(message.payload, [Value::Integer(9)]);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Message<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its fields.
    pub fields: Vec<(Value<'a>, Value<'a>)>,
    /// The values behind the envelope.
    pub payload: Vec<Value<'a>>,
}

impl<'a> Message<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it, if it is no map of one entry with a map in it, or its payload is
    /// malformed.
    pub fn read(body: &'a [u8]) -> Result<Self, String> {
        Self::read_start(body, usize::MAX)
    }

    /// The same with so many values of the payload at the most, in all: to show its start, the
    /// rest need not be in memory once more.
    pub(crate) fn read_start(body: &'a [u8], most: usize) -> Result<Self, String> {
        let (envelope, length) = Value::read(body).map_err(|error| error.to_string())?;
        let rest = body.get(length..).unwrap_or_default();
        let payload = Value::read_all_start(rest, most)
            .map_err(|error| format!("malformed payload: {}", error.moved_by(length)))?;
        let no_envelope = || "it begins with no envelope".to_owned();
        let Value::Map(mut entries) = envelope else { return Err(no_envelope()) };
        match (entries.pop(), entries.is_empty()) {
            (Some((name, Value::Map(fields))), true) => {
                let name = name.as_str().ok_or_else(no_envelope)?;
                Ok(Self { name, fields, payload })
            }
            _ => Err(no_envelope()),
        }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }
}
