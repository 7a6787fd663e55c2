#![allow(dead_code)]

mod core {}
mod std {}
struct Config;
struct Signal;
struct Duration;
struct ExitCode;
fn run() {}

#[graceful::main(timeout = "5s", signals = [TERM])]
async fn main() {
    run();
}
