//! Who keeps a listening socket beside the processes that accept from it.

/// Who holds a listening socket beside the processes that accept from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    Nobody,
    /// A socket unit of the service manager.
    Unit,
    /// The store of the service manager, which was given a copy.
    Store,
}
