//! The launch contract: how a worker learns where to connect, and what its exit statuses mean.

/// Environment variable that holds the address of the socket to connect to: on Unix the path of
/// a socket file, elsewhere the name of a named pipe.
pub const ADDRESS_VARIABLE: &str = "WORKER_ADDRESS";

/// Environment variable that holds the token that the hello must carry. It is good for one use,
/// and a worker removes it from its environment before it runs any function.
pub const TOKEN_VARIABLE: &str = "WORKER_TOKEN";

/// Exit status of a worker that left because it was asked to, or because its master was gone.
pub const EXIT_NORMAL: u8 = 0;

/// Exit status after a call marked `last` of which an item failed, and after a failed initializer.
pub const EXIT_CALL_FAILED: u8 = 1;

/// Exit status of a program that is a worker, but was started by hand, with no master.
pub const EXIT_USAGE: u8 = 2;

/// Exit status of a worker that gave up because its master rejected it or broke the protocol.
pub const EXIT_PROTOCOL: u8 = 76;
