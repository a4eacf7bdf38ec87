//! The program `master`; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    master::program::main()
}
