//! What `main` may return.

use std::convert::Infallible;
use std::fmt::Debug;
use std::pin::Pin;
use std::process::ExitCode;

use crate::lifecycle::Lifecycle;
use crate::output;
use crate::words::in_words;

/// A server: a future, or what turns into one, that ends when the shutdown lets it.
///
/// The bound to name in the signature of `main`. Everything that can be awaited is a server:
/// [`serve`](crate::serve()), `axum::serve(..).with_graceful_shutdown(graceful::shutdown())`, tonic's
/// `serve_with_shutdown`, an `async` block.
///
/// ```no_run
/// #[graceful::main]
/// async fn main() -> std::io::Result<impl graceful::Server> {
///     let listener = graceful::bind("127.0.0.1:3000").await?;
///     Ok(graceful::serve(listener, app()))
/// }
/// # use graceful::doc::app;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a server",
    label = "this cannot be run as a server",
    note = "a server is a future, or turns into one: `graceful::serve(listener, service)`, or \
            `axum::serve(..).with_graceful_shutdown(graceful::shutdown())`",
    note = "the future has to be `Send + 'static`, and what it returns has to be `()`, \
            `Result<(), E>` with `E: Debug`, or an `ExitCode`",
    note = "several servers are `Vec<impl graceful::Server>` or \
            `(impl graceful::Server, impl graceful::Server)` in the signature"
)]
pub trait Server: IntoFuture<Output: Outcome, IntoFuture: Send + 'static> {}

impl<T> Server for T where T: IntoFuture<Output: Outcome, IntoFuture: Send + 'static> {}

/// What a [`Server`] may return: `()`, an [`ExitCode`], or a [`Result`] of one of these.
///
/// Like the standard library's [`Termination`](std::process::Termination), but an error is printed with the
/// server that it comes from. An error type has to be [`Debug`], and that is how it is printed, but for an
/// [`io::Error`](std::io::Error), which is a sentence.
///
/// ```
/// async fn collect() -> Result<(), &'static str> {
///     Err("no clock")
/// }
///
/// // Prints `Error: the server failed: no clock`.
/// let code = graceful::Config::new().signals([]).run(async { (collect(),) });
/// assert_eq!(code, std::process::ExitCode::FAILURE);
/// ```
#[diagnostic::on_unimplemented(
    message = "a server cannot return `{Self}`",
    label = "not what a server may return",
    note = "what a server returns has to be `()`, `Result<(), E>` with `E: Debug`, or an `ExitCode`"
)]
pub trait Outcome {
    /// Tells whether the server has failed.
    #[doc(hidden)]
    fn check(self) -> Result<(), Failure>;
}

/// How a server has failed.
#[doc(hidden)]
#[derive(Debug)]
pub struct Failure {
    pub(crate) code: ExitCode,
    /// The error, in words, where there is one.
    pub(crate) error: Option<String>,
}

impl Outcome for () {
    fn check(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Outcome for ExitCode {
    fn check(self) -> Result<(), Failure> {
        match self == Self::SUCCESS {
            true => Ok(()),
            false => Err(Failure {
                code: self,
                error: None,
            }),
        }
    }
}

impl<T: Outcome, E: Debug> Outcome for Result<T, E> {
    fn check(self) -> Result<(), Failure> {
        match self {
            Ok(outcome) => outcome.check(),
            Err(error) => Err(Failure {
                code: ExitCode::FAILURE,
                error: Some(in_words(&error)),
            }),
        }
    }
}

impl Outcome for Infallible {
    fn check(self) -> Result<(), Failure> {
        match self {}
    }
}

impl Outcome for Never {
    fn check(self) -> Result<(), Failure> {
        self
    }
}

/// `!`, the type of an `async` block that loops for ever, by another name: this one is stable.
type Never = <fn() -> ! as Returns>::Type;

/// A function, by what it returns.
#[doc(hidden)]
pub trait Returns {
    type Type;
}

impl<T> Returns for fn() -> T {
    type Type = T;
}

/// What `main` may return: a [`Server`], several as a tuple or [`Vec`], nothing, an
/// [`ExitCode`], or a [`Result`] of one of these.
///
/// `M` only tells the implementations apart and is always inferred.
///
/// ```no_run
/// #[graceful::main]
/// async fn main() -> std::io::Result<(impl graceful::Server, impl graceful::Server)> {
///     let public = graceful::bind("0.0.0.0:3000").await?;
///     let admin = graceful::bind("127.0.0.1:3001").await?;
///     Ok((graceful::serve(public, app()), graceful::serve(admin, app()).drain_last()))
/// }
/// # use graceful::doc::app;
/// ```
#[diagnostic::on_unimplemented(
    message = "`#[graceful::main]` cannot run what `main` returned: `{Self}` is not a server",
    label = "neither a server nor a `Result` of one",
    note = "return `graceful::serve(listener, service)`, any other future that serves, a tuple or a \
            `Vec` of these, `()`, or a `Result` of one of these",
    note = "a server's future has to be `Send + 'static`, and what it returns has to be `()`, \
            `Result<(), E>` or an `ExitCode`; every error type `E` has to be `Debug`"
)]
pub trait IntoServer<M> {
    /// Hands the servers over to be run.
    #[doc(hidden)]
    fn add_to(self, servers: &mut Servers);
}

