#[graceful::main]
async fn main() -> std::io::Result<impl graceful::Server> {
    let server = std::future::ready(());
}
