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

fn to_child() -> Vec<ToChild> {
    vec![ToChild::Hello(hello()), ToChild::Go, ToChild::Abort]
}

fn to_parent() -> Vec<ToParent> {
    vec![
        ToParent::Ready,
        ToParent::Serving { dropped: vec![] },
        ToParent::Serving {
            dropped: vec![0, 7, 300],
        },
        ToParent::Failed {
            reason: "Error: address in use".into(),
        },
        ToParent::Failed {
            reason: String::new(),
        },
    ]
}

#[test]
fn every_message_survives_the_way() {
    for message in to_child() {
        assert_eq!(ToChild::decode(&message.encode()), Ok(message));
    }
    for message in to_parent() {
        assert_eq!(ToParent::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn no_prefix_of_a_message_panics_or_passes_for_it() {
    for message in to_child() {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            assert_ne!(ToChild::decode(&bytes[..end]), Ok(message.clone()));
        }
    }
    for message in to_parent() {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            assert_ne!(ToParent::decode(&bytes[..end]), Ok(message.clone()));
        }
    }
}

#[test]
fn no_changed_byte_panics() {
    let bytes = ToChild::Hello(hello()).encode();
    for index in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[index] = value;
            let _ = ToChild::decode(&changed);
            let _ = ToParent::decode(&changed);
        }
    }
}

#[test]
fn a_byte_too_many_is_an_error() {
    assert_eq!(ToChild::decode(b"g\0"), Err(WireError::Long));
    assert_eq!(ToParent::decode(b"r\0"), Err(WireError::Long));
    assert_eq!(ToParent::decode(b"s\0"), Err(WireError::Short));
}

#[test]
fn each_mistake_has_its_error() {
    let with = |index: usize, value| {
        let mut bytes = ToChild::Hello(hello()).encode();
        bytes[index] = value;
        ToChild::decode(&bytes)
    };
    assert_eq!(ToChild::decode(b""), Err(WireError::Short));
    assert_eq!(ToChild::decode(b"x"), Err(WireError::Kind(b'x')));
    assert_eq!(ToParent::decode(b"g"), Err(WireError::Kind(b'g')));
    assert_eq!(with(1, b'G'), Err(WireError::NoHello));
    assert_eq!(with(9, 2), Err(WireError::Version(2)));
    assert_eq!(with(14, 2), Err(WireError::Flag(2)));
    assert_eq!(with(16, 3), Err(WireError::Keeper(3)));
    assert_eq!(ToParent::decode(b"f\x01\0\xff"), Err(WireError::Text));
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let reason = format!("x{}", "ä".repeat(TEXT_MAX));
    let sent = ToParent::Failed {
        reason: reason.clone(),
    }
    .encode();
    let Ok(ToParent::Failed { reason: got }) = ToParent::decode(&sent) else {
        panic!("no failure")
    };
    assert_eq!(got.len(), TEXT_MAX - 1);
    assert!(reason.starts_with(&got));
}

#[test]
fn the_longest_failure_and_drop_list_fit_into_a_message() {
    let dropped = (0..LISTENERS_MAX as u16).collect();
    assert!(ToParent::Serving { dropped }.encode().len() <= MESSAGE_MAX);
    assert!(
        ToParent::Failed {
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
        ToParent::decode(&bytes)
    };
    assert!(
        matches!(failed(TEXT_MAX), Ok(ToParent::Failed { reason }) if reason.len() == TEXT_MAX)
    );
    let too_long = WireError::TextLength(TEXT_MAX + 1);
    assert_eq!(failed(TEXT_MAX + 1), Err(too_long));
}
