//! What is read is written again so that the same is read.

#![no_main]

// The files themselves; a target needs a part of them.
#[path = "../../graceful-runtime/src/model/keeper.rs"]
mod keeper;
#[allow(dead_code)]
#[path = "../../graceful-runtime/src/handover/wire.rs"]
mod wire;
#[allow(dead_code)]
#[path = "../../graceful-runtime/src/handover/parcel.rs"]
mod parcel;

mod model {
    pub(crate) use super::keeper;
}

use libfuzzer_sys::fuzz_target;
use parcel::{Manifest, Parcels, Receipt};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(manifest.encode(), bytes);
    }
    if let Ok(receipt) = Receipt::decode(bytes) {
        assert_eq!(receipt.encode(), bytes);
    }
    if let Ok(parcels) = Parcels::decode(bytes) {
        // As many as fit; and an age that does not count is not written again.
        let (again, count) = Parcels::encode(parcels.number, parcels.notes.iter());
        let again = Parcels::decode(&again).expect("it was written here");
        assert_eq!((again.number, &again.notes[..]), (parcels.number, &parcels.notes[..count]));
    }
});
