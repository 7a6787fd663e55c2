#[graceful::main(signals = [TERM, SEGV])]
async fn main() {}
