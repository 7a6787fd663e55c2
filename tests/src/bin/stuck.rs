//! A server beside something that does not end by itself.

use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use graceful_tests::servers::{Running, bind_all};
use graceful_tests::settings::Settings;
use tokio::io::AsyncReadExt;

fn main() -> ExitCode {
    let settings = Settings::from_args();
    settings.config().run(start(settings))
}

async fn start(settings: Settings) -> io::Result<Vec<Running>> {
    println!("main");
    match settings.text("stuck") {
        Some("stdin") => drop(tokio::spawn(read_stdin())),
        Some("destructor") => drop(tokio::spawn(hold(SlowToDrop))),
        Some("hook") => register_hooks(),
        Some("drain_hook") => graceful::on_drain(pending()),
        _ => {}
    }
    bind_all(&settings).await
}

async fn read_stdin() {
    println!("reading standard input");
    let result = tokio::io::stdin().read_u8().await;
    println!("standard input: {result:?}");
}

async fn hold(value: SlowToDrop) {
    pending::<()>().await;
    drop(value);
}

fn register_hooks() {
    graceful::on_stop(async { println!("hook: first") });
    graceful::on_stop(pending());
    graceful::on_stop(async { println!("hook: third") });
    graceful::on_stop(async { panic!("as a hook may") });
    graceful::on_stop(async { println!("hook: fifth") });
}

/// Something whose destructor takes far longer than anyone wants to wait.
struct SlowToDrop;

impl Drop for SlowToDrop {
    fn drop(&mut self) {
        thread::sleep(Duration::from_secs(60));
    }
}
