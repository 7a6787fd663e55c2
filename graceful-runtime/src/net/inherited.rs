//! The listeners of this process by name: those that were given to it, and those that a successor would get.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use socket2::{SockAddr, SockRef, Type};

use crate::model::keeper::Keeper;
use crate::os::service_manager::ServiceManager;

/// Prefix of an address that selects a socket of the service manager by its name: `systemd:web`.
pub(crate) const BY_NAME: &str = "systemd:";

/// All listeners of one process. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners(Arc<Mutex<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    inherited: Vec<Inherited>,
    open: Vec<Open>,
    next: u64,
    /// What was claimed from the predecessor and is not registered yet.
    borrowed: Vec<Borrowed>,
    /// What the service manager's store has, by the address as asked for.
    stored: Vec<String>,
}

/// A listener of the predecessor that was asked for by this address.
#[derive(Debug)]
struct Borrowed {
    asked: String,
    /// The index in the predecessor's greeting.
    index: u16,
}

/// A listener that this process was given and that nobody has asked for yet.
#[derive(Debug)]
pub(crate) struct Inherited {
    asked: String,
    bound: SockAddr,
    socket: OwnedFd,
    keeper: Keeper,
    origin: Origin,
    /// It was asked for, and its file is gone.
    is_lost: bool,
}

/// Who gave a listener to this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The predecessor; the index in its greeting.
    Predecessor(u16),
    /// The service manager's store; the name in it.
    Store(String),
    /// A socket unit.
    Unit,
}

/// A listener that was asked for.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The listening socket.
    pub(crate) socket: OwnedFd,
    /// Whether the service manager keeps a copy: then it must never be sealed.
    pub(crate) kept: bool,
}

/// A listener that nobody asked for, and that is closed now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unclaimed {
    /// The address as it was asked for, or where it is bound.
    pub(crate) name: String,
    /// Who gave it.
    pub(crate) origin: Origin,
    /// It was asked for, but its file was gone, so that nobody could have reached it.
    pub(crate) is_lost: bool,
}

/// A listener that a successor gets.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) id: ListenerId,
    pub(crate) asked: String,
    pub(crate) keeper: Keeper,
    /// Its index in the greeting of the process before this one.
    pub(crate) before: Option<u16>,
    pub(crate) socket: OwnedFd,
}

/// Stands for one open listener as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenerId(u64);

#[derive(Debug)]
struct Open {
    id: ListenerId,
    asked: String,
    keeper: Keeper,
    /// Its index in the greeting of the process before this one.
    before: Option<u16>,
    /// It is the predecessor's until this process has taken over.
    is_borrowed: bool,
    /// Whether another process accepts from the socket, or will: [`Registration::is_shared`].
    shared: Arc<AtomicBool>,
    socket: OwnedFd,
}

/// Keeps a listener on the list of those to hand over; dropped together with the listener.
#[derive(Debug)]
pub(crate) struct Registration {
    listeners: Listeners,
    id: ListenerId,
    before: Option<u16>,
    shared: Arc<AtomicBool>,
}

impl Listeners {
    pub(crate) fn new(inherited: Vec<Inherited>) -> Self {
        Self(Arc::new(Mutex::new(Lists {
            inherited,
            ..Lists::default()
        })))
    }

    /// Finds an inherited listener by the address as asked for, else by where it is bound; the first that nobody has taken.
    ///
    /// `addresses` are what `asked` stands for. A port 0 matches by the order of asking alone. A UNIX listener whose file is
    /// gone is reached by nobody, and found only by a name that says nothing of where to bind another one.
    pub(crate) fn claim(&self, asked: &str, addresses: &[SockAddr]) -> Option<Claimed> {
        let mut lists = self.lock();
        let inherited = &mut lists.inherited;
        let index = loop {
            let by_name = |listener: &Inherited| !listener.is_lost && listener.asked == asked;
            let by_place =
                |listener: &Inherited| !listener.is_lost && listener.is_bound_to(addresses);
            let found = inherited.iter().position(by_name);
            let index = found.or_else(|| inherited.iter().position(by_place))?;
            if asked.starts_with(BY_NAME) || !inherited[index].leads_nowhere() {
                break index;
            }
            inherited[index].is_lost = true;
        };
        let listener = inherited.remove(index);
        if listener.keeper == Keeper::Store {
            lists.stored.push(asked.to_owned());
        }
        if let Origin::Predecessor(index) = listener.origin {
            let asked = asked.to_owned();
            lists.borrowed.push(Borrowed { asked, index });
        }
        Some(Claimed {
            socket: listener.socket,
            kept: listener.keeper != Keeper::Nobody,
        })
    }

