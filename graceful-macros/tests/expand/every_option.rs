#[graceful::main(
    timeout = "1m30s",
    signals = [INT, TERM, QUIT],
    restart = [HUP, USR2],
    start_timeout = "3m",
    restart_timeout = "2h",
    lame_duck = "500ms",
    keep_alive_grace = "0s",
    pid_file = "/run/server.pid",
    ready = manual,
    flavor = "multi_thread",
    worker_threads = 4,
    crate = my::graceful,
)]
pub(crate) async fn main() -> std::io::Result<impl graceful::Server> {
    let listener = graceful::bind("127.0.0.1:3000").await?;
    Ok(graceful::serve(listener, app()))
}
