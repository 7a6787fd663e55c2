#[graceful::main(restart = [TERM])]
async fn main() {}
