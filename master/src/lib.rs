//! Runs functions on a supervised pool of worker processes.
mod arguments;
mod batch;
pub mod command;
mod driver;
mod error;
mod machine;
mod pool;
mod process;
pub mod program;
mod report;
mod result;
mod stream;

pub use self::{
    arguments::{Arguments, Encoded, FromResult, IntoArguments, MAX_ARGUMENTS},
    error::{Cancelled, Error, Failure},
    pool::{Pool, PoolBuilder},
    process::{Process, ProcessBuilder},
    report::{Exit, Stage, WorkerReport},
    result::{ApplyResult, MapResult},
};
