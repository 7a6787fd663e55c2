#[tokio::main]
#[graceful::main]
async fn main() {}
