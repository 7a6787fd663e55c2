#[graceful::main]
async fn main() -> impl Future<Output = u16> {
    std::future::ready(3000)
}
