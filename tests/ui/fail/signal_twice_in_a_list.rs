#[graceful::main(signals = [INT, TERM, INT])]
async fn main() {}
