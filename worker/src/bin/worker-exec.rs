//! Makes a command line program a worker. The program is the library; see `worker::exec`.

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    worker::exec::main()
}

#[cfg(not(unix))]
#[expect(clippy::print_stderr, reason = "it is all that there is to say")]
fn main() -> ExitCode {
    eprintln!("worker-exec needs a Unix system: it waits for two pipes at once");
    ExitCode::from(2)
}
