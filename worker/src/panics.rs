//! A panic in a function is an error of that call, and the worker goes on.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::Once,
};

use protocol::message::kind::PANIC;

use crate::error::Error;

thread_local! {
    /// A call runs on this thread.
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic in a call happened.
    static TRACEBACK: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics in calls off standard error: they become errors, with their traceback. Panics
/// anywhere else go to the hook that was there before.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IN_CALL.try_with(Cell::get).unwrap_or(false) {
                let traceback = describe(info);
                // Nothing else holds it while a panic is under way on this thread.
                let _ = TRACEBACK.try_with(|kept| kept.replace(traceback));
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs a function of a call; its panic becomes an error of the kind `Panic`.
pub(crate) fn catch<T>(function: impl FnOnce() -> T) -> Result<T, Error> {
    IN_CALL.set(true);
    // What the function leaves half done is its own: the worker keeps nothing of it but the
    // result, and that is thrown away.
    let outcome = panic::catch_unwind(AssertUnwindSafe(function));
    IN_CALL.set(false);
    outcome.map_err(|payload| {
        Error::new(PANIC, message(payload.as_ref())).with_traceback(TRACEBACK.take())
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}

/// Where the panic happened, with a backtrace if `RUST_BACKTRACE` asks for one.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => format!("at {place}\n{backtrace}"),
        _ => format!("at {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{catch, install_hook};

    #[test]
    fn panics_become_errors() {
        install_hook();
        let place = format!("at {}:{}:", file!(), line!() + 1);
        let error = catch(|| panic!("lost at {}", 3)).unwrap_err();
        assert_eq!(error.to_string(), "Panic: lost at 3");
        assert!(error.traceback().starts_with(&place), "{}", error.traceback());
        let error = catch(|| std::panic::panic_any(5)).unwrap_err();
        assert_eq!(error.to_string(), "Panic: a panic without a text");
        assert_eq!(catch(|| 5), Ok(5));
    }
}
