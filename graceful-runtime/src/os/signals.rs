//! Which signals the process ignores, and which wait.
//!
//! # Safety
//!
//! Every function here is safe to call; no pointer outlives its call.
#![allow(unsafe_code, reason = "this folder is the place for it")]

/// Tells whether the process ignores `signal`, as nohup(1) arranges it for HUP.
///
/// # References
///
/// sigaction(2)
pub(crate) fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: an all-zero `sigaction` is a valid value of this plain C struct.
    let mut current: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null `act` only asks; `current` is valid for writes for the time of the call.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut current) };
    result == 0 && current.sa_sigaction == libc::SIG_IGN
}

/// Keeps signals from this thread until it is dropped; meanwhile they wait.
///
/// Afterwards they come, even where whoever started the process had them blocked: a mask is inherited.
///
/// # References
///
/// pthread_sigmask(3), "Signal mask and pending signals" in signal(7)
#[derive(Debug)]
pub(crate) struct BlockedSignals {
    afterwards: libc::sigset_t,
}

/// What else is blocked, when [`BlockedSignals`] has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// What was before: the program may have blocked it.
    Unchanged,
    /// Nothing: it cannot have been the program, as none of it has run.
    Unblocked,
}

impl BlockedSignals {
    pub(crate) fn new(signals: impl Iterator<Item = libc::c_int>, others: Others) -> Self {
        // SAFETY: `sigset_t` is a plain C struct, for which zeros are a valid value, and the sets are
        // valid for the time of the calls.
        unsafe {
            let mut blocked: libc::sigset_t = std::mem::zeroed();
            let mut afterwards: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut blocked);
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut afterwards);
            if others == Others::Unblocked {
                libc::sigemptyset(&raw mut afterwards);
            }
            for signal in signals {
                libc::sigaddset(&raw mut blocked, signal);
                libc::sigdelset(&raw mut afterwards, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut());
            Self { afterwards }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was made by the functions for it, and a null pointer asks for nothing.
        unsafe {
            let afterwards = &raw const self.afterwards;
            libc::pthread_sigmask(libc::SIG_SETMASK, afterwards, std::ptr::null_mut());
        }
    }
}
