//! What the two sides say: one enum for each direction.
//!
//! On the wire a message is a map with one entry: the name of the message, and a map of its
//! fields. Fields that are absent have their default, fields that are unknown are ignored.
//! Payload values follow the envelope in the same frame; they are not part of these types.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Range};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// What a worker says to its master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The first message of a connection, sent at once, unasked. Its encoding never changes.
    /// The master answers with [`FromMaster::Welcome`] or [`FromMaster::Reject`]. No payload.
    Hello(Hello),
    /// Answers [`FromMaster::Welcome`] once the initializer, if any, has succeeded. From here on
    /// calls may come. No payload.
    Ready {
        /// The file with shared arguments is mapped, so that calls may refer to it. Means nothing
        /// unless the feature [`feature::SHARED_ARGUMENTS`] was agreed on.
        #[serde(default, skip_serializing_if = "is_false")]
        shared_arguments: bool,
    },
    /// Answers [`FromMaster::Welcome`] when the initializer failed; then the worker leaves. The
    /// payload is empty, or one `bin` that another party of the same language understands.
    InitializerFailed(Failure),
    /// The value of one item of a call. The payload is that one value.
    Result {
        /// The id of the call.
        id: u64,
        /// Which item of the call, counted from 0.
        item: u32,
    },
    /// The values of several items of a call, in order from `item` on: the payload is as many
    /// values. Sent only if the feature [`feature::SHARED_OUTPUT`] was agreed on.
    Results {
        /// The id of the call.
        id: u64,
        /// Which item of the call the first value is of, counted from 0.
        item: u32,
    },
    /// The value of one item of a call, which lies in the file of the shared output, behind
    /// [`SharedOutput::results`]; it is an answer as [`FromWorker::Result`] is. Sent only if the
    /// feature [`feature::SHARED_RESULTS`] was agreed on. No payload.
    SharedResult {
        /// The id of the call.
        id: u64,
        /// Which item of the call, counted from 0.
        item: u32,
        /// Where the value begins, counted from the start of the file.
        offset: u64,
        /// How many bytes it has, at least 1.
        length: u64,
    },
    /// One item of a call failed. The payload is empty, or one `bin` that another party of the
    /// same language understands.
    Error {
        /// The id of the call.
        id: u64,
        /// Which item of the call, counted from 0.
        item: u32,
        /// What went wrong.
        #[serde(deserialize_with = "from_map")]
        failure: Failure,
    },
    /// The item in hand is alive. Sent any number of times before its answer, and only if the
    /// feature [`feature::PROGRESS`] was agreed on. No payload.
    Progress {
        /// The id of the call.
        id: u64,
        /// Which item of the call, counted from 0.
        item: u32,
        /// How far it is, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
}

/// What a master says to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromMaster<'a> {
    /// Accepts a worker. If an initializer is named its arguments are the payload, one item.
    /// The worker answers with [`FromWorker::Ready`] or [`FromWorker::InitializerFailed`].
    Welcome(Welcome),
    /// Refuses a worker, which then leaves. No payload.
    Reject {
        /// Why, for people.
        reason: String,
    },
    /// Runs a function on each of `items` items. The payload is the items, one after another,
    /// unless they lie elsewhere ([`Call::shared`]). The worker answers each, in order, before it
    /// begins the next.
    #[serde(borrow)]
    Call(Call<'a>),
    /// The oldest item without an answer is not wanted any more: the worker ends it soon if it
    /// can, and answers it like any other. Sent only if the feature [`feature::CANCEL`] was
    /// agreed on. No payload.
    Cancel {
        /// The id of the call.
        id: u64,
        /// Which item of the call, counted from 0.
        item: u32,
    },
    /// The worker finishes what came before, then exits with status 0. Nothing follows but a
    /// [`FromMaster::Cancel`]. No payload.
    Drain {},
}

/// A worker introduces itself.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The token from the environment of the worker.
    pub token: String,
    /// The oldest version of the protocol that the worker speaks.
    pub oldest: u32,
    /// The newest version of the protocol that the worker speaks.
    pub newest: u32,
    /// Optional features that the worker knows, such as those in [`feature`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The name of the worker, for people.
    #[serde(default)]
    pub name: String,
    /// The version of the worker, for people.
    #[serde(default)]
    pub version: String,
    /// The functions that the worker can run, initializers among them.
    #[serde(default, deserialize_with = "each_from_map")]
    pub functions: Vec<FunctionDescription>,
}

/// Leaves the token out, so that it never gets into a log.
impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token: _, oldest, newest, features, name, version, functions } = self;
        f.debug_struct("Hello")
            .field("oldest", oldest)
            .field("newest", newest)
            .field("features", features)
            .field("name", name)
            .field("version", version)
            .field("functions", functions)
            .finish_non_exhaustive()
    }
}

/// A function that a worker can run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionDescription {
    /// The name to call it by.
    pub name: String,
    /// Its parameters, for people, such as `(n, seconds?)`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parameters: String,
    /// A line of help.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// It reports its progress, so that its silence means something.
    #[serde(default, skip_serializing_if = "is_false")]
    pub progress: bool,
    /// It can be told to stop in the middle.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancel: bool,
}

/// A master accepts a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the protocol to speak from now on.
    pub version: u32,
    /// The features to use, a subset of those of the hello.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The seat of the worker in its pool, counted from 0.
    #[serde(default)]
    pub slot: u32,
    /// The name of the pool, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// The function to run before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initializer: Option<String>,
    /// The item in the payload is a list and a map rather than a list alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keywords: bool,
    /// Where the worker may keep answers for a moment; comes with
    /// [`feature::SHARED_OUTPUT`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_from_map"
    )]
    pub shared_output: Option<SharedOutput>,
    /// Where the worker finds large arguments; comes with [`feature::SHARED_ARGUMENTS`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_from_map"
    )]
    pub shared_arguments: Option<SharedArguments>,
}

