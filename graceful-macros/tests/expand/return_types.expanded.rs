fn bare() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn bare() -> impl IntoFuture<IntoFuture: ::core::marker::Send> {}
    ::graceful::__private::run(bare(), ::graceful::Config::new())
}
fn with_output() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn with_output() -> impl IntoFuture<
        Output = io::Result<()>,
        IntoFuture: ::core::marker::Send,
    > + 'static {}
    ::graceful::__private::run(with_output(), ::graceful::Config::new())
}
fn nested() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn nested() -> io::Result<
        (
            impl std::future::IntoFuture<Output = (), IntoFuture: ::core::marker::Send>,
            Vec<impl IntoFuture<IntoFuture: ::core::marker::Send>>,
        ),
    > {}
    ::graceful::__private::run(nested(), ::graceful::Config::new())
}
fn output_of_future() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn output_of_future() -> impl Future<
        Output = Result<
            impl IntoFuture<Output = (), IntoFuture: ::core::marker::Send>,
            E,
        >,
    > {}
    ::graceful::__private::run(output_of_future(), ::graceful::Config::new())
}
fn constrained_already() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn constrained_already() -> (
        impl IntoFuture<IntoFuture: Send>,
        impl IntoFuture<IntoFuture = F>,
    ) {}
    ::graceful::__private::run(constrained_already(), ::graceful::Config::new())
}
fn not_touched() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn not_touched() -> io::Result<
        (impl graceful::Server, impl Future<Output = ()>, Box<dyn Any>, !),
    > {}
    ::graceful::__private::run(not_touched(), ::graceful::Config::new())
}
