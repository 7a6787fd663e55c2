use super::*;

fn hello() -> Hello {
    Hello {
        pid: 4711,
        listeners: vec![
            ListenerName {
                asked: "127.0.0.1:0".into(),
                keeper: Keeper::Nobody,
            },
            ListenerName {
                asked: "unix:/run/ä.sock".into(),
                keeper: Keeper::Store,
            },
        ],
        has_state: true,
        predecessors: 3,
    }
}

fn to_child() -> Vec<ToSuccessor> {
    vec![
        ToSuccessor::Hello(hello()),
        ToSuccessor::Go,
        ToSuccessor::Abort,
    ]
}

fn to_parent() -> Vec<ToPredecessor> {
    vec![
        ToPredecessor::Ready,
        ToPredecessor::Serving { dropped: vec![] },
        ToPredecessor::Serving {
            dropped: vec![0, 7, 300],
        },
        ToPredecessor::Failed {
            reason: "Error: address in use".into(),
        },
        ToPredecessor::Failed {
            reason: String::new(),
        },
    ]
}

#[test]
fn every_message_survives_the_way() {
    for message in to_child() {
        assert_eq!(ToSuccessor::decode(&message.encode()), Ok(message));
    }
    for message in to_parent() {
        assert_eq!(ToPredecessor::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn no_prefix_of_a_message_panics_or_passes_for_it() {
    for message in to_child() {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            assert_ne!(ToSuccessor::decode(&bytes[..end]), Ok(message.clone()));
        }
    }
    for message in to_parent() {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            assert_ne!(ToPredecessor::decode(&bytes[..end]), Ok(message.clone()));
        }
    }
}

#[test]
fn no_changed_byte_panics() {
    let bytes = ToSuccessor::Hello(hello()).encode();
    for index in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[index] = value;
            let _ = ToSuccessor::decode(&changed);
            let _ = ToPredecessor::decode(&changed);
        }
    }
}

#[test]
fn a_byte_too_many_is_an_error() {
    assert_eq!(ToSuccessor::decode(b"g\0"), Err(WireError::Long));
    assert_eq!(ToPredecessor::decode(b"r\0"), Err(WireError::Long));
    assert_eq!(ToPredecessor::decode(b"s\0"), Err(WireError::Short));
}

#[test]
fn each_mistake_has_its_error() {
    let with = |index: usize, value| {
        let mut bytes = ToSuccessor::Hello(hello()).encode();
        bytes[index] = value;
        ToSuccessor::decode(&bytes)
    };
    assert_eq!(ToSuccessor::decode(b""), Err(WireError::Short));
    assert_eq!(ToSuccessor::decode(b"x"), Err(WireError::Kind(b'x')));
    assert_eq!(ToPredecessor::decode(b"g"), Err(WireError::Kind(b'g')));
    assert_eq!(with(1, b'G'), Err(WireError::NoHello));
    assert_eq!(with(9, 2), Err(WireError::Version(2)));
    assert_eq!(with(14, 2), Err(WireError::Flag(2)));
    assert_eq!(with(16, 3), Err(WireError::Keeper(3)));
    assert_eq!(ToPredecessor::decode(b"f\x01\0\xff"), Err(WireError::Text));
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let reason = format!("x{}", "ä".repeat(TEXT_MAX));
    let sent = ToPredecessor::Failed {
        reason: reason.clone(),
    }
    .encode();
    let Ok(ToPredecessor::Failed { reason: got }) = ToPredecessor::decode(&sent) else {
        panic!("no failure")
    };
    assert_eq!(got.len(), TEXT_MAX - 1);
    assert!(reason.starts_with(&got));
}

#[test]
fn the_longest_failure_and_drop_list_fit_into_a_message() {
    let dropped = (0..LISTENERS_MAX as u16).collect();
    assert!(ToPredecessor::Serving { dropped }.encode().len() <= MESSAGE_MAX);
    assert!(
        ToPredecessor::Failed {
            reason: "x".repeat(100_000)
        }
        .encode()
        .len()
            <= MESSAGE_MAX
    );
}

#[test]
fn a_text_that_would_not_be_written_is_not_read() {
    let failed = |length: usize| {
        let length = u16::try_from(length).unwrap();
        let text = vec![b'x'; length.into()];
        let bytes = [&b"f"[..], &length.to_le_bytes(), &text].concat();
        ToPredecessor::decode(&bytes)
    };
    assert!(
        matches!(failed(TEXT_MAX), Ok(ToPredecessor::Failed { reason }) if reason.len() == TEXT_MAX)
    );
    let too_long = WireError::TextLength(TEXT_MAX + 1);
    assert_eq!(failed(TEXT_MAX + 1), Err(too_long));
}
