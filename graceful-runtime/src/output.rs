//! Where lines go: through `tracing` where a subscriber is set, else to standard error, by a thread that may block.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing::dispatcher;
use tracing::subscriber::NoSubscriber;

use crate::text::{one_line, printable};

/// How many bytes a line may have.
const LINE_MAX: usize = 400;
/// What lines begin with.
const LINE_PREFIX: &str = "graceful";

/// An event of a constant level, as `tracing` wants it.
macro_rules! event {
    ($level:expr, $line:expr) => {{
        let Facts {
            phase,
            reason,
            requests,
            finished,
            cut,
            left_ms,
            successor,
        } = &$line.facts;
        tracing::event!(
            target: "graceful",
            $level,
            pid = std::process::id(),
            phase,
            reason = reason.as_deref(),
            requests,
            finished,
            cut,
            left_ms,
            successor,
            "{}",
            $line.text
        )
    }};
}

/// A line, how loud it is, and what it says to machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    level: Level,
    text: String,
    facts: Facts,
}

/// The fields of an event; one that does not apply is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) phase: Option<&'static str>,
    pub(crate) reason: Option<String>,
    /// How many requests are in flight.
    pub(crate) requests: Option<usize>,
    pub(crate) finished: Option<usize>,
    pub(crate) cut: Option<usize>,
    pub(crate) left_ms: Option<u64>,
    pub(crate) successor: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Info,
    Warn,
}

impl Line {
    pub(crate) fn info(text: impl Into<String>) -> Self {
        Self::new(Level::Info, &text.into())
    }

    pub(crate) fn warn(text: impl Into<String>) -> Self {
        Self::new(Level::Warn, &text.into())
    }

    fn new(level: Level, text: &str) -> Self {
        Self {
            level,
            text: printable(text, LINE_MAX),
            facts: Facts::default(),
        }
    }

    pub(crate) fn with(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Says it on this thread: as an event where a subscriber is set, else on standard error, by `name`.
    fn emit_as(&self, name: &str) {
        let is_silent = dispatcher::get_default(|current| current.is::<NoSubscriber>());
        match self.level {
            _ if is_silent => print(&format!("{name}: {}\n", self.text)),
            Level::Info => event!(tracing::Level::INFO, self),
            Level::Warn => event!(tracing::Level::WARN, self),
        }
    }

    /// Says it on this thread.
    pub(crate) fn emit(&self) {
        self.emit_as(LINE_PREFIX);
    }
}

/// A thread that writes lines, so that the guardian never blocks on a full pipe or a slow subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Output(mpsc::Sender<Job>);

#[derive(Debug)]
enum Job {
    Say(Line),
    /// The error of a `main` or a server, in words.
    Error(String),
    /// Other processes write to the same place from now on.
    ShowPid,
    Flush(mpsc::Sender<()>),
}

impl Output {
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        thread::Builder::new()
            .name("graceful-output".into())
            .spawn(move || {
                let mut name = LINE_PREFIX.to_owned();
                for job in queue {
                    match job {
                        Job::Say(line) => line.emit_as(&name),
                        Job::Error(words) => print_error_of_main(&words),
                        Job::ShowPid => name = format!("{LINE_PREFIX}[{}]", std::process::id()),
                        Job::Flush(done) => drop(done.send(())),
                    }
                }
            })?;
        Ok(Self(jobs))
    }

    /// Puts a line at the end of the queue; never blocks.
    pub(crate) fn say(&self, line: Line) {
        // The thread ends only with the last sender.
        let _ = self.0.send(Job::Say(line));
    }

    /// Puts the error of a `main` or a server there, [in words](crate::words::in_words).
    pub(crate) fn say_error(&self, words: &str) {
        // As in `say`.
        let _ = self.0.send(Job::Error(words.into()));
    }

    /// Has every line from now on say which process it is of, because a log is shared over a restart.
    pub(crate) fn show_pid(&self) {
        // As in `say`.
        let _ = self.0.send(Job::ShowPid);
    }

    /// Waits until everything said so far is written, or for `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let (done, is_done) = mpsc::channel();
        let _ = self.0.send(Job::Flush(done));
        let _ = is_done.recv_timeout(limit);
    }
}

/// Prints an error of ours, as the standard library does for a `main` that returned it, on one line.
pub(crate) fn print_error(error: &impl Display) {
    print(&format!("Error: {}\n", one_line(error)));
}

/// Prints the error of a `main`, [in words](crate::words::in_words).
pub(crate) fn print_error_of_main(words: &str) {
    print(&format!("Error: {words}\n"));
}

/// Writes a line in one piece: the processes before and after this one write to the same place.
fn print(line: &str) {
    // A standard error that is closed or full is no reason to stop.
    let _ = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::Mutex;

    use tracing::field::Field;
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::with_default;
    use tracing::{Event, Metadata, Subscriber};

    use super::{Facts, Line};

    /// Collects the fields of events, as a subscriber that writes JSON does.
    struct Collect(Mutex<Vec<String>>);

    impl Subscriber for &'static Collect {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "graceful"
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut fields = vec![format!("level={}", event.metadata().level())];
            event.record(&mut |field: &Field, value: &dyn Debug| {
                fields.push(format!("{field}={value:?}"));
            });
            self.0.lock().unwrap().extend(fields);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn an_event_has_the_fields_that_apply() {
        static COLLECTED: Collect = Collect(Mutex::new(Vec::new()));
        let pid = format!("pid={}", std::process::id());
        let facts = Facts {
            phase: Some("draining"),
            reason: Some("SIGTERM".into()),
            cut: Some(2),
            ..Facts::default()
        };
        with_default(&COLLECTED, || {
            Line::info("plain").emit();
            Line::warn("bad").with(facts).emit();
        });
        let [plain_level, bad_level] = ["level=INFO", "level=WARN"];
        let expected = [
            plain_level,
            "message=plain",
            &pid,
            bad_level,
            "message=bad",
            &pid,
            "phase=\"draining\"",
            "reason=\"SIGTERM\"",
            "cut=2",
        ];
        assert_eq!(*COLLECTED.0.lock().unwrap(), expected);
    }
}
