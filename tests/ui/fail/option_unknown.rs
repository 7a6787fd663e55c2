#[graceful::main(timout = "5s")]
async fn main() {}
