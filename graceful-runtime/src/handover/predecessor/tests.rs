use std::{
    net::{TcpListener, UdpSocket},
    sync::mpsc,
    time::Duration,
};

use super::*;
use crate::handover::wire::ListenerName;
use crate::model::keeper::Keeper;

/// A limit that only ever fails a test.
const LIMIT: Duration = Duration::from_secs(60);

fn hello(listeners: &[&str]) -> ToSuccessor {
    let name = |asked: &&str| ListenerName {
        asked: asked.to_string(),
        keeper: Keeper::Nobody,
    };
    ToSuccessor::Hello(Hello {
        pid: 4711,
        listeners: listeners.iter().map(name).collect(),
        has_state: false,
        predecessors: 0,
    })
}

fn heard(channel: &Channel) -> Option<ToPredecessor> {
    match channel.receive().unwrap() {
        Received::Packet { bytes, .. } => Some(ToPredecessor::decode(&bytes).unwrap()),
        Received::Nothing | Received::End => None,
    }
}

#[test]
fn the_greeting_brings_the_listeners() {
    let (old, theirs) = Channel::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    old.send(&hello(&["web"]).encode(), &[listener.as_fd()])
        .unwrap();
    let (predecessor, greeting) = Predecessor::meet(theirs).unwrap();
    assert_eq!(predecessor.pid(), 4711);
    assert_eq!(greeting.hello.listeners[0].asked, "web");
    let [descriptor] = <[OwnedFd; 1]>::try_from(greeting.descriptors).unwrap();
    let inherited = TcpListener::from(descriptor);
    assert_eq!(
        inherited.local_addr().unwrap(),
        listener.local_addr().unwrap()
    );
}

#[test]
fn the_dialogue_goes_over_the_channel() {
    let (old, theirs) = Channel::pair().unwrap();
    old.send(&hello(&[]).encode(), &[]).unwrap();
    let (mut predecessor, _) = Predecessor::meet(theirs).unwrap();
    let (events, received) = mpsc::channel();
    predecessor
        .watch(move |event| events.send(event).unwrap())
        .unwrap();
    assert_eq!(
        predecessor.after(PredecessorEvent::Ready),
        PredecessorStep::SayReady
    );
    assert_eq!(heard(&old), Some(ToPredecessor::Ready));
    old.send(&ToSuccessor::Go.encode(), &[]).unwrap();
    assert_eq!(received.recv_timeout(LIMIT), Ok(PredecessorEvent::Go));
    assert_eq!(
        predecessor.after(PredecessorEvent::Go),
        PredecessorStep::TakeOver
    );
    assert!(predecessor.say_serving(vec![3]));
    assert_eq!(
        heard(&old),
        Some(ToPredecessor::Serving { dropped: vec![3] })
    );
    predecessor.say_failed("too late, and heard all the same");
    drop(old);
    assert_eq!(received.recv_timeout(LIMIT), Ok(PredecessorEvent::Ended));
    assert!(
        received.recv_timeout(LIMIT).is_err(),
        "the thread has ended"
    );
}

#[test]
fn what_cannot_be_understood_is_an_event() {
    let (old, theirs) = Channel::pair().unwrap();
    old.send(&hello(&[]).encode(), &[]).unwrap();
    let (predecessor, _) = Predecessor::meet(theirs).unwrap();
    let (events, received) = mpsc::channel();
    predecessor
        .watch(move |event| events.send(event).unwrap())
        .unwrap();
    for (bytes, event) in [
        (b"?".to_vec(), PredecessorEvent::Garbled),
        (hello(&[]).encode(), PredecessorEvent::Garbled),
        (ToSuccessor::Abort.encode(), PredecessorEvent::Abort),
    ] {
        old.send(&bytes, &[]).unwrap();
        assert_eq!(received.recv_timeout(LIMIT), Ok(event));
    }
}

#[test]
fn a_stranger_is_no_predecessor() {
    let stranger = |socket: OwnedFd| match Predecessor::meet(socket) {
        Err(MeetError::Stranger(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(stranger(udp.into()), "it is a socket of another kind");
    let (old, theirs) = Channel::pair().unwrap();
    assert_eq!(stranger(theirs), "nobody greets");
    drop(old);
    let (old, theirs) = Channel::pair().unwrap();
    old.send(b"g", &[]).unwrap();
    assert_eq!(stranger(theirs), "the first message is no greeting");
    let (old, theirs) = Channel::pair().unwrap();
    drop(old);
    assert_eq!(stranger(theirs), "nobody is at its other end");
}

#[test]
fn a_predecessor_of_another_version_is_told_so() {
    let (old, theirs) = Channel::pair().unwrap();
    let mut bytes = hello(&[]).encode();
    bytes[9] = 9;
    old.send(&bytes, &[]).unwrap();
    let Err(MeetError::Version(reason)) = Predecessor::meet(theirs) else {
        panic!("it was understood")
    };
    assert!(reason.contains("speaks version 9"), "{reason}");
    assert_eq!(heard(&old), Some(ToPredecessor::Failed { reason }));
}

#[test]
fn who_has_given_up_is_told_nothing_and_decides_with_its_next_word() {
    for (event, step) in [
        (PredecessorEvent::Abort, PredecessorStep::Stop),
        (PredecessorEvent::Ended, PredecessorStep::TakeOverAlone),
    ] {
        let (old, theirs) = Channel::pair().unwrap();
        old.send(&hello(&[]).encode(), &[]).unwrap();
        let (mut predecessor, _) = Predecessor::meet(theirs).unwrap();
        predecessor.after(PredecessorEvent::Ready);
        old.close_for_receiving();
        // What came before is there.
        assert_eq!(heard(&old), Some(ToPredecessor::Ready));
        assert_eq!(
            predecessor.after(PredecessorEvent::Go),
            PredecessorStep::TakeOver
        );
        assert!(!predecessor.say_serving(vec![]));
        assert_eq!(heard(&old), None);
        assert_eq!(predecessor.after(event), step);
    }
}
