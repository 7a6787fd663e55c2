//! What a shutdown waits for, at one moment.

use std::fmt::{self, Display, Write as _};

use super::server::{Activity, View};
use super::{Lifecycle, ServingProcess};
use crate::model::phase::Phase;
use crate::text::{Span, count};

/// How many requests, tasks and hooks a line names before it counts the rest.
const NAMED_MAX: usize = 8;
/// How many bytes the names in a line may have, so that there is room for the rest of it.
const NAMES_MAX: usize = 280;

/// Everything that a shutdown waits for, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// In words, the oldest first.
    pub(crate) requests: Vec<String>,
    idle: usize,
    half_requests: usize,
    half_closed_streams: usize,
    /// Whose clients have not taken the whole of a response.
    untaken: Vec<String>,
    closing: usize,
    moving: usize,
    upgraded: Vec<String>,
    tasks: Vec<String>,
    hooks: Vec<String>,
    /// What listeners hold and cannot accept, with how many connections that is.
    backlogs: Vec<String>,
    queued: usize,
    /// What there is to wait for where nothing can be named.
    unseen: Unseen,
}

/// What nobody can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Unseen {
    /// Destructors and blocking threads, when the hooks are done.
    Threads,
    /// `main`, when everything else is done.
    BlockedMain,
    BlockedStartUp,
    Successor,
    LameDuck,
    /// So many servers of others that have not ended.
    Servers(usize),
    /// `main`, which waits for the shutdown.
    Main,
    /// `main`, which does not.
    DeafMain,
    #[default]
    IdleServers,
}

impl Unseen {
    fn of(lifecycle: &Lifecycle) -> Self {
        let is_over = lifecycle.is_started();
        let seen = lifecycle.serving.len();
        match lifecycle.phase() {
            Phase::Stopping | Phase::Stopped if is_over => Self::Threads,
            Phase::Stopping | Phase::Stopped => Self::BlockedMain,
            _ if !is_over && lifecycle.is_start_up_cancelled() => Self::BlockedStartUp,
            _ if lifecycle.serving_process() == ServingProcess::Undecided => Self::Successor,
            Phase::LameDuck => Self::LameDuck,
            _ => match lifecycle.running_servers().saturating_sub(seen) {
                0 if is_over => Self::IdleServers,
                0 if lifecycle.is_awaited() => Self::Main,
                0 => Self::DeafMain,
                servers => Self::Servers(servers),
            },
        }
    }
}

impl Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threads => "destructors or blocking threads",
            Self::BlockedMain => "`main`, which blocks its thread",
            Self::BlockedStartUp => "the start-up, which blocks its thread",
            Self::Successor => "the successor, which is being stopped",
            Self::LameDuck => "the end of the lame duck",
            Self::Servers(servers) => {
                let servers = count(*servers, "server");
                return write!(
                    f,
                    "{servers} not returned; what requests there are cannot be seen from here"
                );
            }
            Self::Main => "`main`, which has asked for the shutdown and has not returned",
            Self::DeafMain => {
                "`main`, which has neither returned nor asked for `graceful::shutdown()`"
            }
            Self::IdleServers => {
                "the servers, which have no connections; is a thread of the runtime blocked?"
            }
        })
    }
}

impl Census {
    pub(crate) fn take(lifecycle: &Lifecycle) -> Self {
        let servers = lifecycle.serving.members();
        let mut census = Self {
            unseen: Unseen::of(lifecycle),
            ..Self::default()
        };
        let connections = servers.iter().map(|server| server.connections());
        let mut connections: Vec<_> = connections.flatten().collect();
        connections.sort_by_key(|connection| connection.accepted);
        for connection in connections {
            census.add_connection(connection);
        }
        for backlog in servers.iter().filter_map(|server| server.backlog()) {
            census.queued += backlog.length;
            let connections = count(backlog.length, "connection");
            census.backlogs.push(format!(
                "{connections} in the queue of {}: {}",
                backlog.listener, backlog.error
            ));
        }
        for task in lifecycle.tasks.members() {
            let age = Span(task.started.elapsed());
            census
                .tasks
                .push(format!("the one spawned at {}, {age} old", task.location));
        }
        for location in lifecycle.hooks.running() {
            census
                .hooks
                .push(format!("the one registered at {location}"));
        }
        census
    }

