#[graceful::main(timeout = "5s", lame_duck = "5s")]
async fn main() {}
