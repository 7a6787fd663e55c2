#[graceful::main(pid_file = Some("server.pid"))]
async fn main() {}
