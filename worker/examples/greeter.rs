//! A whole worker, as the README shows it.

use std::process::ExitCode;

fn greet(name: String, language: Option<String>) -> Result<String, String> {
    match language.as_deref() {
        None | Some("en") => Ok(format!("Hello, {name}!")),
        Some("de") => Ok(format!("Hallo, {name}!")),
        Some(other) => Err(format!("no greeting in `{other}`; there are en and de")),
    }
}

fn main() -> ExitCode {
    let help = "A greeting, in English if not told otherwise";
    worker::Worker::new("greeter", "1.0.0").function("greet(name, language?)", help, greet).main()
}
