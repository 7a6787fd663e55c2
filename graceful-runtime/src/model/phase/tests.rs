use super::{Event, Phase};

const EVENTS: [Event; 8] = [
    Event::Ready,
    Event::Trigger,
    Event::Restart,
    Event::HandoverFailed,
    Event::LameDuckOver,
    Event::Drained,
    Event::CutOff,
    Event::Finished,
];

/// Every pair that means something. All others are `None`.
const TABLE: &[(Phase, Event, Phase)] = {
    use Event as E;
    use Phase as P;
    &[
        (P::Starting, E::Ready, P::Ready),
        (P::Starting, E::Trigger, P::LameDuck),
        (P::Ready, E::Trigger, P::LameDuck),
        (P::Ready, E::Restart, P::HandingOver),
        (P::HandingOver, E::Trigger, P::LameDuck),
        (P::HandingOver, E::HandoverFailed, P::Ready),
        (P::LameDuck, E::LameDuckOver, P::Draining),
        (P::LameDuck, E::CutOff, P::Stopping),
        (P::Draining, E::Drained, P::Stopping),
        (P::Draining, E::CutOff, P::Stopping),
        (P::Stopping, E::Finished, P::Stopped),
    ]
};

fn phases() -> impl Iterator<Item = Phase> {
    (0..=Phase::Stopped as u8).map(Phase::from_u8)
}

#[test]
fn every_pair_is_as_the_table_says() {
    for phase in phases() {
        for event in EVENTS {
            let expected = TABLE
                .iter()
                .find(|(from, on, _)| (*from, *on) == (phase, event))
                .map(|(_, _, to)| *to);
            assert_eq!(phase.after(event), expected, "{phase:?} on {event:?}");
        }
    }
}

#[test]
fn a_phase_goes_back_only_when_a_hand_over_fails() {
    for (from, event, to) in TABLE {
        assert!(
            from < to || *event == Event::HandoverFailed,
            "{from:?} on {event:?} leads back to {to:?}"
        );
    }
}

#[test]
fn every_life_can_end() {
    for phase in phases().filter(|phase| *phase != Phase::Stopped) {
        let leads_on = |(from, _, to): &&(Phase, Event, Phase)| *from == phase && *to > phase;
        assert!(
            TABLE.iter().any(|row| leads_on(&row)),
            "{phase:?} is a dead end"
        );
    }
}

#[test]
fn numbers_and_phases_agree() {
    for number in 0..=Phase::Stopped as u8 {
        assert_eq!(Phase::from_u8(number) as u8, number);
    }
}

#[test]
fn the_architecture_page_shows_this_table() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).expect("the page lies beside the workspace");
    for (from, event, to) in TABLE {
        let row = format!("| {from:?} | {event:?} | {to:?} |");
        assert!(page.contains(&row), "ARCHITECTURE.md lacks the row: {row}");
    }
}
