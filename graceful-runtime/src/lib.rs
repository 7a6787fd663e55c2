//! Start, restart, drain and stop a server process without losing a request.
//!
//! Annotate `main`, return the server:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! #[graceful::main(timeout = "5s", signals = [INT, TERM])]
//! async fn main() -> std::io::Result<impl graceful::Server> {
//!     let app = Router::new().route("/", get(|| async { "hello" }));
//!     let listener = graceful::bind("127.0.0.1:3000").await?;
//!     Ok(graceful::serve(listener, app))
//! }
//! ```
//!
//! # What is promised
//!
//! 1. Nothing the kernel accepted is lost: every request that reached this machine before the listener
//!    was closed is answered, in flight or still in the socket of an idle connection or in the accept
//!    queue.
//! 2. `timeout` is one budget from the first signal to the end of the process. A thread of its own
//!    enforces it, so no blocked runtime can outlive it; and every wait ends on an event, so nothing of
//!    it is wasted.
//! 3. A restart that fails never hurts the running server.
//! 4. The log and the exit code say what was waited for, and what was cut.
//! 5. Signals are handled before any code of `main` runs.
//!
//! # Where to look
//!
//! - [`main`](macro@main) is the attribute, [`Config`] the same without it.
//! - [`bind`](bind()) and [`serve()`] are the server; [`Server`] and [`IntoServer`] say what else `main` may
//!   return.
//! - [`shutdown()`], [`stop`], [`restart()`] and [`status()`] are for handlers and tasks, [`spawn`] for work
//!   that is waited for, [`on_drain`], [`on_stop`] and [`on_handover`] for what has to happen at the end.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | drained, finished, handed over, or stopped before it had started |
//! | 1 | `main` or a server returned an error, or the lifecycle could not start |
//! | 101 | `main` or a server panicked |
//! | 124 | the deadline passed; what was cut is in the log |
//! | 130 | a second Ctrl-C, 0.3 s or more after the first |
//!
//! Any other code is the one that your own server returned.
//!
//! # What you wrote, what you write
//!
//! | there | here |
//! |---|---|
//! | Go's `http.Server.Shutdown`, Gin's graceful-shutdown example: `signal.NotifyContext`, a goroutine, `srv.Shutdown(ctx)` with a timeout | `#[graceful::main(timeout = "5s")]` |
//! | fvbock/endless: `endless.ListenAndServe(addr, router)`; `kill -HUP` | `#[graceful::main(restart = [HUP])]`; hooks: [`on_drain`], [`on_stop`] |
//! | braintree/manners: `manners.ListenAndServe`, `manners.Close()`, `StartRoutine` | [`serve()`], [`stop`], [`spawn`] |
//! | tylerb/graceful: `graceful.Run(addr, 10*time.Second, mux)`, `ShutdownInitiated`, `ListenLimit` | `timeout = "10s"`, [`on_drain`], [`Serve::max_connections`] |
//! | facebookgo/grace: `gracehttp.Serve(servers...)`; `kill -USR2` | a tuple or `Vec` of [`serve()`]; `restart = [USR2]` |
//! | axum: `axum::serve(l, app).with_graceful_shutdown(signal())` | `graceful::serve(l, app)`, or as it is with [`shutdown()`] |
//!
//! # What it does not do
//!
//! HTTP/3, systems other than Linux, and moving connections to a successor. It sets up no logging: lines
//! go through `tracing` where a subscriber is set, else to standard error.
//!
//! # Features
//!
//! - `tls`: `Serve::tls`, with rustls.
//! - `adapt` (switched on by `axum` and `tonic`, too): the function `adapt`, which makes other frameworks'
//!   servers lossless from outside.
//! - `axum`: `Serve::connect_info` gives axum's `ConnectInfo`, too.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "graceful runs on Linux only: its hand-over and its listeners rest on system calls of Linux"
);

#[cfg(feature = "adapt")]
pub mod adapt;
mod bind;
mod config;
mod handover;
mod hooks;
mod lifecycle;
mod model;
mod net;
mod os;
mod output;
mod process;
mod restart;
mod serve;
mod server;
mod shutdown;
mod status;
mod tasks;
mod text;
mod timer;
mod words;

