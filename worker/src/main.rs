//! The reference worker. The program is the library; see [`worker::reference`].

fn main() -> std::process::ExitCode {
    worker::reference::worker().main()
}
