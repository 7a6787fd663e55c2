//! The service manager (systemd, or whoever speaks its protocol): what it is told about this process.
//!
//! The words are those of [`sd_notify::NotifyState`]; the socket is ours, because the environment is scrubbed by the time of the
//! first message, and for abstract addresses, descriptors and barriers. Where there is no manager every call does nothing. Nothing
//! is ever reported as an error: a manager that does not listen must not keep a server from serving. Nor may it keep one from
//! stopping, so whoever has something to say leaves it to a thread, which says one thing after the other and may wait for ever.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixDatagram},
    },
    process,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr},
    pipe::{PipeFlags, pipe_with},
};
use sd_notify::NotifyState;

use crate::text::printable;

/// How many messages may wait for room in the manager's queue; with so many unheard, it does not listen.
const QUEUE_MAX: usize = 1024;

/// How long the manager may take to answer [`ServiceManager::has_room`]; usually it is a millisecond.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The name in the manager's store of what is there to find out about it.
const PROBE: &str = "graceful-probe";

/// Marks what is ours among the names in the manager's store.
const STORE_PREFIX: &str = "graceful@";

/// The longest status, in bytes; it is a line of `systemctl status`.
const STATUS_MAX: usize = 400;

/// The longest name in the manager's store, in bytes.
const STORE_NAME_MAX: usize = 255;

/// The service manager of this process, or none. A clone speaks to the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceManager(Option<Arc<Contact>>);

#[derive(Debug)]
struct Contact {
    socket: Arc<NotifySocket>,
    /// The thread that speaks, from the first message on. `None`: there was none to be had.
    speaker: OnceLock<Option<SyncSender<Job>>>,
    path: OsString,
    watchdog: Option<Duration>,
    muted: AtomicBool,
}

/// The way to the manager.
#[derive(Debug)]
struct NotifySocket {
    socket: UnixDatagram,
    address: SocketAddrUnix,
}

/// What the thread that speaks has to do.
#[derive(Debug)]
enum Job {
    Say(Notice),
    Flush(mpsc::Sender<()>),
}

#[derive(Debug)]
struct Notice {
    text: String,
    descriptor: Option<OwnedFd>,
}

/// Becomes readable once the manager has read everything that was sent before.
#[derive(Debug)]
pub(crate) struct Barrier(OwnedFd);

