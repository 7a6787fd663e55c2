//! The successor is the test itself, at the other end of a channel.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::*;
use crate::handover::parcel::BATCH;
use crate::net::inherited::Listeners;

/// A limit that only ever fails a test.
const LIMIT: Duration = Duration::from_secs(60);

fn listener_ids() -> [ListenerId; 2] {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = Listeners::default();
    ["a", "b"].map(|asked| {
        let registration = listeners.register(asked, false, socket.as_fd());
        registration.unwrap().id()
    })
}

/// A way with this process at both its ends.
struct Way {
    outbound: Arc<Outbound>,
    successor: Channel,
    events: Arc<Mutex<Vec<OutboundEvent>>>,
    carrier: JoinHandle<()>,
}

impl Way {
    fn open() -> Self {
        let (ours, theirs) = Channel::pair().unwrap();
        let outbound = Arc::new(Outbound::default());
        let carrier = outbound.open(ours, vec![(3, listener_ids()[0])]).unwrap();
        let events = Arc::<Mutex<Vec<_>>>::default();
        let told = Arc::clone(&events);
        Self {
            outbound,
            successor: Channel::new(theirs).unwrap(),
            events,
            carrier: tokio::spawn(carrier.run(move |event| told.lock().unwrap().push(event))),
        }
    }

    /// Lets so many connections depart, of which each is noted by its number.
    fn depart(&self, count: u64) -> Vec<Departing> {
        (0..count)
            .map(|number| depart(&self.outbound, number))
            .collect()
    }

    /// Receives connections that are under way; nothing where there are none at the moment.
    fn receive(&self) -> Option<(Parcels, Vec<OwnedFd>)> {
        match self.successor.receive().unwrap() {
            Received::Packet {
                bytes, descriptors, ..
            } => Some((Parcels::decode(&bytes).unwrap(), descriptors)),
            Received::Nothing => None,
            Received::End => panic!("the way is over"),
        }
    }

    async fn received(&self) -> (Parcels, Vec<OwnedFd>) {
        in_time(async {
            loop {
                match self.receive() {
                    Some(received) => return received,
                    None => yield_now().await,
                }
            }
        })
        .await
    }

    /// Receives until so many connections are under way.
    async fn received_in_all(&self, count: usize) -> Vec<Parcels> {
        let mut received = Vec::<Parcels>::new();
        while received
            .iter()
            .map(|parcels| parcels.notes.len())
            .sum::<usize>()
            < count
        {
            received.push(self.received().await.0);
        }
        received
    }

    fn answer(&self, number: u64, taken: Vec<bool>) {
        let receipt = Receipt { number, taken };
        self.successor.send(&receipt.encode(), &[]).unwrap();
    }

    fn take(&self, parcels: &Parcels) {
        self.answer(parcels.number, vec![true; parcels.notes.len()]);
    }

    /// Ends as the successor, and waits for the end of the way.
    async fn end(self) -> Vec<OutboundEvent> {
        drop(self.successor);
        in_time(self.carrier).await.unwrap();
        assert_eq!(self.outbound.index_of(listener_ids()[0]), None);
        self.events.lock().unwrap().clone()
    }
}

/// A connection on its way, and its client.
struct Departing {
    client: UnixStream,
    departed: JoinHandle<Departed>,
}

fn depart(outbound: &Arc<Outbound>, number: u64) -> Departing {
    let (client, server) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let outbound = Arc::clone(outbound);
    let note = Note {
        requests: number,
        ..Note::default()
    };
    Departing {
        client,
        departed: tokio::spawn(async move { outbound.depart(server.into(), note).await }),
    }
}

async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(LIMIT, future).await.expect("it happens")
}

/// How many of all have moved, are back and are lost. What is back has to be the connection that departed.
async fn outcomes(all: Vec<Departing>) -> [usize; 3] {
    let mut outcomes = [0; 3];
    for (number, mut departing) in (0..).zip(all) {
        let outcome = in_time(departing.departed).await.unwrap();
        match outcome {
            Departed::Moved => outcomes[0] += 1,
            Departed::Back(descriptor, note) => {
                assert_eq!(note.requests, number);
                UnixStream::from(descriptor).write_all(b"x").unwrap();
                departing.client.read_exact(&mut [0]).unwrap();
                outcomes[1] += 1;
            }
            Departed::Lost => outcomes[2] += 1,
        }
    }
    outcomes
}

