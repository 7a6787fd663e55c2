#[graceful::main(restart_timeout = "30sec")]
async fn main() {}
