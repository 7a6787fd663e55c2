#[graceful::main(signals = [TERM, HUP], restart = [HUP])]
async fn main() {}
