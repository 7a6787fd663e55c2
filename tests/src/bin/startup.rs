//! A `main` that is slow, stuck, fails or panics before there is a server.

use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use graceful_tests::servers::{Running, bind_all};
use graceful_tests::settings::Settings;

fn main() -> ExitCode {
    let settings = Settings::from_args();
    settings.config().run(start(settings))
}

async fn start(settings: Settings) -> io::Result<Vec<Running>> {
    let _guard = Guard;
    println!("main");
    match settings.text("start") {
        Some("slow") => pending().await,
        Some("blocking") => thread::sleep(Duration::from_secs(60)),
        Some("error") => return Err(io::Error::other("no database")),
        Some("panic") => panic!("no luck"),
        _ => {}
    }
    bind_all(&settings).await
}

/// Says that the start-up future was dropped.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        println!("start-up dropped");
    }
}
