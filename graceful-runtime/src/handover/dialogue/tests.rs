use super::{
    Cause,
    SuccessorEvent::{self, *},
    SuccessorState::{self, *},
    SuccessorStep::{self, *},
};

const CHILD_STATES: [SuccessorState; 5] = [Starting, Announcing, Going, HandedOver, Over];
const CHILD_EVENTS: [SuccessorEvent; 8] = [
    Ready, Announced, Serving, Failed, Ended, Garbled, TimedOut, Aborted,
];

/// One row for each state, one column for each event, in the order of `CHILD_EVENTS`.
#[rustfmt::skip]
const CHILD_TABLE: [[(SuccessorState, SuccessorStep); 8]; 5] = {
    const FAILED: (SuccessorState, SuccessorStep) = (Over, RollBack(Cause::Failed));
    const ENDED: (SuccessorState, SuccessorStep) = (Over, RollBack(Cause::Ended));
    const GARBLED: (SuccessorState, SuccessorStep) = (Over, RollBack(Cause::Garbled));
    const TIMED_OUT: (SuccessorState, SuccessorStep) = (Over, RollBack(Cause::TimedOut));
    const ABORT: (SuccessorState, SuccessorStep) = (Over, Abort);
    const KEEP: (SuccessorState, SuccessorStep) = (HandedOver, Wait);
    const STAY: (SuccessorState, SuccessorStep) = (Over, Wait);
    [
        // Ready                  Announced       Serving               Failed  Ended  Garbled  TimedOut   Aborted
        [(Announcing, Announce),  GARBLED,        GARBLED,              FAILED, ENDED, GARBLED, TIMED_OUT, ABORT], // Starting
        [GARBLED,                 (Going, SayGo), GARBLED,              FAILED, ENDED, GARBLED, TIMED_OUT, ABORT], // Announcing
        [GARBLED,                 GARBLED,        (HandedOver, Finish), FAILED, ENDED, GARBLED, TIMED_OUT, ABORT], // Going
        [KEEP,                    KEEP,           KEEP,                 KEEP,   (Over, ReportLoss), KEEP, KEEP, KEEP], // HandedOver
        [STAY,                    STAY,           STAY,                 STAY,   STAY,  STAY,    STAY,      STAY],  // Over
    ]
};

#[test]
fn every_state_and_event_of_the_old_process_is_as_the_table_says() {
    for (row, state) in CHILD_TABLE.iter().zip(CHILD_STATES) {
        for (expected, event) in row.iter().zip(CHILD_EVENTS) {
            assert_eq!(state.after(event), *expected, "{state:?}, {event:?}");
        }
    }
}

#[test]
fn the_old_process_never_drains_before_the_successor_serves() {
    for state in CHILD_STATES {
        for event in CHILD_EVENTS {
            let (_, step) = state.after(event);
            assert_eq!(
                step == Finish,
                (state, event) == (Going, Serving),
                "{state:?}, {event:?}"
            );
        }
    }
}

#[test]
fn whatever_ends_a_hand_over_ends_it_once() {
    for state in CHILD_STATES {
        for event in CHILD_EVENTS {
            let (next, step) = state.after(event);
            let last = matches!(step, RollBack(_) | Abort | ReportLoss);
            assert_eq!(last, next == Over && state != Over, "{state:?}, {event:?}");
        }
    }
}

mod of_the_successor {
    use crate::handover::dialogue::{
        PredecessorEvent::{self, *},
        PredecessorState::{self, *},
        PredecessorStep::{self, Wait, *},
    };

    const STATES: [PredecessorState; 6] = [Starting, Orphaned, Waiting, Serving, Alone, Stopped];
    const EVENTS: [PredecessorEvent; 6] = [Ready, Go, Abort, Ended, Garbled, Unheard];

    #[rustfmt::skip]
    const TABLE: [[(PredecessorState, PredecessorStep); 6]; 6] = {
        const STOP: (PredecessorState, PredecessorStep) = (Stopped, Stop);
        [
            // Ready                   Go                   Abort             Ended                   Garbled           Unheard
            [(Waiting, SayReady),      STOP,                STOP,             (Orphaned, ReportEnd),  STOP,             (Starting, Wait)], // Starting
            [(Alone, TakeOverAlone),   (Orphaned, Wait),    (Orphaned, Wait), (Orphaned, Wait),       (Orphaned, Wait), (Orphaned, Wait)], // Orphaned
            [(Waiting, Wait),          (Serving, TakeOver), STOP,             (Alone, TakeOverAlone), STOP,             (Waiting, Wait)],  // Waiting
            [(Serving, Wait),          (Serving, Wait),     STOP,             (Alone, ReportEnd),     (Serving, Wait),  (Waiting, Wait)],  // Serving
            [(Alone, Wait),            (Alone, Wait),       (Alone, Wait),    (Alone, Wait),          (Alone, Wait),    (Alone, Wait)],    // Alone
            [(Stopped, Wait),          (Stopped, Wait),     (Stopped, Wait),  (Stopped, Wait),        (Stopped, Wait),  (Stopped, Wait)],  // Stopped
        ]
    };

