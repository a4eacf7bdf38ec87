//! Taking what the master put into the environment, so that no function and no program that a
//! function starts can see it.

#![expect(unsafe_code, reason = "removing a variable is unsafe once there are other threads")]

use std::{env, ffi::OsString, fs};

use protocol::launch::{ADDRESS_VARIABLE, TOKEN_VARIABLE};

/// Where the master is, and what shows it that this is the worker it started.
pub(crate) struct Launch {
    pub(crate) address: OsString,
    pub(crate) token: String,
}

/// Why a worker cannot start with the environment that it has: it was not started as a master
/// starts one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(
        "{ADDRESS_VARIABLE} cannot be removed safely while there are {0} threads: \
         call Worker::main first thing in main"
    )]
    Threads(usize),
    #[error("{ADDRESS_VARIABLE} is set and {TOKEN_VARIABLE} is not: a master sets both")]
    NoToken,
    #[error("{TOKEN_VARIABLE} is not a text: a master sets it to one")]
    TokenNotText,
}

/// Takes the launch contract out of the environment; `None` if there is no master. To be called
/// while the process has one thread.
pub(crate) fn take() -> Result<Option<Launch>, LaunchError> {
    let address = env::var_os(ADDRESS_VARIABLE);
    let token = env::var_os(TOKEN_VARIABLE);
    if address.is_none() && token.is_none() {
        return Ok(None);
    }
    match thread_count() {
        None | Some(1) => {}
        Some(count) => return Err(LaunchError::Threads(count)),
    }
    // SAFETY: no other thread can read the environment meanwhile. On Linux it was just seen
    // that there is none; elsewhere, and where /proc is missing, it is the documented condition
    // for calling `Worker::main`.
    unsafe {
        env::remove_var(ADDRESS_VARIABLE);
        env::remove_var(TOKEN_VARIABLE);
    }
    let Some(address) = address else { return Ok(None) };
    let token = token.ok_or(LaunchError::NoToken)?;
    let token = token.into_string().map_err(|_| LaunchError::TokenNotText)?;
    Ok(Some(Launch { address, token }))
}

/// How many threads this process has, where that can be known.
fn thread_count() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}
