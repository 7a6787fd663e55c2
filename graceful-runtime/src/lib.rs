//! Start, drain and stop a server process without losing a request.

mod budget;
mod config;
mod handover;
mod hooks;
mod lifecycle;
mod listener;
mod phase;
mod pid_file;
mod registry;
mod report;
mod run;
mod serve;
mod server;
mod service_manager;
mod shutdown;
mod signal;
mod status;
mod succession;
mod sys;
mod tasks;

pub use graceful_macros::main;

pub use self::config::Config;
pub use self::hooks::{on_drain, on_handover, on_stop};
pub use self::listener::{Address, Listener, bind};
pub use self::phase::Phase;
#[cfg(feature = "tls")]
pub use self::serve::Tls;
pub use self::serve::{IntoService, Serve, serve};
pub use self::server::{IntoServer, Server};
pub use self::shutdown::{Reason, Shutdown, shutdown, stop};
pub use self::signal::Signal;
pub use self::status::{Status, ready, status};
pub use self::succession::{RestartError, inherited_state, restart};
pub use self::tasks::spawn;

#[doc(hidden)]
pub mod __private {
    use std::process::ExitCode;

    use crate::run::{self, Afterwards};
    use crate::{Config, IntoServer};

    pub fn run<F, T, M>(main: F, config: Config) -> ExitCode
    where
        F: Future<Output = T>,
        T: IntoServer<M>,
    {
        run::run(config, main, Afterwards::ProcessEnds)
    }
}

/// What the examples of the documentation share.
#[doc(hidden)]
pub mod doc {
    use std::convert::Infallible;

    use hyper::Response;
    use hyper::body::Incoming;
    use hyper::service::service_fn;

    use crate::serve::HttpService;

    #[must_use]
    pub fn app() -> impl HttpService {
        service_fn(|request: hyper::Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        })
    }
}
