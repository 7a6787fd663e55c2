#[graceful::main(signals = [TERM, STOP])]
async fn main() {}
