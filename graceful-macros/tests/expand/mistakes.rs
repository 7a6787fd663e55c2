#[graceful::main(timeout = "5s", lame_duck = 1, signals = [TREM, HUP])]
#[tokio::main]
fn main() -> std::io::Result<impl graceful::Server> {
    graceful::serve(listener, app()).await
}
