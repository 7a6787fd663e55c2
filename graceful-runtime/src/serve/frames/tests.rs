//! Each conversation is followed in whatever pieces it comes.

use super::*;

const DATA_PADDED: u8 = 8;
const WINDOW_UPDATE: u8 = 8;
const SETTINGS: u8 = 4;

/// One step of a conversation.
#[derive(Clone, Debug)]
enum Step {
    Receives(Vec<u8>),
    Sends(Vec<u8>),
}

use Step::{Receives, Sends};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    // The first bit is reserved, and to be ignored.
    bytes.extend((stream | 1 << 31).to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn asks(stream: u32) -> Step {
    Receives(frame(HEADERS, END_HEADERS | END_STREAM, stream, b"a head"))
}

fn uploads(stream: u32) -> Step {
    Receives(frame(HEADERS, END_HEADERS, stream, b"a head"))
}

fn answers(stream: u32) -> Step {
    let head = frame(HEADERS, END_HEADERS, stream, b"ok");
    Sends(
        [
            head,
            frame(DATA, END_STREAM | DATA_PADDED, stream, &[0; 300]),
        ]
        .concat(),
    )
}

fn goaway(last: u32, error: u32) -> Step {
    let payload = [last.to_be_bytes(), error.to_be_bytes()].concat();
    Sends(frame(GOAWAY, 0, 0, &[&payload[..], b"debug"].concat()))
}

const PAYLOAD_A: &[u8; 8] = b"leaving?";

fn is_asked() -> Step {
    Sends(frame(PING, 0, 0, PAYLOAD_A))
}

fn pong(payload: &[u8; 8]) -> Step {
    Receives(frame(PING, ACK, 0, payload))
}

/// Follows a conversation in pieces of at most `piece` bytes.
fn follow(steps: &[Step], piece: usize) -> Frames {
    let mut frames = Frames::behind_preface(24);
    let preface = Receives(crate::serve::first_bytes::HTTP2_PREFACE.to_vec());
    let settings = Sends(frame(SETTINGS, 0, 0, &[0; 18]));
    for step in [preface, settings].iter().chain(steps) {
        match step {
            Receives(bytes) => bytes.chunks(piece).for_each(|piece| frames.receive(piece)),
            Sends(bytes) => bytes.chunks(piece).for_each(|piece| frames.send(piece)),
        }
    }
    frames
}

#[test]
fn what_is_open_is_known_in_whatever_pieces_it_comes() {
    let cases: Vec<(&str, Vec<Step>, &[u32], u32)> = vec![
        ("nothing", vec![], &[], 0),
        ("a request", vec![asks(1)], &[1], 1),
        ("a response", vec![asks(1), answers(1)], &[], 1),
        ("two", vec![asks(1), uploads(3), answers(1)], &[3], 3),
        (
            "a head alone",
            vec![
                asks(1),
                Sends(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"204")),
            ],
            &[],
            1,
        ),
        (
            "an upload with trailers",
            vec![
                uploads(1),
                Receives(frame(DATA, 0, 1, &[7; 70])),
                Receives(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"trailers")),
            ],
            &[1],
            1,
        ),
        (
            "an early answer",
            vec![
                uploads(1),
                answers(1),
                Receives(frame(DATA, END_STREAM, 1, b"late")),
            ],
            &[],
            1,
        ),
        (
            "reset by the client",
            vec![asks(1), asks(3), Receives(frame(RST_STREAM, 0, 1, &[0; 4]))],
            &[3],
            3,
        ),
        (
            "reset by the server",
            vec![asks(1), asks(3), Sends(frame(RST_STREAM, 0, 3, &[0; 4]))],
            &[1],
            3,
        ),
        (
            "frames without a meaning here",
            vec![
                asks(5),
                Receives(frame(WINDOW_UPDATE, 0, 5, &[0, 0, 1, 0])),
                Receives(frame(SETTINGS, 0, 0, &[])),
                Receives(frame(99, END_STREAM, 5, b"unknown")),
                Sends(frame(99, END_STREAM, 5, b"unknown")),
            ],
            &[5],
            5,
        ),
        (
            "half a header block",
            vec![asks(1), Receives(frame(HEADERS, END_STREAM, 3, b"a part"))],
            &[1],
            1,
        ),
        (
            "a header block in parts",
            vec![
                Receives(frame(HEADERS, END_STREAM, 1, b"a part")),
                Receives(frame(CONTINUATION, 0, 1, b"a part")),
                Receives(frame(CONTINUATION, END_HEADERS, 1, b"a part")),
            ],
            &[1],
            1,
        ),
        (
            "a response of one header block in parts",
            vec![
                asks(1),
                asks(3),
                Sends(frame(HEADERS, END_STREAM, 1, b"a part")),
                Sends(frame(CONTINUATION, END_HEADERS, 1, b"a part")),
                Sends(frame(HEADERS, END_STREAM, 3, b"a part")),
            ],
            &[3],
            3,
        ),
        (
            "an error of the connection",
            vec![asks(1), asks(3), goaway(3, 1)],
            &[],
            3,
        ),
        ("an even stream", vec![asks(1), asks(4)], &[1], 1),
        (
            "behind the last stream",
            vec![asks(1), asks(3), goaway(1, 0), asks(5)],
            &[1],
            5,
        ),
        (
            "behind a GOAWAY that takes back nothing",
            vec![asks(1), goaway(ALL, 0), asks(3)],
            &[1, 3],
            3,
        ),
    ];
    for (what, steps, open, last) in cases {
        for piece in 1..=400 {
            let frames = follow(&steps, piece);
            let known: Vec<u32> = frames.open.keys().copied().collect();
            assert_eq!(known, open, "{what}, in pieces of {piece}");
            assert_eq!(frames.last, last, "{what}, in pieces of {piece}");
        }
    }
}

