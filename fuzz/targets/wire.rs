//! What is read is written again as it was.

#![no_main]

// The files themselves; a target needs a part of them.
#[path = "../../graceful-runtime/src/model/keeper.rs"]
mod keeper;
#[allow(dead_code)]
#[path = "../../graceful-runtime/src/handover/wire.rs"]
mod wire;

mod model {
    pub(crate) use super::keeper;
}

use libfuzzer_sys::fuzz_target;
use wire::{ToSuccessor, ToPredecessor};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = ToSuccessor::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
    if let Ok(message) = ToPredecessor::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
});