/// Where a shared output is; what stands in it is in [`crate::shared_output`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedOutput {
    /// A file to be mapped for reading and writing.
    pub path: String,
    /// The number with which the file begins, so that it is known to be the right one.
    pub key: u64,
    /// Where in the file the room for large results begins, and that for frames ends: a multiple
    /// of 4096. Comes with [`feature::SHARED_RESULTS`], and means nothing without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<u64>,
}

/// Where a master puts large arguments: a file that may be the same for many workers, and that no
/// worker can change. What a call says of them is a [`SharedRange`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedArguments {
    /// A file to be mapped for reading only.
    pub path: String,
    /// The number with which the file begins, in 8 bytes of little-endian order, so that it is
    /// known to be the right one.
    pub key: u64,
}

/// Some bytes of a file. Nothing says that the file has them, before [`SharedRange::within`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedRange {
    /// Where they begin, counted from the start of the file.
    pub offset: u64,
    /// How many there are, at least 1.
    pub length: u64,
}

impl SharedRange {
    /// Which bytes these are of a file of `size` bytes. `None` if there are none, or if the file
    /// has not all of them.
    ///
    /// ```
    /// use protocol::message::SharedRange;
    ///
    /// assert_eq!(SharedRange { offset: 8, length: 2 }.within(10), Some(8..10));
    /// assert_eq!(SharedRange { offset: 8, length: 3 }.within(10), None);
    /// assert_eq!(SharedRange { offset: 8, length: 0 }.within(10), None);
    /// assert_eq!(SharedRange { offset: 8, length: u64::MAX }.within(10), None);
    /// ```
    pub fn within(&self, size: usize) -> Option<Range<usize>> {
        let start = usize::try_from(self.offset).ok()?;
        let end = usize::try_from(self.offset.checked_add(self.length)?).ok()?;
        (start < end && end <= size).then_some(start..end)
    }
}

/// One function, one or more items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call<'a> {
    /// Chosen by the master, never used twice on a connection.
    pub id: u64,
    /// The name of a function that the hello announced.
    #[serde(borrow)]
    pub function: Cow<'a, str>,
    /// How many items the payload holds, at least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub items: u32,
    /// Each item is a list and a map of keyword arguments, rather than a list alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keywords: bool,
    /// The worker exits after this call: with status 0, or with 1 if any item failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub last: bool,
    /// The payload is not in the frame, but there in the file of the shared arguments. Only if the
    /// feature [`feature::SHARED_ARGUMENTS`] was agreed on and the worker said in its `ready` that
    /// it has the file. The bytes stay as they are until the last item is answered, or the worker
    /// has ended.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_from_map"
    )]
    pub shared: Option<SharedRange>,
}

/// What went wrong in a function, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A short name of the kind of error, such as `ValueError`; see [`kind`].
    #[serde(default)]
    pub kind: String,
    /// What happened, for people.
    #[serde(default)]
    pub message: String,
    /// Where it happened, for people, in whatever form the language of the worker has.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub traceback: String,
}

/// The features that the protocol itself defines. A feature is in force once it stands in the
/// welcome, which chooses from those of the hello.
pub mod feature {
    /// Workers report the progress of an item: [`FromWorker::Progress`](super::FromWorker).
    pub const PROGRESS: &str = "progress";
    /// Masters cancel an item: [`FromMaster::Cancel`](super::FromMaster).
    pub const CANCEL: &str = "cancel";
    /// Workers keep answers for a moment where their master can see them, and write many at once:
    /// [`crate::shared_output`].
    pub const SHARED_OUTPUT: &str = "shared_output";
    /// Workers put large results into the file of their shared output:
    /// [`FromWorker::SharedResult`](super::FromWorker). Means nothing without [`SHARED_OUTPUT`].
    pub const SHARED_RESULTS: &str = "shared_results";
    /// Masters put large arguments into a file of theirs:
    /// [`SharedArguments`](super::SharedArguments).
    pub const SHARED_ARGUMENTS: &str = "shared_arguments";
}

/// The kinds of error that the protocol itself defines.
pub mod kind {
    /// The worker has no function of that name.
    pub const UNKNOWN_FUNCTION: &str = "UnknownFunction";
    /// The number or the types of the arguments do not fit the function.
    pub const INVALID_ARGUMENTS: &str = "InvalidArguments";
    /// The result cannot be encoded, or does not fit a frame.
    pub const INVALID_RESULT: &str = "InvalidResult";
    /// The function panicked, or whatever comes nearest in the language of the worker.
    pub const PANIC: &str = "Panic";
    /// The function ended early, because its master cancelled the item.
    pub const CANCELLED: &str = "Cancelled";
}

/// Reads a struct from a map of its fields and from nothing else: what serde derives would take
/// an array of the fields as well.
fn from_map<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    FieldsOf::deserialize(deserializer).map(|FieldsOf(value)| value)
}

/// As [`from_map`], for a field that may be absent.
fn optional_from_map<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let value: Option<FieldsOf<T>> = Option::deserialize(deserializer)?;
    Ok(value.map(|FieldsOf(value)| value))
}

/// As [`from_map`], for each element of an array.
fn each_from_map<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let elements = Vec::deserialize(deserializer)?;
    Ok(elements.into_iter().map(|FieldsOf(value)| value).collect())
}

struct FieldsOf<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FieldsOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

struct FieldsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<T> {
    type Value = FieldsOf<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(FieldsOf)
    }
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_one(items: &u32) -> bool {
    *items == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
