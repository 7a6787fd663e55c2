#[graceful::main(timeout = "5s", timeout = "10s")]
async fn main() {}
