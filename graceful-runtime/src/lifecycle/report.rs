//! What a person reads: one line for each fact.
//!
//! Everything is read from the lifecycle and put into words here, so that the wording has one place.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal};
use std::panic::Location;
use std::path::Path;
use std::time::{Duration, Instant};

use super::census::Census;
use super::{Lifecycle, Successor};
use crate::model::signal::Signal;
use crate::model::trigger::{Reason, Trigger};
use crate::os::shortage::Shortage;
use crate::output::{Facts, Line};
use crate::text::{Span, count, printable};

/// How many bytes the cause in a line may have, so that there is room for what follows from it.
const CAUSE_MAX: usize = 200;

/// Returns what is known of a shutdown.
fn facts_of(lifecycle: &Lifecycle) -> Facts {
    let left = |trigger: Trigger| trigger.budget.remaining(Instant::now()).as_millis();
    let left = lifecycle.trigger().map(left);
    Facts {
        phase: Some(lifecycle.phase().name()),
        reason: lifecycle
            .trigger()
            .map(|trigger| trigger.reason.to_string()),
        finished: Some(lifecycle.tally.finished()),
        left_ms: left.map(|left| u64::try_from(left).unwrap_or(u64::MAX)),
        ..Facts::default()
    }
}

pub(crate) fn listening(address: &impl Display) -> Line {
    Line::info(format!("listening on {address}"))
}

/// The first line of a shutdown; none where a server ended by itself and nothing is left.
pub(crate) fn draining(lifecycle: &Lifecycle, reason: Reason) -> Option<Line> {
    let census = Census::take(lifecycle);
    if !reason.is_request() && census.is_empty() {
        return None;
    }
    let lame_duck = lifecycle.trigger().map(|trigger| trigger.lame_duck);
    let reason_given = given(lifecycle, reason);
    let mut text = match lame_duck.unwrap_or_default() {
        Duration::ZERO => format!("{reason_given} draining{census}"),
        more => format!(
            "{reason_given} accepting for {} more, then draining{census}",
            Span(more)
        ),
    };
    if let Some(trigger) = lifecycle.trigger() {
        let _ = write!(text, "; at most {}", Span(trigger.budget.timeout()));
    }
    if reason == Reason::Signal(Signal::Int) && io::stderr().is_terminal() {
        text.push_str(" (Ctrl-C again to stop now)");
    }
    let facts = Facts {
        requests: Some(census.requests.len()),
        ..facts_of(lifecycle)
    };
    Some(Line::info(text).with(facts))
}

/// Returns the reason as a line begins with it; of a failure, what has failed and why.
fn given(lifecycle: &Lifecycle, reason: Reason) -> String {
    let error = lifecycle.error().filter(|_| reason == Reason::Failed);
    match error.and_then(|error| error.lines().next()) {
        Some(error) => format!("{};", printable(error, CAUSE_MAX)),
        None => format!("{reason}:"),
    }
}

/// Says which of the servers has failed, and why if that is known; in as many lines as that has.
pub(crate) fn server_failed(number: usize, count: usize, how: &str, why: Option<&str>) -> String {
    let server = match count {
        1 => "the server".into(),
        _ => format!("server {number} of {count}"),
    };
    match why {
        Some(why) => format!("{server} {how}: {why}"),
        None => format!("{server} {how}"),
    }
}

pub(crate) fn cancelled(reason: Reason) -> Line {
    Line::info(format!(
        "{reason}: the start-up is cancelled: `main` has neither returned nor asked for `graceful::shutdown()`"
    ))
}

pub(crate) fn panicked(location: &Location<'_>) -> Line {
    Line::warn(format!("the tracked task spawned at {location} panicked"))
}

pub(crate) fn pid_file_not_written(path: &Path, error: &io::Error) -> Line {
    let name = match path.as_os_str().is_empty() {
        true => String::new(),
        false => format!(" `{}`", path.display()),
    };
    let remedy = remedy_for_pid_file(path, error);
    Line::warn(format!(
        "failed to write the pid file{name}: {error}; {remedy}"
    ))
}

/// Says what a person can do, by the kind of the error: asking the file system again might take its time.
fn remedy_for_pid_file(path: &Path, error: &io::Error) -> String {
    if let Some(shortage) = Shortage::of(error) {
        return shortage.remedy().into();
    }
    // Who reads it need not know where the process was started.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let directory = absolute.parent().unwrap_or(&absolute).display();
    match error.kind() {
        io::ErrorKind::InvalidInput if path.as_os_str().is_empty() => {
            "name a file, as in `/run/server.pid`, or look for a variable that is empty".into()
        }
        io::ErrorKind::InvalidInput => "name a file, as in `/run/server.pid`".into(),
        io::ErrorKind::IsADirectory => {
            let file = absolute.join("server.pid");
            format!("name a file in it, as in `{}`", file.display())
        }
        io::ErrorKind::NotFound => format!(
            "create the directory `{directory}` (under systemd `RuntimeDirectory=` does) or choose another path"
        ),
        io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(libc::EPERM) => format!(
            "another user's file may be there, which nobody else may replace in `{directory}`; choose another path"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("let this user write to the directory `{directory}` or choose another path")
        }
        io::ErrorKind::NotADirectory => {
            format!("`{directory}` is no directory: choose another path")
        }
        io::ErrorKind::ReadOnlyFilesystem => format!(
            "`{directory}` can only be read (under systemd `ReadWritePaths=` changes that): choose another path, such as below /run"
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("make room in `{directory}` or choose another path")
        }
        io::ErrorKind::TimedOut => format!(
            "`{directory}` does not answer in time: choose a path on this machine, such as below /run"
        ),
        _ => format!("check the directory `{directory}`"),
    }
}

