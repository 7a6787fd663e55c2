//! Sockets: where to listen, what accepts, what is accepted.

pub(crate) mod accept;
pub(crate) mod address;
pub(crate) mod inherited;
pub(crate) mod listener;
pub(crate) mod path;
#[cfg(feature = "tls")]
pub(crate) mod records;
pub(crate) mod stream;
