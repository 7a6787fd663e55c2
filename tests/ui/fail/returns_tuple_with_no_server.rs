#[graceful::main]
async fn main() -> (impl graceful::Server, u16) {
    (std::future::ready(()), 3000)
}
