//! The golden vectors as data, and the files that they are written to.

pub mod malformed;
pub mod pack;
pub mod valid;

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::json;

use pack::Value;

/// Who sends the bytes of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    FromWorker,
    FromMaster,
}

/// Frames that are as they should be.
pub struct Valid {
    pub name: &'static str,
    pub description: &'static str,
    pub direction: Direction,
    pub frames: Vec<Frame>,
}

/// One frame of a valid vector.
pub struct Frame {
    /// The envelope as it stands on the wire.
    pub envelope: Value,
    /// The envelope as it is understood: every default filled in, nothing unknown left.
    pub means: Value,
    /// Whether the envelope is in the canonical form of the specification.
    pub canonical: bool,
    pub payload: Vec<Value>,
}

/// Bytes that have to be refused.
pub struct Malformed {
    pub name: &'static str,
    pub description: &'static str,
    pub direction: Direction,
    /// Whether the limit of the time before the welcome is in force.
    pub before_welcome: bool,
    pub bytes: Vec<u8>,
    pub defect: Defect,
}

/// What is wrong with malformed bytes.
pub struct Defect {
    /// The stable name of the error.
    pub error: &'static str,
    pub words: &'static str,
    /// The offset of the defect in the body, or in the payload for errors of the payload.
    pub at: Option<usize>,
    /// What the text of the error has to mention, for errors that have no offset.
    pub mentions: Option<&'static str>,
}

/// The folder of the vectors.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Every generated file: its path within [`folder`], and its bytes.
pub fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut insert = |path: String, bytes| {
        let earlier = files.insert(path.clone(), bytes);
        assert!(earlier.is_none(), "two vectors are named {path}");
    };
    for vector in valid::vectors() {
        insert(format!("valid/{}.bin", vector.name), vector.bytes());
        insert(format!("valid/{}.json", vector.name), vector.json());
    }
    for vector in malformed::vectors() {
        insert(format!("malformed/{}.bin", vector.name), vector.bytes.clone());
        insert(format!("malformed/{}.json", vector.name), vector.json());
    }
    files
}

/// A body with its length before it.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes()[..], body].concat()
}

impl Direction {
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromWorker => "from_worker",
            Self::FromMaster => "from_master",
        }
    }

    const fn receiver(self) -> &'static str {
        match self {
            Self::FromWorker => "master",
            Self::FromMaster => "worker",
        }
    }
}

impl Valid {
    fn bytes(&self) -> Vec<u8> {
        self.frames.iter().flat_map(|frame| framed(&frame.body())).collect()
    }

    fn json(&self) -> Vec<u8> {
        let frame = |frame: &Frame| {
            json!({
                "envelope": frame.envelope.to_json(),
                "means": frame.means.to_json(),
                "canonical": frame.canonical,
                "payload": frame.payload.iter().map(Value::to_json).collect::<Vec<_>>(),
            })
        };
        lines(&json!({
            "name": self.name,
            "description": self.description,
            "direction": self.direction.name(),
            "frames": self.frames.iter().map(frame).collect::<Vec<_>>(),
        }))
    }
}

impl Frame {
    fn body(&self) -> Vec<u8> {
        let mut body = self.envelope.encoded();
        self.payload.iter().for_each(|value| value.write(&mut body));
        body
    }
}

impl Malformed {
    fn json(&self) -> Vec<u8> {
        let Defect { error, words, at, mentions } = &self.defect;
        let phase = if self.before_welcome { "before_welcome" } else { "after_welcome" };
        lines(&json!({
            "name": self.name,
            "description": self.description,
            "direction": self.direction.name(),
            "rejected_by": self.direction.receiver(),
            "phase": phase,
            "error": { "name": error, "words": words, "at": at, "mentions": mentions },
        }))
    }
}

fn lines(json: &serde_json::Value) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(json).unwrap();
    text.push('\n');
    text.into_bytes()
}
