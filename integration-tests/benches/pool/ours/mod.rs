//! What this project does: the pool, through its public library.

pub(crate) mod burn;
pub(crate) mod bytes;
pub(crate) mod growth;
pub(crate) mod memory;
pub(crate) mod start;
pub(crate) mod tasks;

use integration_tests::library::command;
use master::Pool;

use crate::figures::Parameters;

/// Tasks that are not counted.
const WARM_UP: u64 = 2_000;

/// `worker`, perhaps `serves`: the file whose functions it serves, `workers`, and `shared=off` for the
/// base rule, a write for each answer. A worker that does not know the variable keeps to that rule
/// anyway.
fn pool(parameters: &Parameters) -> Pool {
    let worker: String = parameters.get("worker");
    let file: Option<String> = parameters.find("serves");
    let words: Vec<&str> = [&worker].into_iter().chain(&file).map(String::as_str).collect();
    let mut builder = Pool::builder().worker(command(&words)).processes(parameters.get("workers"));
    if parameters.find::<String>("shared").is_some_and(|shared| shared == "off") {
        builder = builder.environment("WORKER_SHARED_OUTPUT", "off");
    }
    builder.build().expect("the pool starts")
}

/// Closes a pool and waits for its end.
fn finish(pool: &Pool) {
    pool.close();
    pool.join().expect("the pool ends well");
}
