//! What a pool can do beyond the tutorial, as the README shows it.
#![allow(clippy::print_stdout, reason = "an example prints what it gets")]

mod executor;

use executor::block_on;
use master::{Callbacks, Error, Pool};

fn main() -> Result<(), Error> {
    let pool = Pool::builder().processes(2).build()?;

    // A lazy map. Its input has no end, and is taken only as far as results are wanted.
    for square in pool.imap::<_, i64>("square", 1..)?.take(3) {
        println!("{}", square?);
    }

    // A callback: one of the two runs, once, before `wait` returns.
    let callbacks = Callbacks::new()
        .on_result(|sum: u64| println!("the sum is {sum}"))
        .on_error(|error| println!("there is no sum: {error}"));
    pool.apply_async_with("sum_primes", (1000,), callbacks)?.wait();

    // Cancelling ends a call for those who wait, and stops it if it runs.
    let nap = pool.apply_async::<()>("sleep", (3600,))?;
    nap.cancel();
    if let Err(error) = nap.get() {
        println!("{error}");
    }

    // Results are futures, for any executor.
    let cubes = block_on(async { pool.map_async::<_, i64>("cube", 1..=3, None)?.await })?;
    println!("{cubes:?}");

    // A scope waits for everything that was submitted in it.
    let naps = [(0.1, "first"), (0.0, "second")];
    let pending = Pool::builder()
        .processes(2)
        .scope(|pool| pool.starmap_async::<_, String>("sleep", naps, None))??;
    assert!(pending.ready());
    println!("{:?}", pending.get()?);
    Ok(())
}
