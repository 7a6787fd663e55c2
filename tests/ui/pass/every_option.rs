use std::time::Duration;

#[graceful::main(
    timeout = "1m30s",
    signals = [INT, TERM, QUIT],
    restart = [HUP, USR2],
    start_timeout = "10m",
    restart_timeout = Duration::from_secs(20),
    lame_duck = "0s",
    keep_alive_grace = "10ms",
    pid_file = std::env::temp_dir().join(format!("graceful-ui-{}.pid", std::process::id())),
    ready = manual,
    flavor = "multi_thread",
    worker_threads = 1 + 1,
    crate = graceful,
)]
async fn main() {}
