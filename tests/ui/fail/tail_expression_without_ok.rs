#[graceful::main]
async fn main() -> std::io::Result<impl graceful::Server> {
    std::future::ready(())
}