impl ServiceManager {
    /// Prepares to speak to the manager that listens at `path` (a file, or an abstract address that begins with `@`).
    ///
    /// # Errors
    ///
    /// Where `path` is no address that can be reached from here.
    pub(crate) fn new(path: Option<OsString>, watchdog: Option<Duration>) -> io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let socket = NotifySocket {
            address: address(&path)?,
            socket: UnixDatagram::unbound()?,
        };
        let contact = Contact {
            socket: Arc::new(socket),
            speaker: OnceLock::new(),
            path,
            watchdog,
            muted: AtomicBool::new(false),
        };
        Ok(Self(Some(Arc::new(contact))))
    }

    /// Returns whether there is a manager that listens.
    pub(crate) fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Returns what a successor needs in its environment to find the manager too.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let Some(contact) = &self.0 else {
            return Vec::new();
        };
        let watchdog = contact
            .watchdog
            .map(|limit| limit.as_micros().to_string().into());
        [
            ("NOTIFY_SOCKET", Some(contact.path.clone())),
            ("WATCHDOG_USEC", watchdog),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Returns how often [`keep_alive`](Self::keep_alive) should be called: twice within the time that the manager waits.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        Some(self.0.as_ref()?.watchdog? / 2)
    }

    /// Says that this process serves: after the start, after a take-over, and after a hand-over that failed. A successor was
    /// [`mute`](Self::mute) until now.
    pub(crate) fn ready(&self, status: &str) {
        self.unmute();
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// Says in one line, for `systemctl status`, what this process is doing.
    pub(crate) fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(&one_line(status))]);
    }

    /// Says that this process stops for good. Never to be said by one that has handed over.
    pub(crate) fn stopping(&self, status: &str) {
        self.send(&[
            NotifyState::Stopping,
            NotifyState::Status(&one_line(status)),
        ]);
    }

    /// Says that a hand-over begins. One of [`ready`](Self::ready) and the successor's has to follow.
    pub(crate) fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.send(&[
                NotifyState::Reloading,
                now,
                NotifyState::Status("restarting"),
            ]);
        }
    }

    /// Asks for `more` time, from now, before the manager loses its patience.
    pub(crate) fn extend_timeout(&self, more: Duration) {
        let more = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(more)]);
    }

    /// Says that this process is alive.
    pub(crate) fn keep_alive(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Says that the process `pid` is the main one from now on. The barrier tells when the manager knows; before that it would
    /// not listen to the new one.
    pub(crate) fn announce_main_process(&self, pid: u32) -> Option<Barrier> {
        self.send(&[NotifyState::MainPid(pid)]);
        self.barrier()
    }

    /// Says that this process is the main one after all, and serves.
    pub(crate) fn announce_rollback(&self, status: &str) {
        let states = [
            NotifyState::MainPid(process::id()),
            NotifyState::Ready,
            NotifyState::Status(&one_line(status)),
        ];
        self.send(&states);
    }

    /// Says that this process is the main one after all, and stops.
    pub(crate) fn announce_stop(&self) {
        self.send(&[
            NotifyState::MainPid(process::id()),
            NotifyState::Stopping,
            NotifyState::Status("stopping"),
        ]);
    }

    /// Says nothing: another process is the main one, and the manager would complain.
    pub(crate) fn mute(&self) {
        self.set_muted(true);
    }

    /// Speaks again, after [`mute`](Self::mute); returns whether it was silent.
    pub(crate) fn unmute(&self) -> bool {
        self.set_muted(false)
    }

    /// Gives the manager a copy of a listener, which it keeps over a restart and a crash. Returns whether it could be named and copied.
    pub(crate) fn store(&self, asked: &str, listener: BorrowedFd<'_>) -> bool {
        let Some(name) = store_name(asked) else {
            return false;
        };
        let states = [
            NotifyState::Custom("FDSTORE=1"),
            NotifyState::Custom(&format!("FDNAME={name}")),
        ];
        let Ok(listener) = listener.try_clone_to_owned() else {
            return false;
        };
        self.send_with(&states, Some(listener));
        true
    }

    /// Has the manager close what [`store`](Self::store) gave it for `asked`.
    pub(crate) fn withdraw(&self, asked: &str) {
        if let Some(name) = store_name(asked) {
            self.remove_stored(&name);
        }
    }

    /// Has the manager close what it keeps under `name`.
    pub(crate) fn remove_stored(&self, name: &str) {
        self.send(&[
            NotifyState::Custom("FDSTOREREMOVE=1"),
            NotifyState::Custom(&format!("FDNAME={name}")),
        ]);
    }

    /// Finds out whether the manager has room for one more descriptor (`FileDescriptorStoreMax=`); it would never say so by itself,
    /// and closes what it has no room for without a word.
    ///
    /// It is given one end of a pipe. Whether that end is still open after this process has closed its own is the answer; and then it
    /// is told to give the place free again. Waits for the manager, for a second at most.
    pub(crate) fn has_room(&self) -> bool {
        self.is_present() && self.probe_store().unwrap_or(false)
    }

    fn probe_store(&self) -> io::Result<bool> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        let name = format!("FDNAME={PROBE}");
        let states = [NotifyState::Custom("FDSTORE=1"), NotifyState::Custom(&name)];
        self.send_with(&states, Some(theirs));
        let answered = self
            .barrier()
            .is_some_and(|barrier| barrier.wait(PROBE_TIMEOUT));
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut end = [PollFd::new(&ours, PollFlags::empty())];
        poll(&mut end, Some(&now))?;
        let is_kept = !end[0].revents().contains(PollFlags::ERR);
        // Whoever is late may keep it still.
        self.remove_stored(PROBE);
        Ok(answered && is_kept)
    }

    fn barrier(&self) -> Option<Barrier> {
        self.is_present().then_some(())?;
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        self.send_with(&[NotifyState::Custom("BARRIER=1")], Some(theirs));
        Some(Barrier(ours))
    }

    /// Returns what it was before.
    fn set_muted(&self, muted: bool) -> bool {
        let contact = self.0.as_ref();
        contact.is_some_and(|contact| contact.muted.swap(muted, Ordering::AcqRel))
    }

    /// Waits until everything that was to be said has been, or for `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let speaker = self.0.as_ref().and_then(|contact| contact.speaker.get());
        if let Some(Some(speaker)) = speaker {
            let (done, is_done) = mpsc::channel();
            // Where there is no room, nobody listens.
            if speaker.try_send(Job::Flush(done)).is_ok() {
                let _ = is_done.recv_timeout(limit);
            }
        }
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        self.send_with(states, None);
    }

    fn send_with(&self, states: &[NotifyState<'_>], descriptor: Option<OwnedFd>) {
        if let Some(contact) = &self.0
            && !contact.muted.load(Ordering::Acquire)
        {
            let text = states.iter().map(|state| format!("{state}\n")).collect();
            contact.say(Notice { text, descriptor });
        }
    }
}