    fn add_connection(&mut self, connection: View) {
        let peer = connection.peer;
        match connection.activity {
            Activity::Busy => {}
            Activity::Upgraded(by) => {
                let age = Span(connection.accepted.elapsed());
                self.upgraded.push(format!("{by} from {peer}, {age} old"));
            }
            Activity::Owing => {
                let what = format!("one or more whose responses {peer} does not read");
                self.requests.push(what);
            }
            Activity::Idle => self.idle += 1,
            Activity::HalfRequest => self.half_requests += 1,
            Activity::HalfClosed(streams) => self.half_closed_streams += streams,
            Activity::Untaken => self.untaken.push(peer.to_string()),
            Activity::Closing => self.closing += 1,
            Activity::Moving => self.moving += 1,
        }
        for request in connection.requests {
            let age = Span(request.started.elapsed());
            let kind = match request.is_upgraded {
                true => &mut self.upgraded,
                false => &mut self.requests,
            };
            kind.push(format!("{request} from {peer}, {age} old"));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.work() == 0 && self.connections().next().is_none()
    }

    /// Returns how much there is that somebody waits for.
    pub(crate) fn work(&self) -> usize {
        let named: usize = self.kinds().iter().map(|(names, _)| names.len()).sum();
        named + self.queued
    }

    /// Counts connections that have no request in flight, by what they do; in words.
    fn connections(&self) -> impl Iterator<Item = String> {
        let kinds = [
            (self.half_requests, "half request", ""),
            (self.half_closed_streams, "half-closed stream", ""),
            (self.untaken.len(), "connection", " with unread data"),
            (self.closing, "closing connection", ""),
            (self.moving, "connection", " that the successor is to take"),
            (self.idle, "idle connection", ""),
        ];
        let those = kinds.into_iter().filter(|(number, ..)| *number > 0);
        those.map(|(number, kind, rest)| format!("{}{rest}", count(number, kind)))
    }

    fn kinds(&self) -> [(&Vec<String>, &'static str); 4] {
        [
            (&self.requests, "request"),
            (&self.upgraded, "upgraded connection"),
            (&self.tasks, "task"),
            (&self.hooks, "hook"),
        ]
    }

    /// Names everything, as far as there is room in a line.
    pub(super) fn named(&self) -> String {
        let mut parts = Vec::new();
        let mut room = NAMES_MAX;
        for (names, kind) in self.kinds() {
            if names.is_empty() {
                continue;
            }
            let named = first(names, &mut room);
            let mut part = count(names.len(), kind);
            if !named.is_empty() {
                let _ = write!(part, ": {}", named.join(", "));
            }
            match names.len() - named.len() {
                more @ 1.. if !named.is_empty() => {
                    let _ = write!(part, " and {more} more");
                }
                _ => {}
            }
            parts.push(part);
        }
        parts.extend(first(&self.backlogs, &mut room).iter().cloned());
        parts.extend(self.connections());
        let untaken = first(&self.untaken, &mut room);
        if !untaken.is_empty() {
            parts.push(format!("unread by {}", untaken.join(", ")));
        }
        if parts.is_empty() {
            parts.push(self.unseen.to_string());
        }
        parts.join("; ")
    }
}

/// Returns the first of `names` that fit into `room`, which gets less by them.
fn first<'a>(names: &'a [String], room: &mut usize) -> &'a [String] {
    let mut fits = 0;
    for name in names.iter().take(NAMED_MAX) {
        let Some(left) = room.checked_sub(name.len()) else {
            break;
        };
        *room = left;
        fits += 1;
    }
    &names[..fits]
}

/// Counts everything, as in ` 2 requests, 5 idle connections`.
impl Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_words = |(number, kind)| (number > 0).then(|| count(number, kind));
        let [requests, rest @ ..] = self
            .kinds()
            .map(|(names, kind)| in_words((names.len(), kind)));
        let queued = in_words((self.queued, "queued connection"));
        let rest = rest.into_iter().chain([queued]).flatten();
        let all: Vec<_> = requests
            .into_iter()
            .chain(self.connections())
            .chain(rest)
            .collect();
        if !all.is_empty() {
            write!(f, " {}", all.join(", "))?;
        }
        Ok(())
    }
}
