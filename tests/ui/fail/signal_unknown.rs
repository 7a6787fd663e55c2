#[graceful::main(signals = [RELOAD])]
async fn main() {}
