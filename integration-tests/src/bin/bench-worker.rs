//! The worker that is measured: functions that cost as little as possible, or just as much as is
//! asked for. Without a master it does the same work as a bare process, to compare with.

#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a bare process says on standard output what it has done"
)]

use std::{
    env,
    hint::black_box,
    io::{self, BufRead, BufWriter, Read, Write},
    os::unix::net::UnixStream,
    process::ExitCode,
};

use serde_bytes::ByteBuf;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["--burn", tasks, rounds] => bare_burn(tasks, rounds),
        ["--wait-for-all", path] => wait_for_all(path.to_owned()).map(drop),
        ["--square-lines"] => square_lines(),
        _ => return serve(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> ExitCode {
    worker::Worker::new("bench-worker", env!("CARGO_PKG_VERSION"))
        .function("square(n)", "The square of n", |n: u64| Ok::<_, worker::Error>(n * n))
        .function(
            "bytes(value)",
            "The bytes as they came, decoded and encoded",
            |value: ByteBuf| Ok::<_, worker::Error>(value),
        )
        .raw_function("echo(value)", "The value as it came, not decoded", |arguments, result| {
            result.extend_from_slice(arguments.bind()?.encoded(0).unwrap_or_default());
            Ok(())
        })
        .function("burn(rounds)", "Computes for so many rounds", |rounds: u64| {
            Ok::<_, worker::Error>(burn(rounds))
        })
        .function("wait_for_all(path)", "Returns once all have come to a socket", wait_for_all)
        .main()
}

/// Work that only the processor limits, and that no compiler takes away.
#[inline(never)]
fn burn(rounds: u64) -> u64 {
    let mut state = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

/// Waits for a byte on standard input, does the tasks, and prints the sum of what they gave.
fn bare_burn(tasks: &str, rounds: &str) -> io::Result<()> {
    let tasks: u64 = tasks.parse().map_err(io::Error::other)?;
    let rounds: u64 = rounds.parse().map_err(io::Error::other)?;
    io::stdin().read_exact(&mut [0])?;
    let sum = (0..tasks).fold(0_u64, |sum, _| sum.wrapping_add(burn(rounds)));
    println!("{sum}");
    Ok(())
}

/// Connects to whoever counts, and returns when that one closes the connection: once so many
/// processes have come as are expected. So each task is on a process of its own.
fn wait_for_all(path: String) -> io::Result<u32> {
    let rest = UnixStream::connect(path)?.read(&mut [0])?;
    if rest > 0 {
        return Err(io::Error::other("a byte where an end was expected"));
    }
    Ok(std::process::id())
}

/// What `square` does to JSON lines, as a filter.
fn square_lines() -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let n: u64 = serde_json::from_slice(&line)?;
        serde_json::to_writer(&mut out, &(n * n))?;
        out.write_all(b"\n")?;
        line.clear();
    }
    out.flush()
}
