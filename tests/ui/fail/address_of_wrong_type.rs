#[graceful::main]
async fn main() -> std::io::Result<impl graceful::Server> {
    let _listener = graceful::bind(3000).await?;
    Ok(std::future::ready(()))
}
