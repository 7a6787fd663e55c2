//! The environment, read in one place and once: what the predecessor, the service manager and the orchestrator left there.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::{fd::RawFd, unix::ffi::OsStrExt},
    process,
    time::Duration,
};

use super::sys;

/// Says that standard input is the channel to a predecessor; the value is the version of the protocol.
pub(crate) const HANDOVER: &str = "GRACEFUL_HANDOVER";

/// What is meant for this process alone: no process that it starts may take it for its own.
pub(crate) const PRIVATE: [&str; 9] = [
    HANDOVER,
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "FDSTORE",
];

/// Returns the environment that this process was started with, whatever it has done to its own since.
///
/// # References
///
/// `/proc/pid/environ` in proc_pid_environ(5)
pub(crate) fn of_the_start() -> Vec<(OsString, OsString)> {
    let Ok(block) = fs::read("/proc/self/environ") else {
        return env::vars_os().collect();
    };
    let entries = block.split(|byte| *byte == 0);
    entries.filter_map(variable).collect()
}

/// Reads `name=value`; a name may begin with `=`, by an old custom.
fn variable(entry: &[u8]) -> Option<(OsString, OsString)> {
    let end = entry.iter().skip(1).position(|byte| *byte == b'=')? + 1;
    let own = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    Some((own(&entry[..end]), own(&entry[end + 1..])))
}

/// What the environment said when this process began.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The version of the hand-over that a predecessor speaks.
    pub(crate) handover: Option<OsString>,
    /// Where the service manager listens.
    pub(crate) notify_socket: Option<OsString>,
    /// Within which time the service manager wants to hear from this process, again and again.
    pub(crate) watchdog: Option<Duration>,
    /// The descriptors that the service manager opened for this process, with their names.
    pub(crate) activation: io::Result<Vec<(RawFd, String)>>,
    /// The process that descriptors were opened for, where that is another one.
    pub(crate) activated_process: Option<String>,
    /// Whether a Kubernetes pod is around this process.
    pub(crate) in_kubernetes: bool,
    /// The process that systemd itself has started, whose end is the end of the unit: this one, or an ancestor of it.
    pub(crate) main_of_unit: Option<u32>,
}

impl Environment {
    /// Reads the environment and removes what is meant for this process alone.
    ///
    /// Has to be called before there is a second thread; with one, nothing is removed, because that would not be safe.
    pub(crate) fn take() -> Self {
        let environment = Self::read();
        if PRIVATE.iter().any(|name| env::var_os(name).is_some()) {
            sys::remove_variables(&PRIVATE);
        }
        environment
    }

    fn read() -> Self {
        Self {
            handover: env::var_os(HANDOVER),
            notify_socket: env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()),
            activation: sd_notify::listen_fds_with_names().map(Iterator::collect),
            activated_process: env::var("LISTEN_PID").ok().filter(|pid| {
                env::var_os("LISTEN_FDS").is_some() && *pid != process::id().to_string()
            }),
            in_kubernetes: env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            main_of_unit: env::var("SYSTEMD_EXEC_PID")
                .ok()
                .and_then(|pid| pid.parse().ok()),
        }
    }
}
