//! The operating system: the only unsafe code, and the only code that knows which system it is.

pub(crate) mod environment;
pub(crate) mod process;
pub(crate) mod service_manager;
pub(crate) mod shortage;
pub(crate) mod signals;
pub(crate) mod sockets;
