#[graceful::main]
async fn bare() -> impl IntoFuture {}

#[graceful::main]
async fn with_output() -> impl IntoFuture<Output = io::Result<()>> + 'static {}

#[graceful::main]
async fn nested() -> io::Result<(impl std::future::IntoFuture<Output = ()>, Vec<impl IntoFuture>)> {}

#[graceful::main]
async fn output_of_future() -> impl Future<Output = Result<impl IntoFuture<Output = ()>, E>> {}

#[graceful::main]
async fn constrained_already() -> (impl IntoFuture<IntoFuture: Send>, impl IntoFuture<IntoFuture = F>) {}

#[graceful::main]
async fn not_touched() -> io::Result<(impl graceful::Server, impl Future<Output = ()>, Box<dyn Any>, !)> {}
