//! The environment, read in one place and once: what the predecessor, the service manager and the orchestrator left there.
//!
//! # Safety
//!
//! - Variables are removed only while this process has a single thread, so that nobody can be reading them.
//! - A number becomes an [`OwnedFd`] only where the service manager said that the descriptor was opened for this process.
#![allow(unsafe_code, reason = "this folder is the place for it")]

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    process,
    time::Duration,
};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::text::printable;

/// Says that standard input is the channel to a predecessor; the value is the version of the protocol.
pub(crate) const HANDOVER: &str = "GRACEFUL_HANDOVER";

/// The first descriptor of a service manager.
const FIRST_DESCRIPTOR: RawFd = 3;

/// How many descriptors of a service manager are looked at, which are more than anybody gives.
const DESCRIPTORS_MAX: usize = 4096;

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
    /// The descriptors that the service manager opened for this process.
    pub(crate) activation: Activation,
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
            remove_variables(&PRIVATE);
        }
        environment
    }

    fn read() -> Self {
        let pid = env::var("LISTEN_PID").ok();
        let for_this_process = pid
            .as_ref()
            .is_some_and(|pid| *pid == process::id().to_string());
        let has_descriptors = env::var_os("LISTEN_FDS").is_some();
        Self {
            handover: env::var_os(HANDOVER),
            notify_socket: env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()),
            activation: match for_this_process {
                true => Activation::take(),
                false => Activation::default(),
            },
            activated_process: pid.filter(|_| has_descriptors && !for_this_process),
            in_kubernetes: env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            main_of_unit: env::var("SYSTEMD_EXEC_PID")
                .ok()
                .and_then(|pid| pid.parse().ok()),
        }
    }
}

/// What the service manager gave.
///
/// # References
///
/// sd_listen_fds(3)
#[derive(Debug, Default)]
pub(crate) struct Activation {
    pub(crate) descriptors: Vec<Activated>,
    /// What is not as the variables say.
    pub(crate) complaint: Option<String>,
}

/// A descriptor of the service manager.
#[derive(Debug)]
pub(crate) struct Activated {
    pub(crate) number: RawFd,
    pub(crate) name: String,
    pub(crate) descriptor: OwnedFd,
}

impl Activation {
    /// Takes the descriptors before anything else may get the number of one that is not open.
    fn take() -> Self {
        let Ok(count) = env::var("LISTEN_FDS") else {
            return Self::default();
        };
        let names = env::var("LISTEN_FDNAMES").ok();
        match names_by_number(&count, names.as_deref()) {
            Ok(names) => Self::adopt(names, &count),
            Err(reason) => Self {
                complaint: Some(format!("socket activation is ignored: {reason}")),
                ..Self::default()
            },
        }
    }

    fn adopt(names: Vec<(RawFd, String)>, count: &str) -> Self {
        let mut descriptors = Vec::new();
        let mut missing = Vec::new();
        for (number, name) in names {
            let adopted = adopt(number).and_then(|descriptor| {
                fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
                Ok(descriptor)
            });
            match adopted {
                Ok(descriptor) => descriptors.push(Activated {
                    number,
                    name,
                    descriptor,
                }),
                Err(_) => missing.push((number, name)),
            }
        }
        let more = missing.len().saturating_sub(1);
        let complaint = missing.first().map(|(number, name)| {
            let others = match more {
                0 => "is".into(),
                more => format!("and {more} more are"),
            };
            format!(
                "descriptor {number} ({name}) of the service manager {others} not open; LISTEN_FDS is {count}, which \
                 counts from {FIRST_DESCRIPTOR} on: look for a program in between that has closed it"
            )
        });
        Self {
            descriptors,
            complaint,
        }
    }
}

/// Reads `LISTEN_FDS` and `LISTEN_FDNAMES`.
fn names_by_number(count: &str, names: Option<&str>) -> Result<Vec<(RawFd, String)>, String> {
    let Ok(number) = count.parse::<u32>() else {
        let count = printable(count, 20);
        return Err(format!("LISTEN_FDS is not a number: {count}"));
    };
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let names: Vec<_> = match names {
        Some(names) => names.split(':').map(str::to_owned).collect(),
        None => vec!["unknown".to_owned(); number.min(DESCRIPTORS_MAX)],
    };
    match names.len() {
        len if len == number.min(DESCRIPTORS_MAX) => Ok((FIRST_DESCRIPTOR..).zip(names).collect()),
        len => Err(format!(
            "LISTEN_FDNAMES has {len} names for LISTEN_FDS={number}"
        )),
    }
}

/// Removes `names` from the environment and returns whether it did: not where another thread might be reading it.
fn remove_variables(names: &[&str]) -> bool {
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
fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes a number that may be anything and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and was named as ours by who started us; the list of them is read only once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::{DESCRIPTORS_MAX, names_by_number};

    #[test]
    fn descriptors_have_their_names_or_none() {
        let named = names_by_number("2", Some("web:")).unwrap();
        assert_eq!(named, [(3, "web".into()), (4, String::new())]);
        let unnamed = names_by_number("1", None).unwrap();
        assert_eq!(unnamed, [(3, "unknown".into())]);
        for (count, names) in [
            ("", None),
            ("-1", None),
            ("0", Some("")),
            ("2", Some("web")),
        ] {
            assert!(names_by_number(count, names).is_err(), "{count} {names:?}");
        }
        let many = names_by_number("4000000000", None).unwrap();
        assert_eq!(many.len(), DESCRIPTORS_MAX);
    }
}