/// Of a file that named a process which runs: that, or what has got the id of one that has ended.
pub(crate) fn pid_file_taken(path: &Path, pid: u32) -> Line {
    Line::warn(format!(
        "the pid file `{}` named process {pid}, which still runs, and names this one now; if that is another instance, \
         give each a file of its own",
        path.display()
    ))
}

pub(crate) fn pid_file_left(path: &Path, error: &io::Error) -> Line {
    let path = path.display();
    Line::warn(format!(
        "failed to remove the pid file `{path}`: {error}; remove it, as it names no server any more"
    ))
}

/// Of a signal that was ignored when the process was started, and stays so.
pub(crate) fn ignored(signal: Signal, what: &str) -> Line {
    Line::warn(format!(
        "{signal} {what} nothing here: whoever started this process, such as nohup, has it ignored"
    ))
}

pub(crate) fn repeated(signal: Signal, trigger: Trigger) -> Line {
    let left = Span(trigger.budget.remaining(Instant::now()));
    let again = match trigger.reason {
        Reason::Signal(first) if first == signal => " again",
        _ => "",
    };
    let hint = match signal {
        Signal::Int if io::stderr().is_terminal() => " (Ctrl-C again to stop now)",
        _ => "",
    };
    Line::info(format!(
        "{signal}{again}: already stopping; {left} left{hint}"
    ))
}

/// The line for the service manager.
pub(crate) fn status(lifecycle: &Lifecycle, left: Duration) -> String {
    match lifecycle.error() {
        Some(error) => format!("failed: {error}"),
        None => format!("draining{}; {} left", Census::take(lifecycle), Span(left)),
    }
}

pub(crate) fn restarting(path: &str) -> Line {
    Line::info(format!("restarting: starting {path}"))
}

pub(crate) fn handed_over(pid: u32) -> Line {
    let facts = Facts {
        successor: Some(pid),
        ..Facts::default()
    };
    Line::info(format!("handed over to process {pid}")).with(facts)
}

pub(crate) fn moved(connections: usize, pid: u32) -> Line {
    let connections = count(connections, "idle connection");
    Line::info(format!("moved {connections} to process {pid}")).with(Facts {
        successor: Some(pid),
        ..Facts::default()
    })
}

pub(crate) fn taken_back(connections: usize, pid: u32) -> Line {
    let connections = count(connections, "connection");
    Line::warn(format!(
        "took {connections} back that process {pid} did not take; they end here"
    ))
    .with(Facts {
        successor: Some(pid),
        ..Facts::default()
    })
}

pub(crate) fn restart_failed(error: &impl Display) -> Line {
    Line::warn(format!("restart failed: {error}; this process serves on"))
}

pub(crate) fn restart_refused(error: &impl Display) -> Line {
    Line::warn(format!("restart failed: {error}"))
}

pub(crate) fn lost(pid: u32, end: &impl Display, is_failure: bool) -> Line {
    let facts = Facts {
        successor: Some(pid),
        ..Facts::default()
    };
    let text = format!("the successor (process {pid}) {end} while this process was draining");
    match is_failure {
        true => Line::warn(text),
        false => Line::info(text),
    }
    .with(facts)
}

pub(crate) fn waiting(lifecycle: &Lifecycle, trigger: Trigger) -> Line {
    let left = trigger.budget.remaining(Instant::now());
    let census = Census::take(lifecycle);
    let names = census.named();
    let facts = Facts {
        requests: Some(census.requests.len()),
        ..facts_of(lifecycle)
    };
    Line::info(format!("waiting for {names}; {} left", Span(left))).with(facts)
}

pub(crate) fn cut_off(lifecycle: &Lifecycle, census: &Census, trigger: Trigger) -> Line {
    let spent = trigger.budget.begin().elapsed();
    Line::warn(format!(
        "{} are used up, the rest belongs to the hooks: cutting {}",
        Span(spent),
        census.named()
    ))
    .with(Facts {
        requests: Some(census.requests.len()),
        cut: Some(census.work()),
        ..facts_of(lifecycle)
    })
}

pub(crate) fn deadline(lifecycle: &Lifecycle, trigger: Trigger) -> Line {
    forced(
        lifecycle,
        &format!(
            "the deadline of {} is reached",
            Span(trigger.budget.timeout())
        ),
    )
}

