#[graceful::main(timeout = "30s1m")]
async fn main() {}
