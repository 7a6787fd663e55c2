#[graceful::main]
async fn main() -> std::io::Result<impl IntoFuture<Output = std::io::Result<()>>> {
    Ok(std::future::ready(Ok(())))
}
