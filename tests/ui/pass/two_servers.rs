#[graceful::main]
async fn main() -> std::io::Result<(impl graceful::Server, impl IntoFuture<Output = ()>)> {
    Ok((std::future::ready(Ok::<(), std::io::Error>(())), std::future::ready(())))
}