/// Turns an `async fn main` that returns a server into a process that starts, drains and stops.
///
/// # Options
///
/// All are optional. A duration is a literal such as `"5s"`, `"1m30s"`, `"500ms"`, which is read at
/// compile time, or any expression of type [`Duration`](std::time::Duration).
///
/// | option | default | meaning | the same by hand |
/// |---|---|---|---|
/// | `timeout = "5s"` | `"25s"` | the budget from the first signal to the exit | [`Config::timeout`] |
/// | `signals = [INT, TERM]` | `[INT, TERM]` | what starts the shutdown | [`Config::signals`] |
/// | `restart = [USR2]` | none | what starts a hand-over to a new process | [`Config::restart`] |
/// | `start_timeout = "20m"` | `"5m"` | how long a service manager is asked to wait for readiness | [`Config::start_timeout`] |
/// | `restart_timeout = "1m"` | `"30s"` | how long a successor may take to become ready before it is killed | [`Config::restart_timeout`] |
/// | `lame_duck = "2s"` | `"5s"` in Kubernetes, else `"0s"`; always `"0s"` for Ctrl-C on a terminal | how long connections are still accepted after the signal, with readiness off and `connection: close` on every response that ends a connection of HTTP/1; at most half of `timeout` | [`Config::lame_duck`] |
/// | `keep_alive_grace = "50ms"` | `"200ms"` | how long an idle connection may still bring a request in the drain, where the server was in use just before | [`Config::keep_alive_grace`] |
/// | `pid_file = "/run/app.pid"` | none | written when ready, handed over, removed at the end | [`Config::pid_file`] |
/// | `ready = manual` | when the servers accept | readiness is told by [`ready`], for those who warm up first | [`Config::manual_ready`] |
/// | `flavor = "current_thread"` | `"multi_thread"` | the tokio runtime, as in `#[tokio::main]` | [`Config::current_thread`] |
/// | `worker_threads = 4` | one for each core | its threads | [`Config::worker_threads`] |
/// | `crate = path::to::graceful` | `::graceful` | where the crate is, if it was renamed | |
///
/// Mistakes are reported all at once, each at its place and with the remedy.
///
/// # What `main` may return
///
/// Whatever is an [`IntoServer`]: a [`Server`], several as a tuple or `Vec`, nothing, or a `Result` of
/// these. The body stays as it is; the attribute only wraps the function.
///
/// # Example, and what it means
///
/// ```no_run
/// # use graceful::doc::app;
/// #[graceful::main(timeout = "5s", signals = [INT, TERM])]
/// async fn main() -> std::io::Result<impl graceful::Server> {
///     let listener = graceful::bind("127.0.0.1:3000").await?;
///     Ok(graceful::serve(listener, app()))
/// }
/// ```
///
/// ```no_run
/// # use graceful::doc::app;
/// fn main() -> std::process::ExitCode {
///     async fn main() -> std::io::Result<impl graceful::Server> {
///         let listener = graceful::bind("127.0.0.1:3000").await?;
///         Ok(graceful::serve(listener, app()))
///     }
///     graceful::Config::new()
///         .timeout(std::time::Duration::from_secs(5))
///         .signals([graceful::Signal::Int, graceful::Signal::Term])
///         .run(main())
/// }
/// ```
///
/// The one difference: under the attribute the deadline holds to the very end of the process, and with
/// [`Config::run`] to the end of that call.
pub use graceful_macros::main;

#[cfg(feature = "adapt")]
pub use self::adapt::adapt;
pub use self::bind::bind;
pub use self::config::Config;
pub use self::handover::error::RestartError;
pub use self::hooks::{on_drain, on_handover, on_stop};
pub use self::model::phase::Phase;
pub use self::model::signal::Signal;
pub use self::model::trigger::Reason;
pub use self::net::address::Address;
pub use self::net::listener::Listener;
pub use self::restart::{inherited_state, restart};
#[cfg(feature = "tls")]
pub use self::serve::Tls;
pub use self::serve::{IntoService, Serve, serve};
pub use self::server::{IntoServer, Outcome, Server};
pub use self::shutdown::{Shutdown, shutdown, stop};
pub use self::status::{Status, ready, status};
pub use self::tasks::spawn;

/// What expanded code calls.
#[doc(hidden)]
pub mod __private {
    use std::process::ExitCode;

    use crate::process::{self, Afterwards};
    use crate::{Config, IntoServer};

    /// Runs `main` to the end of the process.
    pub fn run<F, T, M>(main: F, config: Config) -> ExitCode
    where
        F: Future<Output = T>,
        T: IntoServer<M>,
    {
        process::run(config, main, Afterwards::ProcessEnds)
    }
}

/// What the examples of the documentation share.
#[doc(hidden)]
pub mod doc {
    use std::convert::Infallible;

    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Request, Response};

    use crate::serve::HttpService;

    /// A service that echoes.
    #[must_use]
    pub fn app() -> impl HttpService {
        service_fn(|request: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        })
    }
}

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../../README.md")]
struct Readme;
