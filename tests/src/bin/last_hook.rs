//! A server under the attribute, with a hook that ends in the moment in which the runtime ends the
//! process by force.

use std::io;

use graceful_tests::servers::{Running, bind_all};
use graceful_tests::settings::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

#[graceful::main(timeout = Settings::from_args().duration("timeout").unwrap_or_default())]
async fn main() -> io::Result<Vec<Running>> {
    println!("main");
    let settings = Settings::from_args();
    match settings.text("until") {
        Some("deadline") => graceful::on_stop(deadline()),
        _ => graceful::on_stop(interrupt()),
    }
    bind_all(&settings).await
}

async fn deadline() {
    sleep(graceful::shutdown().remaining().unwrap_or_default()).await;
}

async fn interrupt() {
    let mut interrupts = signal(SignalKind::interrupt()).expect("it can be listened to");
    println!("waiting for an interrupt");
    interrupts.recv().await;
}
