#[graceful::main]
async fn main() -> std::io::Result<impl graceful::Server> {
    let servers = vec![std::future::ready(()), std::future::ready(())];
    Ok(servers)
}
