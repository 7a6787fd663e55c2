//! A real systemd, as process 1 of namespaces of its own.
//!
//! It boots in a fraction of a second and cannot touch the host: it has a root in memory (see
//! `systemd/boot.sh`), a sub-tree of the control groups, and everything in it dies with its process 1.
//! The network is the host's, so that its services can be reached on the loopback interface.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use crate::deployment::copy;

/// How long a boot and each command may take, on a loaded machine; usually it is a fraction of a second.
const LIMIT: Duration = Duration::from_secs(60);

/// A running systemd. Dropping it ends everything in it, and removes what it left.
#[derive(Debug)]
pub struct Systemd {
    /// The process that waits for process 1 outside of its namespaces.
    outer: Child,
    init: Pid,
    init_descriptor: OwnedFd,
    shared: TempDir,
    _root: TempDir,
    /// Dropped last: it can be removed only when all processes in it are gone.
    _control_group: ControlGroup,
}

impl Systemd {
    /// Boots a systemd with `units` (file name and content) and returns it once it is up.
    ///
    /// # Errors
    ///
    /// Where this machine cannot do that; says why.
    pub fn boot(units: &[(&str, &str)]) -> Result<Self, String> {
        need("systemd, unshare, nsenter and root", needed_programs())?;
        let control_group = need("a control group (cgroup2)", ControlGroup::new())?;
        let shared = need("a directory", TempDir::new())?;
        let root = need("a directory", TempDir::new())?;
        need("unit files", write_units(shared.path(), units))?;
        let (address, booted) = need("a notification socket", notification_socket())?;
        let mut command = unshare(&control_group, root.path(), shared.path(), &address);
        let outer = need("unshare", command.spawn())?;
        let booted = wait_for_boot(&booted, outer);
        let (outer, init) = need("a boot", booted)?;
        let init_descriptor = need("its process 1", pidfd_open(init, PidfdFlags::empty()))?;
        Ok(Self {
            outer,
            init,
            init_descriptor,
            shared,
            _root: root,
            _control_group: control_group,
        })
    }

    /// Returns the directory that is `/rig` in there.
    pub fn shared(&self) -> &Path {
        self.shared.path()
    }

    /// Puts the program at `from` into the shared directory as `name`, in one step.
    ///
    /// # Panics
    ///
    /// Where it cannot be copied.
    pub fn deploy(&self, from: &Path, name: &str) {
        let draft = self.shared().join(format!(".{name}"));
        copy(from, &draft).expect("a program can be copied");
        fs::rename(draft, self.shared().join(name)).expect("a file can be renamed");
    }

    /// Runs `systemctl` and returns what it did.
    ///
    /// # Panics
    ///
    /// Where it cannot be run.
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        self.run("systemctl", arguments)
    }

    /// Runs `systemctl` for a command that has to succeed.
    ///
    /// # Panics
    ///
    /// Where it does not; with the journal.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) {
        let output = self.systemctl(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "systemctl {arguments:?}: {said}\n{}",
            self.journal()
        );
    }

    /// Returns a property of `unit` as systemd sees it at this moment.
    pub fn property(&self, unit: &str, name: &str) -> String {
        let output = self.systemctl(&["show", unit, "--value", "--property", name]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Returns everything that was logged.
    pub fn journal(&self) -> String {
        let output = self.run(
            "journalctl",
            &["--no-pager", "--output=short-monotonic", "--no-hostname"],
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a program in there.
    ///
    /// # Panics
    ///
    /// Where it cannot be run, or does not end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let target = self.init.as_raw_nonzero().to_string();
        Command::new("nsenter")
            .args([
                "--target", &target, "--mount", "--uts", "--ipc", "--cgroup", "--pid", "--",
            ])
            .args(["timeout", &LIMIT.as_secs().to_string(), program])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("nsenter can be started")
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // With process 1 the kernel ends every other process of its namespace, and with the last the mounts go.
        let _ = pidfd_send_signal(&self.init_descriptor, Signal::KILL);
        let _ = self.outer.wait();
    }
}

fn needed_programs() -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not root"));
    }
    for program in [
        "/usr/lib/systemd/systemd",
        "/usr/bin/unshare",
        "/usr/bin/nsenter",
        "/usr/bin/setpriv",
    ] {
        fs::metadata(program)
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    }
    Ok(())
}

fn need<T, E: std::fmt::Display>(what: &str, got: Result<T, E>) -> Result<T, String> {
    got.map_err(|error| format!("no systemd of our own here, it needs {what}: {error}"))
}

/// A name may be one in a directory: `server.service.d/more.conf`.
fn write_units(shared: &Path, units: &[(&str, &str)]) -> io::Result<()> {
    let directory = shared.join("units");
    fs::create_dir(&directory)?;
    units.iter().try_for_each(|(name, content)| {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("it is below the directory"))?;
        fs::write(path, content)
    })
}

/// Opens the socket on which systemd says that it is up. It has no path, because the namespaces have none in common.
fn notification_socket() -> io::Result<(String, UnixDatagram)> {
    let name = format!("graceful-rig-{}", unique());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok((format!("@{name}"), socket))
}

fn unshare(control_group: &ControlGroup, root: &Path, shared: &Path, notify: &str) -> Command {
    // The shell enters the control group before it makes the namespaces, so that it is the root of the new one.
    let enter = "echo $$ > \"$0/cgroup.procs\" && exec setpriv --pdeathsig KILL -- \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", enter])
        .arg(&control_group.path)
        .args([
            "unshare",
            "--mount",
            "--uts",
            "--ipc",
            "--cgroup",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["sh", "-c", include_str!("systemd/boot.sh"), "boot.sh"])
        .args([root, shared])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("NOTIFY_SOCKET", notify)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Waits until systemd says that it is up, or ends, and returns its process id as it is seen from here.
fn wait_for_boot(notifications: &UnixDatagram, mut outer: Child) -> io::Result<(Child, Pid)> {
    let deadline = Instant::now() + LIMIT;
    let ended = pidfd_open(Pid::from_child(&outer), PidfdFlags::empty())?;
    loop {
        let mut sources = [
            PollFd::new(notifications, PollFlags::IN),
            PollFd::new(&ended, PollFlags::IN),
        ];
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        if poll(&mut sources, Some(&left))? == 0 || !sources[1].revents().is_empty() {
            outer.kill()?;
            let output = outer.wait_with_output()?;
            return Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        let mut message = [0; 4096];
        let length = notifications.recv(&mut message)?;
        if String::from_utf8_lossy(&message[..length])
            .lines()
            .any(|line| line == "READY=1")
        {
            let init = child_of(outer.id())?;
            return Ok((outer, init));
        }
    }
}

fn child_of(pid: u32) -> io::Result<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let child = children
        .split_whitespace()
        .next()
        .and_then(|child| child.parse().ok());
    child
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("unshare has no child"))
}

/// A control group of our own, removed with everything below it.
#[derive(Debug)]
struct ControlGroup {
    path: PathBuf,
}

impl ControlGroup {
    fn new() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut mounts = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mounts.find(|mount| mount.get(2) == Some(&"cgroup2"));
        let mount = mount.ok_or_else(|| io::Error::other("none is mounted"))?;
        let path = Path::new(mount[1]).join(format!("graceful-rig-{}", unique()));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The kernel takes a moment to let go of the last processes.
        let start = Instant::now();
        while remove_groups(&self.path).is_err() && start.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn remove_groups(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
