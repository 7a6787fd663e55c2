#[graceful::main(signals = [graceful::Signal::Term])]
async fn main() {}