fn counts(events: &[OutboundEvent]) -> (usize, usize) {
    let moved = |event: &_| match event {
        OutboundEvent::Moved(count) => *count,
        OutboundEvent::TakenBack(_) | OutboundEvent::Quiet => 0,
    };
    let back = |event: &_| match event {
        OutboundEvent::TakenBack(count) => *count,
        OutboundEvent::Moved(_) | OutboundEvent::Quiet => 0,
    };
    (
        events.iter().map(moved).sum(),
        events.iter().map(back).sum(),
    )
}

#[tokio::test]
async fn all_move_and_are_acknowledged() {
    let way = Way::open();
    let departing = way.depart(300);
    let mut taken = Vec::new();
    while taken.len() < 300 {
        let (parcels, descriptors) = way.received().await;
        assert!(parcels.notes.len() <= BATCH);
        assert_eq!(parcels.notes.len(), descriptors.len());
        way.take(&parcels);
        taken.extend(parcels.notes.into_iter().zip(descriptors));
    }
    in_time(async {
        while !way.events.lock().unwrap().contains(&OutboundEvent::Quiet) {
            yield_now().await;
        }
    })
    .await;
    for ((number, departing), (note, descriptor)) in (0..).zip(departing).zip(taken) {
        assert!(matches!(
            in_time(departing.departed).await,
            Ok(Departed::Moved)
        ));
        assert_eq!(note.requests, number);
        let (mut server, mut client) = (UnixStream::from(descriptor), departing.client);
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "nobody else holds it");
    }
    let events = way.end().await;
    assert_eq!(counts(&events), (300, 0));
    let quiet = events
        .iter()
        .filter(|event| **event == OutboundEvent::Quiet);
    assert_eq!(quiet.count(), 1);
}

#[tokio::test]
async fn those_that_are_refused_come_back() {
    let way = Way::open();
    let departing = way.depart(4);
    let mut received = 0;
    while received < 4 {
        let (parcels, _) = way.received().await;
        let taken = parcels.notes.iter().map(|note| note.requests % 2 == 0);
        way.answer(parcels.number, taken.collect());
        received += parcels.notes.len();
    }
    for (number, Departing { departed, .. }) in (0..).zip(departing) {
        match in_time(departed).await.unwrap() {
            Departed::Moved => assert_eq!(number % 2, 0),
            Departed::Back(_, note) => assert_eq!((note.requests, number % 2), (number, 1)),
            Departed::Lost => panic!("{number} is lost"),
        }
    }
    assert_eq!(counts(&way.end().await), (2, 2));
}

