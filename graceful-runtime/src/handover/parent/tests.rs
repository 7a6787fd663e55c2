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

fn hello(listeners: &[&str]) -> ToChild {
    let name = |asked: &&str| ListenerName {
        asked: asked.to_string(),
        keeper: Keeper::Nobody,
    };
    ToChild::Hello(Hello {
        pid: 4711,
        listeners: listeners.iter().map(name).collect(),
        has_state: false,
        predecessors: 0,
    })
}

fn heard(channel: &Channel) -> Option<ToParent> {
    match channel.receive().unwrap() {
        Received::Packet { bytes, .. } => Some(ToParent::decode(&bytes).unwrap()),
        Received::Nothing | Received::End => None,
    }
}

#[test]
fn the_greeting_brings_the_listeners() {
    let (old, theirs) = Channel::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    old.send(&hello(&["web"]).encode(), &[listener.as_fd()])
        .unwrap();
    let (predecessor, gift) = Predecessor::meet(theirs).unwrap();
    assert_eq!(predecessor.pid(), 4711);
    assert_eq!(gift.hello.listeners[0].asked, "web");
    let [descriptor] = <[OwnedFd; 1]>::try_from(gift.descriptors).unwrap();
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
    assert_eq!(predecessor.after(ParentEvent::Ready), ParentStep::SayReady);
    assert_eq!(heard(&old), Some(ToParent::Ready));
    old.send(&ToChild::Go.encode(), &[]).unwrap();
    assert_eq!(received.recv_timeout(LIMIT), Ok(ParentEvent::Go));
    assert_eq!(predecessor.after(ParentEvent::Go), ParentStep::TakeOver);
    assert!(predecessor.say_serving(vec![3]));
    assert_eq!(heard(&old), Some(ToParent::Serving { dropped: vec![3] }));
    predecessor.say_failed("too late, and heard all the same");
    drop(old);
    assert_eq!(received.recv_timeout(LIMIT), Ok(ParentEvent::Ended));
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
        (b"?".to_vec(), ParentEvent::Garbled),
        (hello(&[]).encode(), ParentEvent::Garbled),
        (ToChild::Abort.encode(), ParentEvent::Abort),
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
    assert_eq!(heard(&old), Some(ToParent::Failed { reason }));
}

#[test]
fn who_has_given_up_is_told_nothing_and_decides_with_its_next_word() {
    for (event, step) in [
        (ParentEvent::Abort, ParentStep::Stop),
        (ParentEvent::Ended, ParentStep::TakeOverAlone),
    ] {
        let (old, theirs) = Channel::pair().unwrap();
        old.send(&hello(&[]).encode(), &[]).unwrap();
        let (mut predecessor, _) = Predecessor::meet(theirs).unwrap();
        predecessor.after(ParentEvent::Ready);
        old.close_for_receiving();
        // What came before is there.
        assert_eq!(heard(&old), Some(ToParent::Ready));
        assert_eq!(predecessor.after(ParentEvent::Go), ParentStep::TakeOver);
        assert!(!predecessor.say_serving(vec![]));
        assert_eq!(heard(&old), None);
        assert_eq!(predecessor.after(event), step);
    }
}
