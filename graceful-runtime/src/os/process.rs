//! Processes: how one is started, looked at and ended.
//!
//! # Safety
//!
//! - Between fork and exec only functions are called that may be: `_Fork`, `write`, `_exit`, `sigemptyset` and
//!   `pthread_sigmask` (signal-safety(7)). `fork` itself is not one of them any more, since it takes locks (POSIX.1-2024);
//!   it is called only where there is no `_Fork`: glibc before 2.34, whose `fork` was safe but for handlers of
//!   `pthread_atfork`.
#![allow(unsafe_code, reason = "this folder is the place for it")]

use std::{
    io, mem,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

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

/// Ends the process at once: no destructors, no `atexit` handlers, which could block.
///
/// # References
///
/// _exit(2)
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

/// Returns a descriptor that stands for the process and becomes readable when it ends.
pub(crate) fn process_descriptor(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(pid.cast_signed())?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Tells whether the process that the descriptor stands for has not ended.
pub(crate) fn is_running(process: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(
        poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)),
        Ok(0)
    )
}

/// Converts a wait to what the kernel takes, rounded up so that it never wakes too early.
pub(crate) fn timespec(wait: Duration) -> Timespec {
    let wait = wait.min(Duration::from_secs(1 << 30));
    Timespec {
        tv_sec: wait.as_secs().cast_signed(),
        tv_nsec: wait.subsec_nanos().into(),
    }
}
