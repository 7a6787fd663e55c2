#[graceful::main(
    timeout = 5,
    signals = [INT, TREM, KILL],
    restart = [INT],
    lame_duck,
    timout = "5s",
    worker_threads = 0
    flavor = "current_thread",
)]
fn main() -> std::io::Result<impl graceful::Server> {
    let ready = std::future::ready(());
    ready.await;
    ready
}
