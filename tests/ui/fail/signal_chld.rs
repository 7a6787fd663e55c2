#[graceful::main(restart = [CHLD])]
async fn main() {}
