//! The new process's view of the old one: what it was given, when it may serve, and when the other is gone.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread,
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{
    channel::{Channel, Received},
    dialogue::{PredecessorEvent, PredecessorState, PredecessorStep},
    wire::{Hello, ToPredecessor, ToSuccessor, WireError},
};

/// The process that started this one to take over.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pid: u32,
    channel: Arc<Channel>,
    state: PredecessorState,
}

/// What the predecessor gave: its greeting and the descriptors that belong to it, still unsorted.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) hello: Hello,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Predecessor {
    /// Reads the greeting, which was sent before this process began.
    ///
    /// # Errors
    ///
    /// `Stranger` where nobody is there to take over from, `Version` where it is somebody that cannot be understood.
    pub(crate) fn meet(socket: OwnedFd) -> Result<(Self, Greeting), MeetError> {
        let channel =
            Channel::new(socket).map_err(|error| MeetError::Stranger(error.to_string()))?;
        let (bytes, descriptors) = match channel.receive() {
            Ok(Received::Packet {
                bytes, descriptors, ..
            }) => (bytes, descriptors),
            Ok(Received::Nothing) => return Err(MeetError::Stranger("nobody greets".into())),
            Ok(Received::End) => {
                return Err(MeetError::Stranger("nobody is at its other end".into()));
            }
            Err(error) => return Err(MeetError::Stranger(error.to_string())),
        };
        match ToSuccessor::decode(&bytes) {
            Ok(ToSuccessor::Hello(hello)) => {
                let predecessor = Self {
                    pid: hello.pid,
                    channel: Arc::new(channel),
                    state: PredecessorState::Starting,
                };
                Ok((predecessor, Greeting { hello, descriptors }))
            }
            Ok(_) => Err(MeetError::Stranger(WireError::NoHello.to_string())),
            Err(error @ WireError::Version(_)) => {
                let reason = error.to_string();
                let _ = channel.send(
                    &ToPredecessor::Failed {
                        reason: reason.clone(),
                    }
                    .encode(),
                    &[],
                );
                Err(MeetError::Version(reason))
            }
            Err(error) => Err(MeetError::Stranger(error.to_string())),
        }
    }

    /// Returns the id of the predecessor.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells whether the predecessor is there, and goes on serving unless this one says that it does.
    pub(crate) fn waits_for_serving(&self) -> bool {
        self.state == PredecessorState::Serving
    }

    /// Reports what the predecessor says, on a thread of its own that ends with the predecessor. The events go to
    /// [`after`](Self::after), in this order.
    ///
    /// # Errors
    ///
    /// Where the thread cannot be started.
    pub(crate) fn watch(
        &self,
        mut report: impl FnMut(PredecessorEvent) + Send + 'static,
    ) -> io::Result<()> {
        let channel = Arc::clone(&self.channel);
        thread::Builder::new()
            .name("graceful-handover".into())
            .spawn(move || {
                loop {
                    let event = next_event(&channel);
                    report(event);
                    if event == PredecessorEvent::Ended {
                        break;
                    }
                }
            })?;
        Ok(())
    }

    /// Moves the dialogue on and returns what is left to do. [`PredecessorStep::SayReady`] has been done.
    pub(crate) fn after(&mut self, event: PredecessorEvent) -> PredecessorStep {
        let (state, step) = self.state.after(event);
        self.state = state;
        if step == PredecessorStep::SayReady {
            self.say(&ToPredecessor::Ready);
        }
        step
    }

    /// Says that this process serves: the old one drains. `dropped` are the listeners that were not asked for. Returns whether
    /// that could be sent; where it could not, this process must not serve.
    pub(crate) fn say_serving(&mut self, dropped: Vec<u16>) -> bool {
        let said = self
            .channel
            .send(&ToPredecessor::Serving { dropped }.encode(), &[]);
        if said.is_err() {
            self.after(PredecessorEvent::Unheard);
        }
        said.is_ok()
    }

    /// Says why this process cannot take over, before it exits.
    pub(crate) fn say_failed(&self, reason: &str) {
        self.say(&ToPredecessor::Failed {
            reason: reason.into(),
        });
    }

    /// An old process that cannot be told anything is gone, and that is the next event.
    fn say(&self, message: &ToPredecessor) {
        let _ = self.channel.send(&message.encode(), &[]);
    }
}

/// Waits without a deadline: either the predecessor says something within `restart_timeout`, or it ends.
fn next_event(channel: &Channel) -> PredecessorEvent {
    loop {
        let _ = poll(
            &mut [PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)],
            None,
        );
        let bytes = match channel.receive() {
            Ok(Received::Packet { bytes, .. }) => bytes,
            Ok(Received::Nothing) => continue,
            Ok(Received::End) | Err(_) => return PredecessorEvent::Ended,
        };
        return match ToSuccessor::decode(&bytes) {
            Ok(ToSuccessor::Go) => PredecessorEvent::Go,
            Ok(ToSuccessor::Abort) => PredecessorEvent::Abort,
            Ok(ToSuccessor::Hello(_)) | Err(_) => PredecessorEvent::Garbled,
        };
    }
}

/// Why there is no predecessor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MeetError {
    /// Nobody waits for this process: it starts as if it were the first.
    Stranger(String),
    /// Somebody waits and cannot be understood: this process must not start beside it.
    Version(String),
}

#[cfg(test)]
mod tests;
