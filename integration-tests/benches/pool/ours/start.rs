//! The start of a pool, up to the first result of each of its workers.

use std::{collections::BTreeSet, time::Instant};

use super::{finish, pool};
use crate::figures::{Figures, Parameters, figures};

/// `workers`, and `socket`: of who counts the workers, and lets them go on when all are there.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let workers: usize = parameters.get("workers");
    let socket: String = parameters.get("socket");
    let began = Instant::now();
    let pool = pool(parameters);
    let paths = std::iter::repeat_n(&socket, workers);
    let pids = pool.map_chunked::<_, u32>("wait_for_all", paths, 1).expect("all workers come");
    let time = began.elapsed();
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), workers);
    finish(&pool);
    figures([("ms", time.as_secs_f64() * 1e3)])
}
