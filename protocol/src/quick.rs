//! Short cuts for the messages that come once for each item or call: a call, a result, and
//! results. What refers to shared memory has none: it is rare, as what it tells of is large.
//!
//! Only their canonical form is read here, which is the form that everybody is to write. Whatever
//! else comes, malformed or not, is left to the general reader, so that there is one judge.

use std::borrow::Cow;

use crate::message::{Call, FromMaster, FromWorker};

/// A message with a short cut, for some of its variants.
pub trait Quick<'a>: Sized {
    /// Reads a body that begins with a canonical envelope: the message, and where its payload
    /// begins. `None` says nothing but that the general reader is to look.
    fn read(body: &'a [u8]) -> Option<(Self, usize)>;

    /// Appends the canonical envelope. False if there is no short cut, and then nothing was
    /// written.
    fn write(&self, out: &mut Vec<u8>) -> bool;
}

const RESULT: &[u8] = b"\x81\xa6result\x82\xa2id";
const RESULTS: &[u8] = b"\x81\xa7results\x82\xa2id";
const ITEM: &[u8] = b"\xa4item";
const CALL: &[u8] = b"\x81\xa4call";
const ID: &[u8] = b"\xa2id";
const FUNCTION: &[u8] = b"\xa8function";
const ITEMS: &[u8] = b"\xa5items";
const KEYWORDS: &[u8] = b"\xa8keywords\xc3";
const LAST: &[u8] = b"\xa4last\xc3";

impl<'a> Quick<'a> for FromWorker {
    fn read(body: &'a [u8]) -> Option<(Self, usize)> {
        let mut rest = Rest(body);
        let several = match body.get(1)? {
            0xa6 => rest.skip(RESULT).map(|()| false)?,
            0xa7 => rest.skip(RESULTS).map(|()| true)?,
            _ => return None,
        };
        let id = rest.unsigned()?;
        rest.skip(ITEM)?;
        let item = u32::try_from(rest.unsigned()?).ok()?;
        let message = match several {
            false => Self::Result { id, item },
            true => Self::Results { id, item },
        };
        Some((message, body.len() - rest.0.len()))
    }

    fn write(&self, out: &mut Vec<u8>) -> bool {
        let (start, id, item) = match *self {
            Self::Result { id, item } => (RESULT, id, item),
            Self::Results { id, item } => (RESULTS, id, item),
            _ => return false,
        };
        out.extend_from_slice(start);
        write_unsigned(out, id);
        out.extend_from_slice(ITEM);
        write_unsigned(out, u64::from(item));
        true
    }
}

impl<'a> Quick<'a> for FromMaster<'a> {
    fn read(body: &'a [u8]) -> Option<(Self, usize)> {
        let mut rest = Rest(body);
        rest.skip(CALL)?;
        let mut fields = rest.byte()?.checked_sub(0x82)?;
        rest.skip(ID)?;
        let id = rest.unsigned()?;
        rest.skip(FUNCTION)?;
        let function = Cow::Borrowed(rest.string()?);
        let mut optional = |rest: &mut Rest<'_>, field| {
            let there = fields > 0 && rest.skip(field).is_some();
            fields -= u8::from(there);
            there
        };
        let items = match optional(&mut rest, ITEMS) {
            true => u32::try_from(rest.unsigned()?).ok()?,
            false => 1,
        };
        let keywords = optional(&mut rest, KEYWORDS);
        let last = optional(&mut rest, LAST);
        let call = Call { id, function, items, keywords, last, shared: None };
        (fields == 0).then(|| (Self::Call(call), body.len() - rest.0.len()))
    }

    fn write(&self, out: &mut Vec<u8>) -> bool {
        let Self::Call(Call { id, function, items, keywords, last, shared: None }) = self else {
            return false;
        };
        let Ok(length) = u8::try_from(function.len()) else { return false };
        out.extend_from_slice(CALL);
        out.push(0x82 + u8::from(*items != 1) + u8::from(*keywords) + u8::from(*last));
        out.extend_from_slice(ID);
        write_unsigned(out, *id);
        out.extend_from_slice(FUNCTION);
        match length {
            0..=31 => out.push(0xa0 | length),
            _ => out.extend_from_slice(&[0xd9, length]),
        }
        out.extend_from_slice(function.as_bytes());
        if *items != 1 {
            out.extend_from_slice(ITEMS);
            write_unsigned(out, u64::from(*items));
        }
        for (field, is_there) in [(KEYWORDS, *keywords), (LAST, *last)] {
            if is_there {
                out.extend_from_slice(field);
            }
        }
        true
    }
}

/// Appends an integer in its shortest form.
fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, bytes: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(bytes)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn unsigned(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            small @ 0..=0x7f => u64::from(small),
            0xcc => u64::from(self.byte()?),
            0xcd => u64::from(u16::from_be_bytes(self.number()?)),
            0xce => u64::from(u32::from_be_bytes(self.number()?)),
            0xcf => u64::from_be_bytes(self.number()?),
            _ => return None,
        })
    }

    fn string(&mut self) -> Option<&'a str> {
        let length = match self.byte()? {
            head @ 0xa0..=0xbf => head & 0x1f,
            0xd9 => self.byte()?,
            _ => return None,
        };
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}
