//! The three programs of the tutorial, as the README shows them.
#![allow(clippy::print_stdout, reason = "an example prints what it gets")]

use master::{Error, Pool, Process};

fn main() -> Result<(), Error> {
    // Two processes at once. The square takes a second, so the cube is there before it.
    let square = Process::default_builder()?.function("square").arguments((10, 1)).start()?;
    let cube = Process::default_builder()?.function("cube").arguments((15,)).start()?;
    println!("{}", cube.result::<i64>()?);
    println!("{}", square.result::<i64>()?);

    // A pool of five processes.
    let pool = Pool::builder().processes(5).build()?;
    let squares: Vec<i64> = pool.map("square", 2..=8)?;
    println!("{squares:?}");

    // Four processes, each of which prints its name and its process id.
    let mut processes = Vec::new();
    for name in ["m1", "m2", "m3", "m4"] {
        let process = Process::default_builder()?.function("introduce").arguments((name,));
        processes.push(process.name(name).start()?);
    }
    for process in &processes {
        process.join()?;
        assert_eq!(process.exit_code()?, Some(0));
    }
    Ok(())
}
