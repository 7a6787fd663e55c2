#[graceful::main(signals = [INT, TREM])]
async fn main() {}