impl Contact {
    /// Has `message` sent, behind all others; never waits.
    fn say(&self, message: Notice) {
        match self.speaker.get_or_init(|| self.socket.speaker().ok()) {
            // See the module: a deaf manager is not our failure. That holds for each of these.
            Some(speaker) => drop(speaker.try_send(Job::Say(message))),
            None => drop(self.socket.say(&message, SendFlags::DONTWAIT)),
        }
    }
}

impl NotifySocket {
    /// Starts the thread that speaks; it ends with the sender.
    fn speaker(self: &Arc<Self>) -> io::Result<SyncSender<Job>> {
        let (jobs, queue) = mpsc::sync_channel(QUEUE_MAX);
        let socket = Arc::clone(self);
        thread::Builder::new()
            .name("graceful-notify".into())
            .spawn(move || {
                for job in queue {
                    match job {
                        Job::Say(message) => drop(socket.say(&message, SendFlags::empty())),
                        Job::Flush(done) => drop(done.send(())),
                    }
                }
            })?;
        Ok(jobs)
    }

    fn say(&self, message: &Notice, flags: SendFlags) -> io::Result<()> {
        let descriptors: Vec<_> = message.descriptor.iter().map(AsFd::as_fd).collect();
        let text = [IoSlice::new(message.text.as_bytes())];
        retry_on_intr(|| {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            let flags = SendFlags::NOSIGNAL | flags;
            sendmsg_addr(&self.socket, &self.address, &text, &mut control, flags)
        })?;
        Ok(())
    }
}

impl Barrier {
    /// Waits until the manager has passed it and returns whether it did within `limit`.
    fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for Barrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn address(path: &OsStr) -> io::Result<SocketAddrUnix> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        [b'/', ..] => SocketAddrUnix::new(path.as_bytes()),
        _ => {
            let message = format!(
                "{} is neither a path nor an abstract address",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    Ok(address?)
}

/// The protocol is made of lines, and a status is one of them.
fn one_line(status: &str) -> String {
    printable(status, STATUS_MAX)
}

/// Returns the name in the manager's store for a listener that was asked for as `asked`; a name must not have colons.
fn store_name(asked: &str) -> Option<String> {
    let mut name = String::from(STORE_PREFIX);
    for byte in asked.bytes() {
        match byte {
            b'%' | b':' | ..=b' ' | 0x7f.. => name.push_str(&format!("%{byte:02x}")),
            _ => name.push(byte.into()),
        }
    }
    (name.len() <= STORE_NAME_MAX).then_some(name)
}

/// Returns what a listener was asked for as, from its name in the manager's store; `None` where it is none of ours.
pub(crate) fn asked_by_store_name(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix(STORE_PREFIX)?.as_bytes();
    let mut asked = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            rest = after;
            asked.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        } else {
            asked.push(byte);
        }
    }
    String::from_utf8(asked).ok()
}

#[cfg(test)]
mod tests;
