#[graceful::main(crate = not_there)]
async fn main() {}
