//! The unsafe part of the hand-over, and all of it: the environment, numbers that are descriptors, and the double fork.
//!
//! # Safety
//!
//! - Variables are removed only while this process has a single thread, so that nobody can be reading them.
//! - A number becomes an [`OwnedFd`] only where the service manager said that the descriptor was opened for this process.
//! - Between fork and exec only functions are called that may be: `_Fork`, `write`, `_exit`, `sigemptyset` and
//!   `pthread_sigmask` (signal-safety(7)). `fork` itself is not one of them any more, since it takes locks (POSIX.1-2024);
//!   it is called only where there is no `_Fork`: glibc before 2.34, whose `fork` was safe but for handlers of
//!   `pthread_atfork`.
#![allow(unsafe_code)]

use std::{
    env, fs, io, mem,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr,
};

/// Removes `names` from the environment and returns whether it did: not where another thread might be reading it.
pub(crate) fn remove_variables(names: &[&str]) -> bool {
    let alone = fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone {
        for name in names {
            // SAFETY: this is the only thread, as was just seen, so nothing reads or writes the environment meanwhile.
            unsafe { env::remove_var(name) };
        }
    }
    alone
}

/// Takes ownership of a descriptor that was opened for this process before it began.
///
/// # Errors
///
/// Where the number is no open descriptor.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes a number that may be anything and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and was named as ours by who started us; the list of them is read only once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `command` start its program as a grandchild that loses its parent at once, and write its process id to `pid`.
///
/// What [`Command::spawn`] then returns is the process in between, which is about to exit and has to be waited for.
pub(crate) fn start_as_orphan(command: &mut Command, pid: OwnedFd) {
    let fork = fork();
    // SAFETY: the closure calls `fork`, `write` and `_exit` only, and returns in the grandchild alone.
    unsafe {
        command.pre_exec(move || match fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            grandchild => {
                let bytes = grandchild.to_ne_bytes();
                libc::write(pid.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
                libc::_exit(0)
            }
        });
    }
}

/// Returns the fork that may be called between fork and exec, or the usual one where there is none.
///
/// # References
///
/// fork(2), `_Fork` in POSIX.1-2024
fn fork() -> unsafe extern "C" fn() -> libc::pid_t {
    // SAFETY: the name ends with a zero byte.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_Fork".as_ptr()) };
    if found.is_null() {
        return libc::fork;
    }
    // SAFETY: the function of that name is declared as `pid_t _Fork(void)`.
    unsafe { mem::transmute::<*mut libc::c_void, unsafe extern "C" fn() -> libc::pid_t>(found) }
}

/// Makes `command` start its program with no signal blocked, whatever the calling thread has blocked.
///
/// # References
///
/// "Effect on process attributes" in execve(2): a signal mask is inherited
pub(crate) fn unblock_signals(command: &mut Command) {
    // SAFETY: the closure calls `sigemptyset` and `pthread_sigmask` only, on a set of its own.
    unsafe {
        command.pre_exec(|| {
            let mut none: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&raw mut none);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        });
    }
}
