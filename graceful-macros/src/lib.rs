//! The `#[graceful::main]` attribute.
