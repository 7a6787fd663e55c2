#[graceful::main]
async fn main() {
    work().await;
}
