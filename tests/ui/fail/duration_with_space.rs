#[graceful::main(timeout = "1m 30s")]
async fn main() {}
