//! The predecessor is the test itself, at the other end of a channel.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::model::keeper::Keeper;
use crate::net::inherited::{Inherited, Listeners, Origin};

/// A limit that only ever fails a test.
const LIMIT: Duration = Duration::from_secs(60);

fn inbound_of(first: &[u8], others: Vec<OwnedFd>) -> (Channel, Arc<Inbound>) {
    let (ours, theirs) = Channel::pair().unwrap();
    ours.send(first, &[]).unwrap();
    let all = [theirs].into_iter().chain(others).collect();
    (ours, Arc::new(Inbound::new(all)))
}

fn inbound() -> (Channel, Arc<Inbound>) {
    inbound_of(&Manifest::default().encode(), Vec::new())
}

/// A taker that takes what `wants` says, and sends on what it begins.
fn taker(wants: impl Fn(&Note) -> bool + Send + 'static) -> (Taker, mpsc::Receiver<Note>) {
    let (begun, notes) = mpsc::channel();
    let taker = move |note: &Note, _: BorrowedFd<'_>| {
        let begun = begun.clone();
        let begin: Begin = Box::new(move |descriptor, note| {
            drop(descriptor);
            begun.send(note).unwrap();
        });
        wants(note).then_some(begin)
    };
    (Box::new(taker), notes)
}

fn note(listener: u16, requests: u64) -> Note {
    Note {
        listener,
        requests,
        ..Note::default()
    }
}

/// Sends connections with these notes, and as many descriptors; returns their other ends.
fn give(channel: &Channel, number: u64, notes: &[Note], descriptors: usize) -> Vec<UnixStream> {
    let pairs = (0..descriptors).map(|_| UnixStream::pair().unwrap());
    let (clients, servers): (Vec<_>, Vec<_>) = pairs.unzip();
    let (bytes, count) = Parcels::encode(number, notes.iter());
    assert_eq!(count, notes.len());
    let servers: Vec<_> = servers.iter().map(AsFd::as_fd).collect();
    channel.send(&bytes, &servers).unwrap();
    clients
}

fn receipt(channel: &Channel) -> Option<Receipt> {
    match channel.receive().unwrap() {
        Received::Packet { bytes, .. } => Some(Receipt::decode(&bytes).unwrap()),
        Received::Nothing | Received::End => None,
    }
}

/// Has everything received that was sent; the channel has to be over afterwards.
async fn receive_all(inbound: &Arc<Inbound>) {
    for receiver in inbound.receivers() {
        timeout(LIMIT, receiver).await.expect("the channel is over");
    }
}

fn shut(channel: &Channel) {
    use rustix::net::{Shutdown, shutdown};

    shutdown(channel, Shutdown::Write).unwrap();
}

fn number_of_ways(inbound: &Inbound) -> usize {
    inbound.ways().len()
}

#[tokio::test]
async fn what_comes_is_acknowledged_before_it_begins() {
    let (ours, inbound) = inbound();
    let ours = Arc::new(ours);
    let (told, receipts) = mpsc::channel();
    let predecessor = Arc::clone(&ours);
    let taker: Taker = Box::new(move |_, _| {
        let (predecessor, told) = (Arc::clone(&predecessor), told.clone());
        Some(Box::new(move |_, note| {
            told.send((note.requests, receipt(&predecessor))).unwrap();
        }))
    });
    let _guard = inbound.register(0, taker);
    give(&ours, 9, &[note(0, 1), note(0, 2)], 2);
    shut(&ours);
    receive_all(&inbound).await;
    let expected = Receipt {
        number: 9,
        taken: vec![true, true],
    };
    assert_eq!(receipts.try_recv(), Ok((1, Some(expected))));
    assert_eq!(receipts.try_recv(), Ok((2, None)));
    assert_eq!(number_of_ways(&inbound), 0);
}

