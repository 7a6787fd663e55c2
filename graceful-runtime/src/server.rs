//! What `main` may return.

use std::fmt::Debug;
use std::pin::Pin;
use std::process::{ExitCode, Termination};

use crate::report;
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
pub trait Server: IntoFuture<Output: Termination, IntoFuture: Send + 'static> {}

impl<T> Server for T where T: IntoFuture<Output: Termination, IntoFuture: Send + 'static> {}

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
    fn hand_over(self, servers: &mut Servers);
}

/// The servers that `main` returned, and its error if it returned one.
#[derive(Default)]
pub struct Servers {
    pub(crate) futures: Vec<Pin<Box<dyn Future<Output = ExitCode> + Send>>>,
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
    T: IntoFuture<Output: Termination, IntoFuture: Send + 'static>,
{
    fn hand_over(self, servers: &mut Servers) {
        let server = self.into_future();
        servers
            .futures
            .push(Box::pin(async move { server.await.report() }));
    }
}

impl IntoServer<marker::Nothing> for () {
    fn hand_over(self, _: &mut Servers) {}
}

impl IntoServer<marker::Code> for ExitCode {
    fn hand_over(self, servers: &mut Servers) {
        servers.failure = (self != Self::SUCCESS).then_some(self);
    }
}

impl<T, E, M> IntoServer<marker::Fallible<M>> for Result<T, E>
where
    T: IntoServer<M>,
    E: Debug,
{
    fn hand_over(self, servers: &mut Servers) {
        match self {
            Ok(server) => server.hand_over(servers),
            Err(error) => {
                let error = in_words(&error);
                report::print_error_of_main(&error);
                servers.failure = Some(ExitCode::FAILURE);
                servers.error = Some(error);
            }
        }
    }
}

impl<T, M> IntoServer<marker::All<M>> for Vec<T>
where
    T: IntoServer<M>,
{
    fn hand_over(self, servers: &mut Servers) {
        for server in self {
            server.hand_over(servers);
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
            fn hand_over(self, servers: &mut Servers) {
                let ($($server,)+) = self;
                $($server.hand_over(servers);)+
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
