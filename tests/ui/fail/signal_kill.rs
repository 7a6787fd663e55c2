#[graceful::main(signals = [KILL])]
async fn main() {}