    /// Gives up what was kept in the service manager's store for another address of `port`, and was not asked for; returns the
    /// names in the store, for the manager to do the same.
    pub(crate) fn forget_stored(&self, port: u16) -> Vec<String> {
        let mut names = Vec::new();
        self.lock().inherited.retain(|listener| {
            let name = match &listener.origin {
                Origin::Store(name) if listener.has_port(port) => name,
                _ => return true,
            };
            names.push(name.clone());
            false
        });
        names
    }

    /// Returns the names by which sockets of the service manager can be asked for.
    pub(crate) fn names(&self) -> Vec<String> {
        let lists = self.lock();
        let asked = lists.inherited.iter().map(|listener| &listener.asked);
        asked
            .filter(|asked| asked.starts_with(BY_NAME))
            .cloned()
            .collect()
    }

    /// Returns the address of `port` at which the predecessor listens, where nobody has asked for that.
    pub(crate) fn of_predecessor(&self, port: u16) -> Option<String> {
        let lists = self.lock();
        let of_predecessor = |listener: &&Inherited| {
            matches!(listener.origin, Origin::Predecessor(_)) && listener.has_port(port)
        };
        let listener = lists.inherited.iter().find(of_predecessor);
        listener.map(|listener| listener.asked.clone())
    }

    /// Notes an open listener for the next successor, for as long as the registration lives. `kept` is what
    /// [`claim`](Self::claim) said of it.
    ///
    /// # Errors
    ///
    /// Where the socket cannot be duplicated.
    pub(crate) fn register(
        &self,
        asked: &str,
        kept: bool,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Registration> {
        let socket = socket.try_clone_to_owned()?;
        let mut lists = self.lock();
        let borrowed = lists
            .borrowed
            .iter()
            .position(|borrowed| borrowed.asked == asked);
        let before = borrowed.map(|place| lists.borrowed.remove(place).index);
        let is_borrowed = before.is_some();
        let shared = Arc::new(AtomicBool::new(kept || is_borrowed));
        let id = ListenerId(lists.next);
        lists.next += 1;
        let keeper = match kept {
            false => Keeper::Nobody,
            true if lists.stored.iter().any(|stored| stored == asked) => Keeper::Store,
            true => Keeper::Unit,
        };
        lists.open.push(Open {
            id,
            asked: asked.to_owned(),
            keeper,
            before,
            is_borrowed,
            shared: Arc::clone(&shared),
            socket,
        });
        Ok(Registration {
            listeners: self.clone(),
            id,
            before,
            shared,
        })
    }

    /// Gives the service manager a copy of every open listener, as far as it has room. It waits for the manager.
    ///
    /// What it has no room for stays this process' own, and is sealed at the end: that nobody else has it is known.
    pub(crate) fn store(&self, service_manager: &ServiceManager) {
        let is_own = |open: &&Open| open.keeper == Keeper::Nobody;
        let ids: Vec<_> = self
            .lock()
            .open
            .iter()
            .filter(is_own)
            .map(|open| open.id)
            .collect();
        for id in ids {
            // Without the lock, since it waits.
            if !service_manager.has_room() {
                return;
            }
            let mut lists = self.lock();
            let open = lists.open.iter_mut().find(|open| open.id == id);
            if let Some(open) = open
                && service_manager.store(&open.asked, open.socket.as_fd())
            {
                open.keeper = Keeper::Store;
                open.shared.store(true, Ordering::Release);
            }
        }
    }

    /// Takes back what the service manager got by [`store`](Self::store): these listeners end with this process, and can be sealed.
    pub(crate) fn withdraw(&self, service_manager: &ServiceManager) {
        let mut lists = self.lock();
        for open in lists
            .open
            .iter_mut()
            .filter(|open| open.keeper == Keeper::Store)
        {
            service_manager.withdraw(&open.asked);
            open.keeper = Keeper::Nobody;
            open.shared.store(open.is_borrowed, Ordering::Release);
        }
    }

    /// Marks inherited listeners as this process' own, when it has taken over. Until then, an end of this
    /// process must not touch it: the predecessor serves on.
    pub(crate) fn take_ownership(&self) {
        let mut lists = self.lock();
        lists.borrowed.clear();
        for open in lists.open.iter_mut().filter(|open| open.is_borrowed) {
            open.is_borrowed = false;
            open.shared
                .store(open.keeper != Keeper::Nobody, Ordering::Release);
        }
    }

    /// Notes that a successor accepts from these listeners, too.
    pub(crate) fn mark_shared(&self, taken: &[ListenerId]) {
        for open in self
            .lock()
            .open
            .iter()
            .filter(|open| taken.contains(&open.id))
        {
            open.shared.store(true, Ordering::Release);
        }
    }

    /// Returns what a successor gets: every open listener, in the order of asking.
    ///
    /// # Errors
    ///
    /// Where a socket cannot be duplicated.
    pub(crate) fn handed(&self) -> io::Result<Vec<Handed>> {
        let lists = self.lock();
        let handed = |open: &Open| {
            let socket = open.socket.try_clone()?;
            Ok(Handed {
                id: open.id,
                asked: open.asked.clone(),
                keeper: open.keeper,
                before: open.before,
                socket,
            })
        };
        lists.open.iter().map(handed).collect()
    }

    /// Returns which of the predecessor's nobody has asked for, and leaves them as they are.
    pub(crate) fn unclaimed(&self) -> Vec<u16> {
        let of_predecessor = |inherited: &Inherited| match inherited.origin {
            Origin::Predecessor(index) => Some(index),
            Origin::Store(_) | Origin::Unit => None,
        };
        self.lock()
            .inherited
            .iter()
            .filter_map(of_predecessor)
            .collect()
    }

    /// Closes what nobody asked for. The file of a UNIX listener goes too, unless the service manager owns it.
    pub(crate) fn close_unclaimed(&self) -> Vec<Unclaimed> {
        let unclaimed = std::mem::take(&mut self.lock().inherited);
        unclaimed.into_iter().map(Inherited::close).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Returns whether another process holds the socket: then it must not be sealed, nor its file be removed.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    pub(crate) fn id(&self) -> ListenerId {
        self.id
    }

    /// Returns the index in the greeting of the process before this one, where it is inherited from that.
    pub(crate) fn before(&self) -> Option<u16> {
        self.before
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.listeners.lock().open.retain(|open| open.id != self.id);
    }
}

impl Inherited {
    /// Takes a descriptor that is said to be a listener.
    ///
    /// # Errors
    ///
    /// Where it is no socket, or one of a kind that nothing here can accept from.
    pub(crate) fn new(
        socket: OwnedFd,
        asked: String,
        keeper: Keeper,
        origin: Origin,
    ) -> io::Result<Self> {
        let of_another_kind = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let view = SockRef::from(&socket);
        let bound = view.local_addr()?;
        if bound.as_socket().is_none() && !bound.is_unix() {
            return of_another_kind("it is neither a TCP nor a UNIX socket");
        }
        if view.r#type()? != Type::STREAM || !view.is_listener()? {
            return of_another_kind("it does not listen");
        }
        Ok(Self {
            asked,
            bound,
            socket,
            keeper,
            origin,
            is_lost: false,
        })
    }

    fn has_port(&self, port: u16) -> bool {
        let bound = self.bound.as_socket();
        bound.is_some_and(|bound| bound.port() == port)
    }

    /// Tells whether it is a UNIX listener in whose place there is no socket any more.
    fn leads_nowhere(&self) -> bool {
        let is_socket = |path| fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
        self.bound
            .as_pathname()
            .is_some_and(|path| !is_socket(path))
    }

    fn is_bound_to(&self, addresses: &[SockAddr]) -> bool {
        addresses.iter().any(
            |address| match (address.as_socket(), self.bound.as_socket()) {
                (Some(asked), Some(bound)) => asked.port() != 0 && asked == bound,
                (None, None) => {
                    address.as_pathname().is_some()
                        && address.as_pathname() == self.bound.as_pathname()
                }
                _ => false,
            },
        )
    }

    fn close(self) -> Unclaimed {
        if let (Keeper::Nobody, false, Some(path)) =
            (self.keeper, self.is_lost, self.bound.as_pathname())
        {
            // Somebody else may have removed it; then there is nothing left to do.
            let _ = fs::remove_file(path);
        }
        Unclaimed {
            name: self.asked,
            origin: self.origin,
            is_lost: self.is_lost,
        }
    }
}

impl AsFd for Handed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
