//! It does not matter in which pieces frames come.
//!
//! The input is a list of pieces: a byte whose lowest bit is the direction and whose rest is the length, then the bytes.

#![no_main]

// The file itself; a target needs a part of it.
#[allow(dead_code)]
#[path = "../../graceful-runtime/src/serve/frames.rs"]
mod frames;

use frames::Frames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut whole = Frames::behind_preface(0);
    let mut bytewise = Frames::behind_preface(0);
    let mut input = input;
    while let Some((head, rest)) = input.split_first() {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(head >> 1)));
        input = rest;
        match head & 1 {
            0 => {
                whole.receive(piece);
                piece.chunks(1).for_each(|byte| bytewise.receive(byte));
            }
            _ => {
                whole.send(piece);
                piece.chunks(1).for_each(|byte| bytewise.send(byte));
            }
        }
        assert_eq!(whole.open(), bytewise.open());
        assert_eq!(whole.goaway(), bytewise.goaway());
    }
    let answer = whole.answer();
    assert_eq!(answer, bytewise.answer());
    assert!(answer.is_none() || whole.answer().is_none(), "there is one answer");
});
