//! Keeps tokens out of recordings.

use super::Value;

/// What stands for a hello that cannot be read: a hello without fields.
const EMPTY_HELLO: &[u8] = b"\x81\xa5hello\x80";

/// The body of a frame of a worker without its token, if it is a hello; `None` for any other,
/// which is to be recorded as it is.
pub(super) fn without_token(body: &[u8]) -> Option<Vec<u8>> {
    if !begins_as_hello(body) {
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    let Ok((Value::Map(mut envelope), length)) = Value::read(body) else {
        return Some(EMPTY_HELLO.to_vec());
    };
    for (_, fields) in &mut envelope {
        let Value::Map(fields) = fields else { return Some(EMPTY_HELLO.to_vec()) };
        for (name, value) in fields {
            if name.as_str() == Some("token") {
                *value = Value::String(b"");
            }
        }
    }
    Value::Map(envelope).write(&mut out);
    out.extend_from_slice(body.get(length..).unwrap_or_default());
    Some(out)
}

/// As much of what came behind the last frame as has no token in it.
pub(super) fn rest_without_token(rest: &[u8]) -> &[u8] {
    const LENGTH: usize = protocol::limits::LENGTH_BYTES;
    let body = rest.get(LENGTH..).unwrap_or_default();
    // Whole frames may be in it, behind one that was malformed, but a hello is the first word of
    // a worker and not its last: what is in question is one that says it again.
    let has_hello = rest.windows(HELLO.len()).any(|word| word == HELLO);
    if begins_as_hello(body) || has_hello { rest.get(..LENGTH).unwrap_or(rest) } else { rest }
}

const HELLO: &[u8] = b"hello";

/// Whether an envelope says `hello`, in whatever form the name has.
fn begins_as_hello(body: &[u8]) -> bool {
    let Some((0x81, name)) = body.split_first().map(|(&first, name)| (first, name)) else {
        return false;
    };
    [&b"\xa5"[..], b"\xd9\x05", b"\xda\0\x05", b"\xdb\0\0\0\x05"]
        .iter()
        .any(|head| name.strip_prefix(*head).is_some_and(|name| name.starts_with(HELLO)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_stays_what_it_is_but_for_its_token() {
        let hello = b"\x81\xd9\x05hello\x83\xa5token\xa6secret\xa6oldest\x01\xa1x\x82\xa1a\xcc\x05\xa1b\xc0";
        let expected = b"\x81\xa5hello\x83\xa5token\xa0\xa6oldest\x01\xa1x\x82\xa1a\x05\xa1b\xc0";
        assert_eq!(without_token(hello).unwrap(), expected);
        assert_eq!(without_token(b"\x81\xa5ready\x80"), None);
        assert_eq!(without_token(b"\x81\xa5hello\xa6secret").unwrap(), EMPTY_HELLO);
        assert_eq!(without_token(b"\x81\xa5hello\x81\xa5token\xd9\x20secr").unwrap(), EMPTY_HELLO);
    }

    #[test]
    fn half_a_hello_is_not_told() {
        assert_eq!(
            rest_without_token(b"\0\0\0\x50\x81\xa5hello\x81\xa5token\xd9\x20secr"),
            b"\0\0\0\x50"
        );
        let half = b"\0\0\0\x50\x81\xa6result\x82";
        assert_eq!(rest_without_token(half), half);
        assert_eq!(rest_without_token(b"\0\0"), b"\0\0");
    }
}
