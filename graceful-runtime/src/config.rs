//! What a user can choose, as a value.

use std::path::PathBuf;
use std::time::Duration;

use crate::lifecycle::Settings;
use crate::model::signal::Signal;

/// The settings of one lifecycle: the way without the attribute.
///
/// Use it where a setting is known only at run time; [`#[graceful::main]`](macro@crate::main) writes
/// down the same calls.
///
/// ```no_run
/// use std::process::ExitCode;
/// use std::time::Duration;
/// use graceful::{Config, Signal};
///
/// fn main() -> ExitCode {
///     Config::new()
///         .timeout(Duration::from_secs(5))
///         .signals([Signal::Int, Signal::Term])
///         .run(async {
///             let listener = graceful::bind("127.0.0.1:3000").await?;
///             Ok::<_, std::io::Error>(graceful::serve(listener, app()))
///         })
/// }
/// # use graceful::doc::app;
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) timeout: Duration,
    pub(crate) signals: Vec<Signal>,
    pub(crate) restart: Vec<Signal>,
    pub(crate) start_timeout: Duration,
    pub(crate) restart_timeout: Duration,
    pub(crate) lame_duck: Option<Duration>,
    pub(crate) keep_alive_grace: Duration,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) is_ready_manual: bool,
    pub(crate) flavor: Flavor,
    pub(crate) worker_threads: Option<usize>,
}

/// Which of tokio's runtimes is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    MultiThread,
    CurrentThread,
}

impl Config {
    /// Creates the default settings.
    ///
    /// ```
    /// let config = graceful::Config::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            // Leaves Kubernetes' 30 s (terminationGracePeriodSeconds) some room.
            timeout: Duration::from_secs(25),
            signals: vec![Signal::Int, Signal::Term],
            restart: Vec::new(),
            start_timeout: Duration::from_secs(5 * 60),
            restart_timeout: Duration::from_secs(30),
            lame_duck: None,
            keep_alive_grace: Settings::default().keep_alive_grace,
            pid_file: None,
            is_ready_manual: Settings::default().is_ready_manual,
            flavor: Flavor::MultiThread,
            worker_threads: None,
        }
    }

    /// Sets the budget from the first signal to the end of the process (25 s).
    ///
    /// Zero ends the process at once.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let config = graceful::Config::new().timeout(Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the signals that start the shutdown (INT and TERM).
    ///
    /// With none, only [`stop`](crate::stop) or a finished server does, and such a lifecycle may run
    /// beside others in one process, as in tests.
    ///
    /// ```
    /// use graceful::{Config, Signal};
    ///
    /// let config = Config::new().signals([Signal::Term, Signal::Quit]);
    /// ```
    #[must_use]
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.signals = signals.into_iter().collect();
        self
    }

    /// Sets the signals that hand over to a new process (none).
    ///
    /// ```
    /// use graceful::{Config, Signal};
    ///
    /// let config = Config::new().restart([Signal::Usr2]);
    /// ```
    #[must_use]
    pub fn restart(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.restart = signals.into_iter().collect();
        self
    }

    /// Sets how long a service manager is asked to wait for readiness (5 minutes).
    ///
    /// As long as the start takes and the process lives, but no longer than this, systemd is asked for more time
    /// than its `TimeoutStartSec=` (`EXTEND_TIMEOUT_USEC` in sd_notify(3)). Where there is no service manager,
    /// nobody waits and nothing ends a long start.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let config = graceful::Config::new().start_timeout(Duration::from_secs(20 * 60));
    /// ```
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Sets how long a successor may take to become ready before it is killed (30 s).
    ///
    /// ```
    /// # use std::time::Duration;
    /// let config = graceful::Config::new().restart_timeout(Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn restart_timeout(mut self, timeout: Duration) -> Self {
        self.restart_timeout = timeout;
        self
    }

    /// Sets how long connections are still accepted after the signal.
    ///
    /// Meanwhile readiness is off and every response that ends a connection of HTTP/1 says `connection: close`. By default 5 s where
    /// `KUBERNETES_SERVICE_HOST` is set, because endpoints are removed there while the signal is on its
    /// way, else 0 s; 0 s also for Ctrl-C on a terminal. Never more than half of the [`timeout`](Self::timeout),
    /// and only where the shutdown was asked for: not where a server has failed, or a successor accepts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let config = graceful::Config::new().lame_duck(Duration::from_secs(2));
    /// ```
    #[must_use]
    pub fn lame_duck(mut self, lame_duck: Duration) -> Self {
        self.lame_duck = Some(lame_duck);
        self
    }

    /// Sets how long an idle connection may still bring a request once the drain has begun (200 ms).
    ///
    /// It is the only wait that an idle connection may cost: from the beginning of the drain where the server was
    /// in use within that time before, from the accept for one that is new. Else idle connections are closed
    /// at once.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let config = graceful::Config::new().keep_alive_grace(Duration::from_millis(50));
    /// ```
    #[must_use]
    pub fn keep_alive_grace(mut self, grace: Duration) -> Self {
        self.keep_alive_grace = grace;
        self
    }

    /// Sets the file that holds the process id while the servers run (none).
    ///
    /// ```
    /// let config = graceful::Config::new().pid_file("/run/app.pid");
    /// ```
    #[must_use]
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.pid_file = Some(path.into());
        self
    }

    /// Makes the process ready when it calls [`ready`](crate::ready), for those who warm up first, and not
    /// when the servers accept.
    ///
    /// A successor takes over, and a service manager learns of the start, only then.
    ///
    /// ```
    /// let config = graceful::Config::new().manual_ready();
    /// ```
    #[must_use]
    pub fn manual_ready(mut self) -> Self {
        self.is_ready_manual = true;
        self
    }

    /// Runs everything on the main thread, as tokio's `flavor = "current_thread"`.
    ///
    /// Signals and the deadline keep a thread of their own.
    ///
    /// ```
    /// let config = graceful::Config::new().current_thread();
    /// ```
    #[must_use]
    pub fn current_thread(mut self) -> Self {
        self.flavor = Flavor::CurrentThread;
        self
    }

    /// Sets the number of worker threads of the runtime (one for each core).
    ///
    /// ```
    /// let config = graceful::Config::new().worker_threads(4);
    /// ```
    #[must_use]
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.worker_threads = Some(threads);
        self
    }
}

impl Config {
    /// Returns what the lifecycle itself has to know.
    pub(crate) fn of_lifecycle(&self) -> Settings {
        Settings {
            keep_alive_grace: self.keep_alive_grace,
            is_ready_manual: self.is_ready_manual,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