pub(crate) fn interrupted(lifecycle: &Lifecycle) -> Line {
    forced(lifecycle, "SIGINT again: stopping now")
}

fn forced(lifecycle: &Lifecycle, why: &str) -> Line {
    let census = Census::take(lifecycle);
    let names = census.named();
    let counts = lifecycle.tally.counts(census.work());
    Line::warn(format!("{why}: cutting {names}; {counts}")).with(Facts {
        requests: Some(census.requests.len()),
        cut: Some(census.work()),
        ..facts_of(lifecycle)
    })
}

/// The last line; none where nothing was ever said of a shutdown.
pub(crate) fn stopped(lifecycle: &Lifecycle) -> Option<Line> {
    let trigger = lifecycle.trigger()?;
    let is_by_itself = matches!(trigger.reason, Reason::Finished | Reason::Failed);
    let cut = lifecycle.cut_count();
    if is_by_itself && !lifecycle.is_told() && lifecycle.tally.ended() + cut == 0 {
        return None;
    }
    let spent = Span(trigger.budget.begin().elapsed());
    let mut text = match lifecycle.successor() {
        Some(Successor::Serves(pid)) => {
            format!("process {pid} serves; this one drained in {spent}")
        }
        Some(Successor::Ended(pid)) => {
            format!("process {pid} took over and has ended since; this one drained in {spent}")
        }
        Some(Successor::Lost(pid)) => {
            format!("process {pid} was to serve and is lost; this one drained in {spent}")
        }
        None => format!("stopped in {spent}"),
    };
    let _ = match lifecycle.tally.ended() + cut {
        0 => write!(text, ": no request was in flight"),
        _ => write!(text, ": {}", lifecycle.tally.counts(cut)),
    };
    match lifecycle.tally.moved() {
        0 => {}
        moved => {
            let _ = write!(text, ", {} moved", count(moved, "connection"));
        }
    }
    let is_bad = cut > 0 || matches!(lifecycle.successor(), Some(Successor::Lost(_)));
    let line = match is_bad {
        false => Line::info(text),
        true => Line::warn(text),
    };
    Some(line.with(Facts {
        cut: Some(cut),
        successor: match lifecycle.successor() {
            Some(Successor::Serves(pid)) => Some(pid),
            _ => None,
        },
        ..facts_of(lifecycle)
    }))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    use super::{pid_file_not_written, stopped};
    use crate::lifecycle::surroundings::Surroundings;
    use crate::lifecycle::{Lifecycle, Settings};
    use crate::model::trigger::{LameDuck, Reason};

    #[test]
    fn who_says_that_it_drains_says_how_that_ended() {
        for (reason, is_told, has_last_line) in [
            (Reason::Failed, false, false),
            (Reason::Failed, true, true),
            (Reason::Finished, false, false),
            (Reason::HandedOver, false, true),
            (Reason::Call, true, true),
        ] {
            let (lifecycle, _) = Lifecycle::new(Settings::default(), Surroundings::default());
            let none = LameDuck::Chosen(Duration::ZERO);
            lifecycle.set_trigger(reason, Duration::from_secs(1), none);
            if is_told {
                lifecycle.set_told();
            }
            let line = stopped(&lifecycle);
            assert_eq!(line.is_some(), has_last_line, "{reason} {is_told}");
        }
    }

    #[test]
    fn a_pid_file_that_cannot_be_written_has_a_remedy() {
        let os = io::Error::from_raw_os_error;
        for (path, error, said) in [
            (
                "",
                io::ErrorKind::InvalidInput.into(),
                "name a file, as in `/run/server.pid`",
            ),
            (
                "/run",
                os(libc::EISDIR),
                "name a file in it, as in `/run/server.pid`",
            ),
            (
                "/run/a/b",
                os(libc::ENOENT),
                "create the directory `/run/a`",
            ),
            (
                "/run/a/b",
                os(libc::EACCES),
                "let this user write to the directory `/run/a`",
            ),
            (
                "/tmp/b",
                os(libc::EPERM),
                "another user's file may be there",
            ),
            ("/a/b", os(libc::ENOTDIR), "`/a` is no directory"),
            ("/a/b", os(libc::EROFS), "`/a` can only be read"),
            ("/a/b", os(libc::ENOSPC), "make room in `/a`"),
            ("/a/b", os(libc::EDQUOT), "make room in `/a`"),
            ("/a/b", os(libc::EMFILE), "raise the limit of open files"),
            (
                "/a/b",
                io::ErrorKind::TimedOut.into(),
                "`/a` does not answer in time",
            ),
            ("/a/b", os(libc::EIO), "check the directory `/a`"),
        ] {
            let line = pid_file_not_written(Path::new(path), &error);
            let remedy = line.text().split("; ").nth(1).unwrap();
            assert!(remedy.starts_with(said), "{}", line.text());
        }
        let here = std::env::current_dir().unwrap();
        let line = pid_file_not_written(Path::new("b"), &os(libc::EACCES));
        assert!(
            line.text().contains(here.to_str().unwrap()),
            "{}",
            line.text()
        );
    }
}
