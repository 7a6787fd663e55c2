#[graceful::main(lame_duck = "1.5s")]
async fn main() {}