#[test]
fn a_stream_is_half_closed_until_the_client_ends_it_or_somebody_resets_it() {
    let goes_on = || Receives(frame(DATA, 0, 1, b"more"));
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    let early = [uploads(1), answers(1)];
    let then = |step: Step| [&early[..], &[step]].concat();
    for (what, steps, half_closed, has_gone_on) in [
        ("an answer", vec![asks(1), answers(1)], 0, false),
        ("an early answer", early.to_vec(), 1, false),
        ("more of the upload", then(goes_on()), 1, true),
        (
            "more before",
            vec![uploads(1), goes_on(), answers(1)],
            1,
            false,
        ),
        (
            "the end",
            then(Receives(frame(DATA, END_STREAM, 1, b""))),
            0,
            true,
        ),
        (
            "a reset by the client",
            then(Receives(reset.clone())),
            0,
            false,
        ),
        (
            "a reset by the server",
            then(Sends(reset.clone())),
            0,
            false,
        ),
    ] {
        for piece in [1, 13, 400] {
            let mut frames = follow(&steps, piece);
            let known = (frames.half_closed(), frames.take_goes_on());
            assert_eq!(known, (half_closed, has_gone_on), "{what}");
            assert!(!frames.take_goes_on(), "it is told once");
            frames.receive_end();
            assert_eq!(frames.half_closed(), 0, "{what}");
        }
    }
}

#[test]
fn what_the_client_gives_up_or_breaks_is_told_once() {
    let reset = |error: u8| frame(RST_STREAM, 0, 1, &[0, 0, 0, error]);
    for (what, step, given_up) in [
        ("a reset", Receives(reset(8)), 1),
        ("an end", Receives(Vec::new()), 0),
        (
            "a GOAWAY of the client",
            Receives(frame(GOAWAY, 0, 0, &[0; 8])),
            0,
        ),
        ("an error of the connection", goaway(3, 1), 2),
        ("the server leaves", goaway(3, 0), 0),
        ("a broken stream", Sends(reset(1)), 1),
        ("a handler that panicked", Sends(reset(8)), 0),
        ("a body that failed", Sends(reset(2)), 0),
    ] {
        let mut frames = follow(&[asks(1), asks(3), step], 11);
        assert_eq!(frames.take_given_up(), given_up, "{what}");
        assert_eq!(frames.take_given_up(), 0, "{what}");
        let open = frames.open();
        frames.receive_end();
        assert_eq!(frames.take_given_up(), open, "{what}");
    }
}