    #[test]
    fn every_state_and_event_is_as_the_table_says() {
        for (row, state) in TABLE.iter().zip(STATES) {
            for (expected, event) in row.iter().zip(EVENTS) {
                assert_eq!(state.after(event), *expected, "{state:?}, {event:?}");
            }
        }
    }

    #[test]
    fn it_takes_over_once_and_only_when_ready() {
        for state in STATES {
            for event in EVENTS {
                let (next, step) = state.after(event);
                if matches!(step, TakeOver | TakeOverAlone) {
                    assert!(state == Waiting || event == Ready, "{state:?}, {event:?}");
                    for again in EVENTS {
                        assert!(!matches!(next.after(again).1, TakeOver | TakeOverAlone));
                    }
                }
            }
        }
    }
}

/// Both tables against each other: every order in which the messages and one mishap can arrive.
mod together {
    use crate::handover::dialogue::{
        PredecessorEvent, PredecessorState, PredecessorStep, SuccessorEvent, SuccessorState,
        SuccessorStep,
    };

    /// The two sides and what is under way between them.
    #[derive(Clone, Debug)]
    struct Pair {
        old: SuccessorState,
        new: PredecessorState,
        to_old: Vec<SuccessorEvent>,
        to_new: Vec<PredecessorEvent>,
        mishap: Option<SuccessorEvent>,
        old_drains: bool,
        new_serves: bool,
    }

    impl Pair {
        /// What is sent to a predecessor that has given up does not arrive; what has arrived is looked at before.
        fn old_meets(&mut self, mishap: SuccessorEvent) {
            let serves = self.old == SuccessorState::Going
                && self.to_old.first() == Some(&SuccessorEvent::Serving);
            match serves && matches!(mishap, SuccessorEvent::TimedOut | SuccessorEvent::Aborted) {
                true => {
                    let serving = self.to_old.remove(0);
                    self.old_sees(serving);
                }
                false => self.old_sees(mishap),
            }
        }

        fn old_sees(&mut self, event: SuccessorEvent) {
            let (next, step) = self.old.after(event);
            self.old = next;
            match step {
                SuccessorStep::Announce => self.to_old.push(SuccessorEvent::Announced),
                SuccessorStep::SayGo => self.to_new.push(PredecessorEvent::Go),
                SuccessorStep::Abort => self.to_new.push(PredecessorEvent::Abort),
                SuccessorStep::Finish => self.old_drains = true,
                // The successor is stopped when it has that, or is killed.
                SuccessorStep::RollBack(_) => self.to_new.push(PredecessorEvent::Abort),
                SuccessorStep::Wait | SuccessorStep::ReportLoss => {}
            }
        }

        fn new_sees(&mut self, event: PredecessorEvent) {
            let (next, step) = self.new.after(event);
            self.new = next;
            match step {
                PredecessorStep::SayReady => self.to_old.push(SuccessorEvent::Ready),
                PredecessorStep::TakeOver if self.old == SuccessorState::Over => {
                    self.new_sees(PredecessorEvent::Unheard);
                }
                PredecessorStep::TakeOver => {
                    self.new_serves = true;
                    self.to_old.push(SuccessorEvent::Serving);
                }
                PredecessorStep::TakeOverAlone => self.new_serves = true,
                PredecessorStep::Stop => self.to_old.push(SuccessorEvent::Ended),
                PredecessorStep::Wait | PredecessorStep::ReportEnd => {}
            }
        }

        /// Delivers what is under way in every order; returns whether somebody serves at every end.
        fn ends_served(&self) -> bool {
            let mut ends = true;
            let mut moved = false;
            if !self.to_old.is_empty() {
                let mut next = self.clone();
                let event = next.to_old.remove(0);
                next.old_sees(event);
                (ends, moved) = (ends && next.ends_served(), true);
            }
            if !self.to_new.is_empty() {
                let mut next = self.clone();
                let event = next.to_new.remove(0);
                next.new_sees(event);
                (ends, moved) = (ends && next.ends_served(), true);
            }
            if let Some(mishap) = self.mishap {
                let mut next = self.clone();
                next.mishap = None;
                next.old_meets(mishap);
                (ends, moved) = (ends && next.ends_served(), true);
            }
            if self.new_serves && self.old == SuccessorState::Over && !self.old_drains {
                // It would be stopped with what it has accepted.
                return false;
            }
            ends && (moved
                || !self.old_drains
                || (self.new_serves && self.new != PredecessorState::Stopped))
        }
    }

    #[test]
    fn whatever_happens_when_somebody_serves() {
        let start = || Pair {
            old: SuccessorState::Starting,
            new: PredecessorState::Starting,
            to_old: vec![],
            to_new: vec![PredecessorEvent::Ready],
            mishap: None,
            old_drains: false,
            new_serves: false,
        };
        assert!(start().ends_served());
        for mishap in [SuccessorEvent::TimedOut, SuccessorEvent::Aborted] {
            let pair = Pair {
                mishap: Some(mishap),
                ..start()
            };
            assert!(pair.ends_served(), "{mishap:?}");
        }
    }
}
