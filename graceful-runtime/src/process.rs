//! The driver: the one place where phases, clock, signals and runtime meet.
//!
//! Two actors share a lifecycle. The *guardian* is a thread of our own that reads signals, owns the
//! phase and keeps the deadline, so that no blocked runtime can stop it; it never blocks on output.
//! The *story* runs on the calling thread: `main`, its servers, tasks, hooks, one after the other.
//!
//! 1. Signals are caught before the runtime is built and before any code of the user runs.
//! 2. Only the guardian changes the phase; the story tells it what happened and waits for the phase.
//! 3. Only the guardian ends the process, and only where the main thread could not (`Guardian::force`).

mod guardian;
mod moving;
mod pid_file;
mod signals;
mod start;
mod story;
mod succession;

use std::process::ExitCode;

use self::start::{Process, exit_on_panic};
use crate::config::Config;
use crate::output;
use crate::server::IntoServer;

pub(crate) use self::start::Afterwards;

impl Config {
    /// Runs `main` and the server that it returns, from start to the last destructor.
    ///
    /// `main` is polled on the calling thread and need not be [`Send`]; the server is spawned. The
    /// signal handlers are in place before anything of `main` runs.
    ///
    /// Returns 0 where the server drained or finished, 1 after an error, 101 after a panic, or the
    /// server's own code. Where the deadline passes (124) or a second INT comes (130, 0.3 s or more after the
    /// first), the process ends inside this call; where work was cut before the deadline so that hooks had their
    /// turn, 124 is returned. Until then the budget covers all of this call, with the
    /// runtime's destructors and blocking threads; what the caller does after it is the caller's own time.
    ///
    /// Its signals stay caught when it has returned, and are ignored until the next lifecycle: an operating
    /// system's default cannot be restored while other code may have handlers of its own.
    ///
    /// # Errors
    ///
    /// A lifecycle that cannot start says why on standard error and returns 1: a signal handler cannot be
    /// installed, a signal is in both lists, another lifecycle of the process listens to signals, or the call
    /// is inside a runtime. Where tokio gets no thread or no descriptor at the start, its panic is reported
    /// as an error, too, and ends the process with code 1; for that, the first call installs a panic hook,
    /// which passes all other panics on.
    ///
    /// ```
    /// use graceful::Config;
    ///
    /// let code = Config::new().signals([]).run(async {});
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// ```
    pub fn run<F, T, M>(self, main: F) -> ExitCode
    where
        F: Future<Output = T>,
        T: IntoServer<M>,
    {
        run(self, main, Afterwards::CallerGoesOn)
    }
}

pub(crate) fn run<F, T, M>(config: Config, main: F, afterwards: Afterwards) -> ExitCode
where
    F: Future<Output = T>,
    T: IntoServer<M>,
{
    match exit_on_panic(|| Process::start(&config, afterwards)) {
        Ok(process) => {
            if afterwards == Afterwards::ProcessEnds {
                process.lifecycle.occupy_process();
            }
            process.live(main, afterwards)
        }
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::process::ExitCode;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use crate::config::Config;

    #[test]
    fn what_main_returned_beside_a_failure_drains() {
        let failed = || Err::<Ready<()>, _>("no database");
        let serve = || async { crate::shutdown().await };
        let (done, codes) = mpsc::channel();
        thread::spawn(move || {
            let config = || Config::new().signals([]);
            for code in [
                config().run(async { (failed(), serve()) }),
                config().run(async { (serve(), failed()) }),
                config().run(async { (ExitCode::from(7), serve(), ExitCode::SUCCESS) }),
                config().run(async { (serve(), ready(ExitCode::from(7))) }),
            ] {
                done.send(code).unwrap();
            }
        });
        for code in [
            ExitCode::FAILURE,
            ExitCode::FAILURE,
            ExitCode::from(7),
            ExitCode::from(7),
        ] {
            let limit = Duration::from_secs(30);
            assert_eq!(codes.recv_timeout(limit), Ok(code));
        }
    }
}