#[test]
fn half_a_request_is_known_from_the_kind_of_its_frame_on() {
    let Receives(request) = asks(1) else {
        unreachable!()
    };
    for cut in 0..request.len() {
        let frames = follow(&[Receives(request[..cut].to_vec())], 100);
        assert_eq!(frames.has_half_request(), cut > 3, "{cut}");
    }
    let begin = Receives(frame(HEADERS, 0, 1, b"a part"));
    assert!(follow(std::slice::from_ref(&begin), 5).has_half_request());
    let end = Receives(frame(CONTINUATION, END_HEADERS, 1, b"a part"));
    assert!(!follow(&[begin, end, asks(3)], 5).has_half_request());
}

#[test]
fn half_a_frame_counts_when_it_is_whole() {
    let Receives(request) = asks(1) else {
        unreachable!()
    };
    let Sends(response) = answers(1) else {
        unreachable!()
    };
    let mut frames = follow(&[], 100);
    frames.receive(&request[..request.len() - 1]);
    assert_eq!(frames.open(), 0);
    frames.receive(&request[request.len() - 1..]);
    assert_eq!(frames.open(), 1);
    frames.send(&response[..response.len() - 1]);
    assert_eq!(frames.open(), 1);
    frames.send(&response[response.len() - 1..]);
    assert_eq!(frames.open(), 0);
}

#[test]
fn an_answer_is_made_only_where_one_is_waited_for_and_fits() {
    let answer = |steps: &[Step]| {
        let mut frames = follow(steps, 7);
        let answer = frames.answer();
        assert_eq!(frames.answer(), None, "there is one answer");
        answer.map(|frame| frame.to_vec())
    };
    let expected = Some(frame(PING, ACK, 0, PAYLOAD_A)).map(|mut frame| {
        frame[5] = 0;
        frame
    });
    let leaves = [goaway(ALL, 0), is_asked()];
    let then = |more: &[Step]| [&leaves[..], more].concat();
    assert_eq!(answer(&[]), None, "nobody leaves");
    assert_eq!(answer(&[is_asked()]), None, "another PING");
    assert_eq!(answer(&leaves[..1]), None, "not asked yet");
    assert_eq!(answer(&leaves), expected);
    assert_eq!(answer(&then(&[asks(1), is_asked()])), expected);
    assert_eq!(answer(&then(&[pong(PAYLOAD_A)])), None, "it was answered");
    assert_eq!(answer(&then(&[pong(b"other...")])), expected);
    let other_direction = Receives(frame(PING, 0, 0, PAYLOAD_A));
    assert_eq!(answer(&then(&[other_direction])), expected);
    assert_eq!(answer(&then(&[goaway(0, 0)])), None, "it has left");
    // Between frames, and not within the frames of one head.
    let Receives(request) = asks(1) else {
        unreachable!()
    };
    for cut in 1..request.len() {
        let part = Receives(request[..cut].to_vec());
        assert_eq!(answer(&then(&[part])), None, "cut at {cut}");
    }
    let begin = Receives(frame(HEADERS, 0, 1, b"a part"));
    let middle = Receives(frame(CONTINUATION, 0, 1, b"a part"));
    let end = Receives(frame(CONTINUATION, END_HEADERS, 1, b"a part"));
    assert_eq!(answer(&then(std::slice::from_ref(&begin))), None);
    assert_eq!(answer(&then(&[begin.clone(), middle.clone()])), None);
    assert_eq!(answer(&then(&[begin, middle, end])), expected);
}

#[test]
fn the_last_stream_is_said_once_and_between_frames() {
    let said = |steps: &[Step]| follow(steps, 11).goaway();
    let expected = |last: u8| Some([0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0]);
    assert_eq!(said(&[]), expected(0));
    assert_eq!(said(&[asks(7), answers(7)]), expected(7));
    assert_eq!(said(&[asks(7), goaway(ALL, 0), is_asked()]), expected(7));
    assert_eq!(said(&[asks(7), goaway(7, 0)]), None);
    assert_eq!(said(&[asks(7), goaway(ALL, 11)]), None, "an error");
    let Sends(response) = answers(7) else {
        unreachable!()
    };
    let part = Sends(response[..response.len() - 1].to_vec());
    assert_eq!(said(&[asks(7), part]), None);
    let mut frames = follow(&[asks(7)], 11);
    frames.receive(&[]);
    assert_eq!(frames.goaway(), expected(7), "no byte is no end");
    frames.receive_end();
    assert_eq!(frames.goaway(), None, "nobody reads it");
}
