//! Connections that move from process to process: when that begins, and what is said of it.

use std::sync::Arc;

use futures_lite::future::FutureExt;

use crate::handover::channel::Channel;
use crate::handover::outbound::OutboundEvent;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::report;
use crate::model::phase::Phase;
use crate::net::inherited::ListenerId;

/// Has the connections of these listeners move to the successor, if it knows how to take them.
pub(super) fn give_away(
    lifecycle: &Arc<Lifecycle>,
    successor: u32,
    way: Option<Channel>,
    listeners: Vec<(u16, ListenerId)>,
) {
    let (Some(way), Some(runtime)) = (way, lifecycle.runtime()) else {
        return;
    };
    let Some(carrier) = lifecycle.outbound.open(way, listeners) else {
        return;
    };
    let lifecycle = Arc::clone(lifecycle);
    runtime.spawn(async move {
        let tally = &lifecycle.tally;
        let tell = |event| match event {
            OutboundEvent::Moved(count) => tally.add_moved(count),
            OutboundEvent::TakenBack(count) => {
                tally.add_taken_back(count);
                lifecycle.say(report::taken_back(count, successor));
            }
            // Those that were in flight move one by one, and are counted in the last line.
            OutboundEvent::Quiet => say_moved(&lifecycle, successor),
        };
        carrier.run(tell).await;
        // They end here, as without a successor.
        lifecycle.wake_connections();
    });
}

/// Says how many connections have moved, once.
pub(super) fn say_moved(lifecycle: &Lifecycle, successor: u32) {
    let moved = lifecycle.tally.moved();
    if moved > 0 && lifecycle.tally.tell_moved() {
        lifecycle.say(report::moved(moved, successor));
    }
}

/// Takes the connections that earlier processes give away, until this one stops.
pub(super) fn receive(lifecycle: &Arc<Lifecycle>) {
    let Some(runtime) = lifecycle.runtime() else {
        return;
    };
    for receiver in lifecycle.inbound.receivers() {
        let lifecycle = Arc::clone(lifecycle);
        runtime.spawn(async move { lifecycle.reached(Phase::LameDuck).or(receiver).await });
    }
}
