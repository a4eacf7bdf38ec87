//! Launch, and what a worker shows of itself.

use std::{fs, time::Duration};

use protocol::launch::{ADDRESS_VARIABLE, EXIT_USAGE, TOKEN_VARIABLE};

use crate::check::{
    finding::{Finding, Stop},
    session::{Answer, HELLO_PATIENCE, Session},
    subject::Subject,
    trial::{Case, Trial},
};
use protocol::strict::{Value, envelope, frame};

pub(super) const CASES: &[Case] = &[
    Case::new("a whole life without a call", &[4, 9, 12, 14, 16, 17, 18, 19, 23, 37], |trial| {
        Session::ready(trial)?.finish()
    }),
    Case::new("nothing is said before the welcome", &[19], |trial| {
        let mut session = Session::greeted(trial)?;
        session.receive(Duration::from_millis(100))?;
        session.welcome(&[], [], &[])?;
        session.get_ready()?;
        session.is_silent(Duration::from_millis(100))?;
        session.finish()
    }),
    Case::new("started by hand", &[8], by_hand),
    Case::new("functions do not see the variables", &[5], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["environment"])?;
        for variable in [ADDRESS_VARIABLE, TOKEN_VARIABLE] {
            session.call("environment", &[vec![Value::text(variable)]])?;
            session.gives(5, &Value::Nil)?;
        }
        session.call("environment", &[vec![Value::text("PATH")]])?;
        if std::env::var_os("PATH").is_some_and(|path| !path.is_empty()) {
            let answer = session.answer()?;
            if answer == Answer::Value(Value::Nil) {
                return Err(
                    Finding::new(61, "`environment` gives nil for PATH, which is set").into()
                );
            }
        } else {
            session.answer()?;
        }
        session.finish()
    }),
    Case::new("the socket is closed when another program is executed", &[6], close_on_exec),
    Case::new("what is printed does not matter", &[7, 61], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["print"])?;
        let text = "\u{0}\u{0}\u{0}\u{8} this is no frame, and belongs to the function";
        session.call("print", &[vec![Value::text(text)]])?;
        session.gives(61, &Value::Nil)?;
        session.call("print", &[vec![Value::text("")]])?;
        session.gives(61, &Value::Nil)?;
        session.send(&frame(&envelope("drain", []), &[]))?;
        session.leaves(23)?;
        let output = session.subject.output();
        if let Some(missing) = output.iter().position(|stream| !stream.contains(text)) {
            let stream = ["output", "error"].get(missing).copied().unwrap_or_default();
            let text = format!("what `print` printed is not on standard {stream}");
            return Err(Finding::new(61, text).into());
        }
        session.look_back()
    }),
];

fn by_hand(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut subject = Subject::start_by_hand(trial)?;
    let broken = |text: String| {
        trial.note(Finding::new(8, text));
        Ok(())
    };
    let Some(status) = subject.exit(HELLO_PATIENCE) else {
        return broken("started without the two variables it stays".into());
    };
    let [_, stderr] = subject.output();
    if status.code() != Some(EXIT_USAGE.into()) {
        return broken(format!(
            "started without the two variables it ends with another status than {EXIT_USAGE}: \
             {status}"
        ));
    }
    if stderr.trim().is_empty() {
        return broken(
            "started without the two variables it says nothing on standard error".into(),
        );
    }
    Ok(())
}

fn close_on_exec(trial: &Trial<'_>) -> Result<(), Stop> {
    /// `O_CLOEXEC` in the flags that Linux tells, in octal.
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let session = Session::ready(trial)?;
    let process = format!("/proc/{}", session.subject.pid());
    let Ok(descriptors) = fs::read_dir(format!("{process}/fd")) else {
        return Err(Stop::Impossible("only Linux tells the flags of its descriptors".into()));
    };
    for descriptor in descriptors.flatten() {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        let number = descriptor.file_name();
        let info = fs::read_to_string(format!("{process}/fdinfo/{}", number.display()));
        let info = info.unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        let stays_open = flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0);
        if target.to_string_lossy().starts_with("socket:") && stays_open {
            let text = format!("descriptor {} is inherited by its children", number.display());
            trial.note(Finding::new(6, text));
        }
    }
    session.finish()
}
