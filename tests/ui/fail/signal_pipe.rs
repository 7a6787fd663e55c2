#[graceful::main(signals = [PIPE, TERM])]
async fn main() {}
