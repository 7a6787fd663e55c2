//! What is read is written again as it was.

#![no_main]

// The file itself; a target needs a part of it.
#[allow(dead_code)]
#[path = "../../graceful-runtime/src/handover/wire.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;
use wire::{ToChild, ToParent};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = ToChild::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
    if let Ok(message) = ToParent::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
});
