#[graceful::main(lame_duck = "30s")]
async fn main() {}
