#[graceful::main(timeout = 2 * 5)]
async fn main() {}
