//! A worker that misbehaves as its first argument says; `--list` prints the ways it knows.

use std::process::ExitCode;

fn main() -> ExitCode {
    integration_tests::misbehaving::main()
}