/// A server that runs when it is polled.
type ServerFuture = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// The servers that `main` returned, and its error if it returned one.
#[derive(Default)]
pub struct Servers {
    pub(crate) futures: Vec<ServerFuture>,
    /// The exit code of a `main` that has ended, where it is not success.
    pub(crate) failure: Option<ExitCode>,
    /// The error that `main` returned, in words.
    pub(crate) error: Option<String>,
}

impl Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers")
            .field("count", &self.futures.len())
            .finish_non_exhaustive()
    }
}

/// The markers of the implementations.
#[allow(
    missing_debug_implementations,
    missing_docs,
    reason = "never built, never named"
)]
pub(crate) mod marker {
    pub enum Future {}
    pub enum Nothing {}
    pub enum Code {}
    pub struct Fallible<M>(M);
    pub struct All<M>(M);
}

impl<T> IntoServer<marker::Future> for T
where
    T: IntoFuture<Output: Outcome, IntoFuture: Send + 'static>,
{
    fn add_to(self, servers: &mut Servers) {
        let server = self.into_future();
        servers
            .futures
            .push(Box::pin(async move { server.await.check() }));
    }
}

impl IntoServer<marker::Nothing> for () {
    fn add_to(self, _: &mut Servers) {}
}

impl IntoServer<marker::Code> for ExitCode {
    fn add_to(self, servers: &mut Servers) {
        if self != Self::SUCCESS {
            servers.failure.get_or_insert(self);
        }
    }
}

impl<T, E, M> IntoServer<marker::Fallible<M>> for Result<T, E>
where
    T: IntoServer<M>,
    E: Debug,
{
    fn add_to(self, servers: &mut Servers) {
        match self {
            Ok(server) => server.add_to(servers),
            Err(error) => {
                let error = in_words(&error);
                match Lifecycle::current() {
                    Some(lifecycle) => lifecycle.say_error(&error),
                    None => output::print_error_of_main(&error),
                }
                servers.failure.get_or_insert(ExitCode::FAILURE);
                servers.error.get_or_insert(error);
            }
        }
    }
}

impl<T, M> IntoServer<marker::All<M>> for Vec<T>
where
    T: IntoServer<M>,
{
    fn add_to(self, servers: &mut Servers) {
        for server in self {
            server.add_to(servers);
        }
    }
}

macro_rules! tuples {
    ($(($($server:ident $marker:ident),+);)+) => {$(
        impl<$($server, $marker),+> IntoServer<marker::All<($($marker,)+)>> for ($($server,)+)
        where
            $($server: IntoServer<$marker>,)+
        {
            #[allow(non_snake_case, reason = "the types' names serve as the variables'")]
            fn add_to(self, servers: &mut Servers) {
                let ($($server,)+) = self;
                $($server.add_to(servers);)+
            }
        }
    )+};
}

tuples! {
    (A MA);
    (A MA, B MB);
    (A MA, B MB, C MC);
    (A MA, B MB, C MC, D MD);
    (A MA, B MB, C MC, D MD, E ME);
    (A MA, B MB, C MC, D MD, E ME, F MF);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::error::Error;
    use std::future::pending;
    use std::io;
    use std::process::ExitCode;

    use super::{Outcome, Server};

    #[test]
    fn a_failure_is_known_with_its_reason() {
        let error = || io::Error::other("no database");
        let boxed: Box<dyn Error + Send + Sync> = Box::new(error());
        for (outcome, code, words) in [
            (
                Err::<(), _>(error()).check(),
                ExitCode::FAILURE,
                Some("no database"),
            ),
            (
                Err::<(), _>(boxed).check(),
                ExitCode::FAILURE,
                Some("no database"),
            ),
            (
                Err::<Infallible, _>(1).check(),
                ExitCode::FAILURE,
                Some("1"),
            ),
            (
                Ok::<_, ()>(ExitCode::from(7)).check(),
                ExitCode::from(7),
                None,
            ),
        ] {
            let failure = outcome.unwrap_err();
            assert_eq!((failure.code, failure.error.as_deref()), (code, words));
        }
        Ok::<_, ()>(ExitCode::SUCCESS).check().unwrap();
    }

    #[test]
    fn what_never_returns_is_a_server() {
        fn is_server(_: impl Server) {}
        async fn forever() -> ! {
            pending::<Infallible>().await;
            unreachable!("it is never ready")
        }
        is_server(forever());
    }
}
