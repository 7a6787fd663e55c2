//! What several threads do at once, in every order that the memory model allows, by loom.

// The file itself, with loom's atomics in place of the standard library's.
#[allow(dead_code, unreachable_pub, reason = "a model needs a part of it")]
#[path = "../graceful-runtime/src/model/stage.rs"]
mod stage;

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};
}

use loom::sync::Arc;
use loom::thread;

use stage::{CurrentStage, InFlightCount, Stage};

#[test]
fn the_last_request_and_the_drain_cannot_miss_each_other() {
    loom::model(|| {
        let (stage, in_flight) = (CurrentStage::new(), InFlightCount::new());
        in_flight.begin();
        let connection = Arc::new((stage, in_flight));

        let stream = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.1.end_elsewhere(&connection.0))
        };
        // Whoever sets the stage wakes the task, which then looks at the count.
        connection.0.set(Stage::Draining);
        let is_seen_by_the_task = connection.1.get() == 0;
        let wakes_the_task = stream.join().unwrap();

        assert!(is_seen_by_the_task || wakes_the_task);
    });
}