#[tokio::test]
async fn what_nobody_wants_is_refused_by_its_place() {
    let (ours, inbound) = inbound();
    let (odd, begun) = taker(|note| note.requests % 2 == 1);
    let (all, of_gone) = taker(|_| true);
    let _guard = inbound.register(0, odd);
    drop(inbound.register(1, all));
    let notes = [note(0, 1), note(0, 2), note(1, 3), note(7, 5), note(0, 7)];
    let mut clients = give(&ours, 0, &notes, notes.len());
    shut(&ours);
    receive_all(&inbound).await;
    let taken = receipt(&ours).unwrap().taken;
    assert_eq!(taken, [true, false, false, false, true]);
    let begun: Vec<_> = begun.try_iter().collect();
    assert_eq!(begun, [note(0, 1), note(0, 7)]);
    assert!(of_gone.try_recv().is_err());
    // Nothing is kept of those that were refused.
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[tokio::test]
async fn where_descriptors_are_missing_the_last_are_refused() {
    let (ours, inbound) = inbound();
    let (all, begun) = taker(|_| true);
    let _guard = inbound.register(0, all);
    let notes = [note(0, 1), note(0, 2), note(0, 3)];
    give(&ours, 0, &notes, 2);
    give(&ours, 1, &notes, 0);
    shut(&ours);
    receive_all(&inbound).await;
    assert_eq!(receipt(&ours).unwrap().taken, [true, true, false]);
    assert_eq!(receipt(&ours).unwrap().taken, [false, false, false]);
    let begun: Vec<_> = begun.try_iter().map(|note| note.requests).collect();
    assert_eq!(begun, [1, 2]);
}

#[tokio::test]
async fn who_cannot_be_told_has_no_connections_any_more() {
    let (ours, inbound) = inbound();
    let (all, begun) = taker(|_| true);
    let _guard = inbound.register(0, all);
    give(&ours, 0, &[note(0, 1)], 1);
    drop(ours);
    receive_all(&inbound).await;
    assert_eq!(begun.try_recv(), Ok(note(0, 1)));
}

#[tokio::test]
async fn where_a_receipt_cannot_be_sent_to_who_is_there_nothing_begins() {
    let (ours, inbound) = inbound();
    let (all, begun) = taker(|_| true);
    let _guard = inbound.register(0, all);
    let way = inbound.ways()[0].clone();
    fill(&way.channel);
    let (bytes, _) = Parcels::encode(0, [note(0, 1)].iter());
    let (_client, server) = UnixStream::pair().unwrap();
    assert_eq!(inbound.take(&way, &bytes, vec![server.into()]), None);
    assert!(begun.try_recv().is_err());
    drop(ours);
}

/// Sends receipts until there is no room for another one.
fn fill(channel: &Channel) {
    while channel.send(b"r", &[]).is_ok() {}
}

#[tokio::test]
async fn nothing_is_received_that_could_not_be_answered() {
    let (ours, inbound) = inbound();
    let (all, begun) = taker(|_| true);
    let _guard = inbound.register(0, all);
    let (_, handed_on) = inbound.handed(&[]).unwrap();
    fill(&inbound.ways()[0].channel);
    give(&ours, 0, &[note(0, 1)], 1);
    let receiver = inbound.receivers().remove(0);
    // A moment in which a receiver would take it.
    let waiting = timeout(Duration::from_millis(50), receiver).await;
    assert!(waiting.is_err() && begun.try_recv().is_err());
    assert_eq!(number_of_ways(&inbound), 0, "the receiver is dropped");
    let successor = Channel::new(handed_on.into_iter().next().unwrap()).unwrap();
    let received = successor.receive().unwrap();
    assert!(matches!(received, Received::Packet { .. }), "{received:?}");
    drop(successor);
    assert!(ours.is_over(), "nobody holds it any more");
}

#[tokio::test]
async fn room_for_receipts_is_waited_for() {
    let (ours, inbound) = inbound();
    let (all, begun) = taker(|_| true);
    let _guard = inbound.register(0, all);
    fill(&inbound.ways()[0].channel);
    give(&ours, 7, &[note(0, 1)], 1);
    let receiver = tokio::spawn(inbound.receivers().remove(0));
    let number = timeout(LIMIT, async {
        loop {
            match ours.receive().unwrap() {
                Received::Packet { bytes, .. } if bytes == b"r" => {}
                Received::Packet { bytes, .. } => break Receipt::decode(&bytes).unwrap().number,
                Received::Nothing | Received::End => tokio::task::yield_now().await,
            }
        }
    });
    assert_eq!(number.await, Ok(7));
    assert_eq!(begun.recv_timeout(LIMIT), Ok(note(0, 1)));
    receiver.abort();
}

#[tokio::test]
async fn a_way_ends_with_what_cannot_be_understood() {
    for bytes in [
        &b"?"[..],
        b"c",
        &Receipt {
            number: 0,
            taken: vec![true],
        }
        .encode(),
    ] {
        let (ours, inbound) = inbound();
        ours.send(bytes, &[]).unwrap();
        receive_all(&inbound).await;
        assert!(ours.is_over(), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_way_ends_with_a_panic() {
    let (ours, inbound) = inbound();
    let _guard = inbound.register(0, Box::new(|_, _| panic!("as asked for")));
    give(&ours, 0, &[note(0, 1)], 1);
    let receiver = tokio::spawn(inbound.receivers().remove(0));
    assert!(timeout(LIMIT, receiver).await.unwrap().is_err());
    assert!(ours.is_over(), "who gives away takes back");
}

#[test]
fn a_receiver_that_never_ran_ends_its_way() {
    let (ours, inbound) = inbound();
    drop(inbound.receivers());
    assert!(ours.is_over());
}

#[test]
fn nothing_comes_of_what_cannot_be_understood() {
    let manifest = Manifest::default().encode();
    let cases = [
        (manifest.clone(), 1),
        (vec![b'm', 200], 0),
        (vec![b'm'], 0),
        (b"?".to_vec(), 0),
        ([&manifest[..], &[1]].concat(), 0),
    ];
    for (first, ways) in cases {
        let (_ours, inbound) = inbound_of(&first, Vec::new());
        assert_eq!(number_of_ways(&inbound), ways, "{first:?}");
    }
    assert_eq!(number_of_ways(&Inbound::new(Vec::new())), 0);
    let (stranger, _other) = UnixStream::pair().unwrap();
    assert_eq!(number_of_ways(&Inbound::new(vec![stranger.into()])), 0);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(number_of_ways(&Inbound::new(vec![file.into()])), 0);
    let (_silent, theirs) = Channel::pair().unwrap();
    assert_eq!(number_of_ways(&Inbound::new(vec![theirs])), 0);
    let (gone, theirs) = Channel::pair().unwrap();
    drop(gone);
    assert_eq!(number_of_ways(&Inbound::new(vec![theirs])), 0);
}

#[test]
fn there_are_as_many_ways_as_descriptors_and_translations() {
    let manifest = Manifest {
        others: vec![Vec::new(), Vec::new()],
    };
    for (descriptors, ways) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
        let others = (0..descriptors).map(|_| Channel::pair().unwrap().1);
        let (_ours, inbound) = inbound_of(&manifest.encode(), others.collect());
        assert_eq!(number_of_ways(&inbound), ways, "{descriptors}");
    }
}

/// Listeners of a process that were these in the greeting to it.
fn handed(before: &[Option<u16>]) -> Vec<Handed> {
    let sockets = before
        .iter()
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let sockets: Vec<_> = sockets.collect();
    let inherited = before.iter().zip(&sockets).filter_map(|(before, socket)| {
        let origin = Origin::Predecessor((*before)?);
        let socket = socket.try_clone().unwrap().into();
        Some(Inherited::new(socket, format!("{before:?}"), Keeper::Nobody, origin).unwrap())
    });
    let listeners = Listeners::new(inherited.collect());
    let registrations: Vec<_> = before
        .iter()
        .zip(&sockets)
        .map(|(before, socket)| {
            let asked = format!("{before:?}");
            assert_eq!(listeners.claim(&asked, &[]).is_some(), before.is_some());
            listeners.register(&asked, false, socket.as_fd()).unwrap()
        })
        .collect();
    let handed = listeners.handed().unwrap();
    drop(registrations);
    handed
}

#[tokio::test]
async fn listeners_are_known_over_three_generations() {
    // The first process gave 0, 1 and 2 to the second, which has 2, one of its own, and 0.
    let (first, second) = inbound();
    let (manifest, ways) = second.handed(&handed(&[Some(2), None, Some(0)])).unwrap();
    assert_eq!(manifest.others, [[(2, 0), (0, 2)]]);
    let (_second_out, third) = inbound_of(&manifest.encode(), ways);
    assert_eq!(number_of_ways(&third), 2);
    // The third has not asked for the first of those, and has the others the other way round.
    let (manifest, ways) = third.handed(&handed(&[Some(2), Some(1)])).unwrap();
    assert_eq!(manifest.others, [vec![(2, 0), (1, 1)], vec![(0, 0)]]);
    let (_third_out, fourth) = inbound_of(&manifest.encode(), ways);
    assert_eq!(number_of_ways(&fourth), 3);

    drop((second, third));
    // Whatever an index means to the first, only that of the one listener leads anywhere.
    let (takers, begun): (Vec<_>, Vec<_>) = (0..3).map(|_| taker(|_| true)).unzip();
    let _guards: Vec<_> = (0..)
        .zip(takers)
        .map(|(index, taker)| fourth.register(index, taker))
        .collect();
    let notes = [note(0, 1), note(1, 2), note(2, 3)];
    give(&first, 0, &notes, 3);
    shut(&first);
    let receivers = fourth.receivers();
    timeout(LIMIT, receivers.into_iter().nth(2).unwrap())
        .await
        .unwrap();
    assert_eq!(receipt(&first).unwrap().taken, [true, false, false]);
    assert_eq!(begun[0].try_recv(), Ok(note(0, 1)));
}
