//! Who started this process, and what the end of this process would end.
//!
//! A restart replaces the process, so whoever waits for its end must not take that for the end of everything. Known are
//! shells that run a command or a script and end after it, inits that end with their one child, and supervisors that
//! follow the process which they started. Whoever else started this one is taken to go on without it.

use std::fs;

use rustix::process::getppid;

/// Shells, which wait for what they run.
const SHELLS: [&str; 8] = ["sh", "ash", "bash", "busybox", "dash", "ksh", "mksh", "zsh"];

/// The inits that containers get to reap zombies (`docker run --init` among others); they end with their child.
const INITS_OF_ONE_CHILD: [&str; 5] = [
    "tini",
    "tini-static",
    "docker-init",
    "dumb-init",
    "catatonit",
];

/// The inits that do not end with whoever they have started.
const INITS: [&str; 2] = ["systemd", "init"];

/// Supervisors that start their process again when it has ended, whoever serves meanwhile.
const SUPERVISORS: [&str; 3] = ["supervisord", "runsv", "s6-supervise"];

/// The number of the PID namespace that the machine itself has; `PROC_PID_INIT_INO` in Linux's include/linux/proc_ns.h.
const NAMESPACE_OF_THE_MACHINE: &str = "pid:[4026531836]";

/// Who takes the end of this process for the end of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Follower {
    /// The container: its process 1 ends with this process.
    Container,
    /// The service manager: the unit's main process is a shell that ends with this process.
    Unit,
    /// A supervisor of this name.
    Supervisor(String),
}

/// A process, as far as it is known.
#[derive(Clone, Debug)]
struct Ancestor {
    pid: u32,
    parent: u32,
    name: String,
    arguments: Vec<String>,
}

/// Looks for one among the ancestors of this process; `unit` is the process that systemd has started.
pub(crate) fn follower(unit: Option<u32>) -> Option<Follower> {
    let Some(parent) = getppid() else {
        // It is outside of our PID namespace: the container's runtime, with `docker exec`, or a shared namespace.
        return Some(Follower::Container);
    };
    let ancestors = std::iter::successors(
        Ancestor::read(parent.as_raw_nonzero().get().cast_unsigned()),
        |process| Ancestor::read(process.parent),
    );
    let namespace = fs::read_link("/proc/self/ns/pid");
    let is_container = namespace.is_ok_and(|name| name.as_os_str() != NAMESPACE_OF_THE_MACHINE);
    follower_of(ancestors, is_container, unit)
}

/// `ancestors` are the nearest first.
fn follower_of(
    ancestors: impl Iterator<Item = Ancestor>,
    is_container: bool,
    unit: Option<u32>,
) -> Option<Follower> {
    for process in ancestors {
        let name = process.name.as_str();
        if SUPERVISORS.contains(&name) {
            return Some(Follower::Supervisor(process.name));
        }
        if process.pid == 1 {
            let waits = process.ends_with_its_child() || INITS_OF_ONE_CHILD.contains(&name);
            let is_init = INITS.contains(&name);
            return (waits || (is_container && !is_init)).then_some(Follower::Container);
        }
        if !process.ends_with_its_child() && !INITS_OF_ONE_CHILD.contains(&name) {
            return None;
        }
        if unit == Some(process.pid) {
            return Some(Follower::Unit);
        }
    }
    None
}

impl Ancestor {
    fn read(pid: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let status = read("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let arguments = read("cmdline").unwrap_or_default();
        Some(Self {
            pid,
            parent: field("PPid:")?.parse().ok()?,
            name: field("Name:")?,
            arguments: arguments
                .split_terminator('\0')
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Tells whether it is a shell that runs a command or a script, rather than what a human types.
    fn ends_with_its_child(&self) -> bool {
        let mut arguments = self.arguments.iter();
        // A script has its own name, and the shell that runs it is the first argument.
        let shell = arguments
            .next()
            .and_then(|program| program.rsplit('/').next());
        shell.is_some_and(|shell| SHELLS.contains(&shell.trim_start_matches('-')))
            && arguments.any(|argument| match argument.strip_prefix('-') {
                Some(options) => !options.starts_with('-') && options.contains('c'),
                None => true,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, command: &str) -> Ancestor {
        let arguments: Vec<_> = command.split(' ').map(str::to_owned).collect();
        let name = arguments[0].rsplit('/').next().unwrap_or_default();
        Ancestor {
            pid,
            parent: 0,
            name: name.trim_start_matches('-').into(),
            arguments,
        }
    }

    fn follower(ancestors: &[(u32, &str)], is_container: bool) -> Option<Follower> {
        let ancestors = ancestors
            .iter()
            .map(|(pid, command)| process(*pid, command));
        follower_of(ancestors, is_container, Some(50))
    }

    #[test]
    fn a_container_ends_with_process_1_where_that_waits_for_this_one() {
        for ancestors in [
            &[(1, "/bin/sh -c server")][..],
            &[(1, "bash /entrypoint.sh")],
            &[(7, "sh -c server"), (1, "dumb-init sh -c server")],
            &[(7, "sh -ec server"), (1, "tini-static -- sh")],
            &[(1, "python3 start.py")],
            &[(7, "/bin/bash ./start"), (1, "/bin/sh /entrypoint.sh")],
            &[(1, "tini -- server")],
        ] {
            assert_eq!(
                follower(ancestors, true),
                Some(Follower::Container),
                "{ancestors:?}"
            );
        }
        for ancestors in [
            &[(1, "systemd")][..],
            &[(1, "init")],
            &[(7, "bash"), (1, "tini -- bash")],
            &[(7, "-bash"), (1, "sshd -D")],
            &[(9, "cargo test"), (7, "sh -c cargo"), (1, "sh -c ci")],
            &[],
        ] {
            assert_eq!(follower(ancestors, true), None, "{ancestors:?}");
        }
        assert_eq!(
            follower(&[(1, "launcher")], false),
            None,
            "the machine's own"
        );
    }

    #[test]
    fn a_unit_ends_with_the_shell_that_is_its_main_process() {
        let chain = [(50, "/bin/sh -c server; clean"), (1, "systemd")];
        assert_eq!(follower(&chain, false), Some(Follower::Unit));
        // A terminal that a unit has started, with a human in it.
        let chain = [(60, "bash"), (50, "terminal-server"), (1, "systemd")];
        assert_eq!(follower(&chain, false), None);
        let chain = [
            (60, "sh -c server"),
            (50, "terminal-server"),
            (1, "systemd"),
        ];
        assert_eq!(follower(&chain, false), None);
    }

    #[test]
    fn a_supervisor_follows_the_process_that_it_started() {
        for ancestors in [
            &[(7, "runsv web"), (1, "runsvdir")][..],
            &[(8, "sh ./run"), (7, "s6-supervise web"), (1, "s6-svscan")],
        ] {
            let follower = follower(ancestors, true);
            assert!(
                matches!(follower, Some(Follower::Supervisor(_))),
                "{ancestors:?}"
            );
        }
    }

    #[test]
    fn the_parent_of_this_process_can_be_read() {
        let parent = getppid().expect("it is in our namespace");
        let parent = parent.as_raw_nonzero().get().cast_unsigned();
        let process = Ancestor::read(parent).expect("it runs");
        assert_eq!(process.pid, parent);
        assert!(
            !process.name.is_empty() && !process.arguments.is_empty(),
            "{process:?}"
        );
    }
}
