//! The signals of the process, as they come.

use std::io;

use futures_lite::StreamExt;

use crate::model::signal::Signal;
use crate::os::signals::is_ignored;

/// The signals of one process, as a stream.
///
/// Only 278 unread signals fit (a socket's buffer), so whoever holds it must read without pause.
#[derive(Debug)]
pub(crate) struct Listening {
    signals: Option<async_signal::Signals>,
    /// One of the list that does not come, because the process was started so that it is ignored.
    pub(crate) ignored: Option<Signal>,
}

impl Listening {
    /// Begins to catch `signals`.
    ///
    /// HUP stays ignored where it was ignored at the start: that is how nohup(1) asks for it.
    pub(crate) fn new(signals: impl Iterator<Item = Signal>) -> io::Result<Self> {
        let stays_ignored = |signal: &Signal| *signal == Signal::Hup && is_ignored(libc::SIGHUP);
        let (ignored, heard): (Vec<_>, Vec<_>) = signals.partition(stays_ignored);
        let heard: Vec<_> = heard.into_iter().map(Signal::to_async).collect();
        let signals = match heard.is_empty() {
            true => None,
            false => Some(async_signal::Signals::new(heard)?),
        };
        let ignored = ignored.first().copied();
        Ok(Self { signals, ignored })
    }

    /// Waits for the next signal; for ever where none is listened to.
    ///
    /// # Cancel safety
    ///
    /// A drop loses no signal.
    pub(crate) async fn next(&mut self) -> Signal {
        loop {
            let next = match &mut self.signals {
                Some(signals) => signals.next().await,
                None => std::future::pending().await,
            };
            // An error here would be one of reading the pipe that only signal handlers write to.
            if let Some(signal) = next.and_then(Result::ok).and_then(Signal::from_async) {
                return signal;
            }
        }
    }
}
