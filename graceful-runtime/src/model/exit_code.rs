//! What the exit code of a process says.

/// The code of a process that its deadline ended, as timeout(1) has it.
pub(crate) const DEADLINE: u8 = 124;
/// The code of a process that a second Ctrl-C ended: 128 + SIGINT, as shells have it.
pub(crate) const INTERRUPT: u8 = 130;
/// The code of a Rust program whose main thread panicked.
pub(crate) const PANIC: u8 = 101;
