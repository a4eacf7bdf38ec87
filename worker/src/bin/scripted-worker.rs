//! A worker that plays a script; see [`worker::script`].

fn main() -> std::process::ExitCode {
    worker::script::main()
}
