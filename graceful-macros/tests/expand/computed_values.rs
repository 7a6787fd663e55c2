#[graceful::main(
    timeout = Duration::from_secs(LIMIT),
    lame_duck = if is_cloud() { SHORT } else { LONG },
    restart = [],
    pid_file = std::env::temp_dir().join("server.pid"),
    flavor = "current_thread",
    crate = "my::graceful"
)]
async fn main() {}

#[graceful::main(worker_threads = cores::<Physical, All>() - 1)]
async fn main() {}