#[tokio::test]
async fn everything_comes_back_from_a_successor_that_ends() {
    let count = UNDER_WAY_MAX + 2 * BATCH;
    for received in [1, UNDER_WAY_MAX] {
        let way = Way::open();
        let departing = way.depart(count as u64);
        way.received_in_all(received).await;
        // What it has of them ends with it.
        let events = way.end().await;
        assert_eq!(outcomes(departing).await, [0, count, 0], "{received}");
        assert_eq!(events, [OutboundEvent::TakenBack(count)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_departs_at_the_moment_of_the_end_comes_back() {
    for _ in 0..50 {
        let way = Way::open();
        let outbound = Arc::clone(&way.outbound);
        let is_over = Arc::new(AtomicBool::new(false));
        let departing = [(); 2].map(|()| {
            let (outbound, is_over) = (Arc::clone(&outbound), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut departing = Vec::new();
                while !is_over.load(Ordering::Relaxed) && departing.len() < 200 {
                    departing.push(depart(&outbound, departing.len() as u64));
                    yield_now().await;
                }
                departing
            })
        });
        way.received().await;
        way.end().await;
        is_over.store(true, Ordering::Relaxed);
        for departing in departing {
            let [moved, _, lost] = outcomes(departing.await.unwrap()).await;
            assert_eq!([moved, lost], [0, 0]);
        }
    }
}

// In one thread, so that the carrier sees receipts and end at the same time.
#[tokio::test]
async fn receipts_before_the_end_count() {
    let way = Way::open();
    let departing = way.depart(UNDER_WAY_MAX as u64 + 7);
    for parcels in way.received_in_all(UNDER_WAY_MAX).await {
        way.take(&parcels);
    }
    let events = way.end().await;
    assert_eq!(outcomes(departing).await, [UNDER_WAY_MAX, 7, 0]);
    assert_eq!(counts(&events), (UNDER_WAY_MAX, 7));
}

#[tokio::test]
async fn what_was_said_before_a_send_failed_counts() {
    let receipt = |number| {
        let taken = vec![true];
        Receipt { number, taken }.encode()
    };
    for (said, end) in [
        (vec![], WayEnd::Closed),
        (vec![receipt(0)], WayEnd::Closed),
        (vec![receipt(0), receipt(1)], WayEnd::Closed),
        (vec![receipt(0), receipt(7)], WayEnd::Garbled),
        (vec![vec![b'r'; 100_000]], WayEnd::Garbled),
    ] {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut load = Load::default();
        for _ in 0..2 {
            load.waiting.push_back(departure().0);
            load.sent(1);
        }
        for bytes in &said {
            // Longer than a channel sends by itself.
            rustix::net::send(&theirs, bytes, rustix::net::SendFlags::empty()).unwrap();
        }
        drop(theirs);
        let mut told = Vec::new();
        assert_eq!(
            load.settle_rest(&ours, &mut |event| told.push(event)),
            end,
            "{said:?}"
        );
        let is_good = |bytes: &&Vec<u8>| **bytes == receipt(0) || **bytes == receipt(1);
        let good = said.iter().filter(is_good).count();
        assert_eq!(load.under_way.len(), 2 - good);
        assert_eq!(told, vec![OutboundEvent::Moved(1); good]);
    }
}

fn departure() -> (Departure, oneshot::Receiver<Departed>) {
    let (_, server) = UnixStream::pair().unwrap();
    let (answer, answered) = oneshot::channel();
    let departure = Departure {
        descriptor: server.into(),
        note: Note::default(),
        answer,
    };
    (departure, answered)
}

#[tokio::test]
async fn what_is_under_way_to_who_cannot_be_understood_is_never_taken_back() {
    let receipt = |number, count| Receipt {
        number,
        taken: vec![true; count],
    };
    let cases = [
        receipt(1000, BATCH).encode(),
        receipt(0, BATCH - 1).encode(),
        receipt(0, BATCH + 1).encode(),
        receipt(0, 0).encode(),
        b"?".to_vec(),
        [&receipt(0, BATCH - 1).encode()[..], &[2]].concat(),
    ];
    for said in cases {
        let way = Way::open();
        let mut departing = way.depart(UNDER_WAY_MAX as u64 + 7);
        let received = way.received_in_all(UNDER_WAY_MAX).await;
        assert_eq!(received[0].notes.len(), BATCH);
        way.successor.send(&said, &[]).unwrap();
        in_time(async {
            while !way.carrier.is_finished() {
                yield_now().await;
            }
        })
        .await;
        let client = &mut departing[0].client;
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "this process has let go");
        assert_eq!(outcomes(departing).await, [0, 7, UNDER_WAY_MAX], "{said:?}");
        assert_eq!(way.end().await, [OutboundEvent::TakenBack(7)]);
    }
}

#[tokio::test]
async fn a_receipt_counts_once() {
    let way = Way::open();
    let departing = way.depart(2 * BATCH as u64);
    let received = way.received_in_all(2 * BATCH).await;
    way.take(&received[0]);
    way.take(&received[0]);
    assert_eq!(outcomes(departing).await, [BATCH, 0, BATCH]);
    assert_eq!(counts(&way.end().await), (BATCH, 0));
}

#[tokio::test]
async fn no_more_are_under_way_than_may_be() {
    let count = 4 * UNDER_WAY_MAX;
    let way = Way::open();
    let departing = way.depart(count as u64);
    let mut received = way.received_in_all(UNDER_WAY_MAX).await;
    // A moment in which more would come.
    sleep(Duration::from_millis(20)).await;
    assert!(way.receive().is_none());
    let mut left = count - UNDER_WAY_MAX;
    while let Some(parcels) = received.pop() {
        way.take(&parcels);
        if left > 0 {
            let more = way.received().await.0;
            left -= more.notes.len();
            received.push(more);
        }
    }
    assert_eq!(outcomes(departing).await, [count, 0, 0]);
    assert_eq!(counts(&way.end().await), (count, 0));
}

#[tokio::test]
async fn a_successor_that_does_not_read_for_a_while_is_waited_for() {
    let way = Way::open();
    // Such notes fill the channel after a few.
    let departing: Vec<_> = (0..20)
        .map(|number| {
            let (client, server) = UnixStream::pair().unwrap();
            let outbound = Arc::clone(&way.outbound);
            let note = Note {
                requests: number,
                bytes: vec![b'x'; 32 << 10],
                ..Note::default()
            };
            Departing {
                client,
                departed: tokio::spawn(async move { outbound.depart(server.into(), note).await }),
            }
        })
        .collect();
    sleep(Duration::from_millis(20)).await;
    let mut received = 0;
    while received < 20 {
        let (parcels, _) = way.received().await;
        way.take(&parcels);
        received += parcels.notes.len();
    }
    assert_eq!(outcomes(departing).await, [20, 0, 0]);
    way.end().await;
}

#[tokio::test]
async fn who_has_closed_its_end_takes_none() {
    let (ours, theirs) = Channel::pair().unwrap();
    drop(theirs);
    let outbound = Arc::new(Outbound::default());
    let [listener, _] = listener_ids();
    assert!(outbound.open(ours, vec![(0, listener)]).is_none());
    assert_eq!(outbound.index_of(listener), None);
    assert_eq!(outcomes(vec![depart(&outbound, 0)]).await, [0, 1, 0]);
}

#[tokio::test]
async fn only_listeners_that_the_successor_has_are_known() {
    let way = Way::open();
    let [known, unknown] = listener_ids();
    assert_eq!(way.outbound.index_of(known), Some(3));
    assert_eq!(way.outbound.index_of(unknown), None);
    way.end().await;
}

#[tokio::test]
async fn who_does_not_wait_for_the_answer_leaves_the_connection_to_the_successor() {
    let way = Way::open();
    let mut departing = way.depart(2);
    let (parcels, descriptors) = way.received().await;
    assert_eq!(parcels.notes.len(), 2);
    for departing in &mut departing {
        departing.departed.abort();
        assert!((&mut departing.departed).await.unwrap_err().is_cancelled());
    }
    way.answer(parcels.number, vec![true, false]);
    way.end().await;
    let [mut taken, mut refused] = [0, 1].map(|index: usize| &departing[index].client);
    let mut server = UnixStream::from(descriptors.into_iter().next().unwrap());
    server.write_all(b"x").unwrap();
    taken.read_exact(&mut [0]).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_kernel_that_carries_no_more_is_waited_for_as_long_as_something_may_arrive() {
    let mut told = Vec::new();
    let mut load = Load::default();
    let (first, mut first_answer) = departure();
    let (second, mut second_answer) = departure();
    load.waiting.extend([first, second]);
    assert!(load.may_send());
    load.sent(1);
    load.hold_up(&mut |event| told.push(event));
    assert!(!load.may_send());
    assert!(first_answer.try_recv().is_err() && second_answer.try_recv().is_err());

    let taken = vec![true];
    let receipt = Receipt { number: 0, taken }.encode();
    assert!(load.settle(&receipt, &mut |event| told.push(event)));
    assert!(matches!(first_answer.try_recv(), Ok(Departed::Moved)));
    assert!(load.may_send());
    // Now there is nothing that could make room.
    load.hold_up(&mut |event| told.push(event));
    assert!(matches!(second_answer.try_recv(), Ok(Departed::Back(..))));
    assert!(load.is_empty() && !load.may_send());
    assert_eq!(told, [OutboundEvent::Moved(1), OutboundEvent::TakenBack(1)]);
}

#[test]
fn the_end_of_the_runtime_lets_go() {
    let way = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (outbound, client) = way.block_on(async {
        let way = Way::open();
        let departing = way.depart(1).remove(0);
        way.received().await;
        (way.outbound, departing.client)
    });
    drop(way);
    let mut client = client;
    let reader = thread::spawn(move || client.read(&mut [0]).unwrap());
    assert_eq!(reader.join().unwrap(), 0);
    let (_, server) = UnixStream::pair().unwrap();
    let departed = outbound.depart(server.into(), Note::default());
    assert!(matches!(
        futures_lite::future::block_on(departed),
        Departed::Back(..)
    ));
}
