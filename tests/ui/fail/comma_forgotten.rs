#[graceful::main(timeout = "5s" signals = [TERM])]
async fn main() {}
