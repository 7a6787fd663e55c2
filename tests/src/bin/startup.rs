//! A `main` that is slow, stuck, fails or panics before there is a server.

use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use graceful_tests::echo::Echo;
use graceful_tests::servers::{Running, bind, bind_all};
use graceful_tests::settings::Settings;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let settings = Settings::from_args();
    settings.config().run(start(settings))
}

async fn start(settings: Settings) -> io::Result<Vec<Running>> {
    let _guard = Guard;
    println!("main");
    if let Some(address) = settings.text("early") {
        let early = graceful::serve(bind(address).await?, Echo);
        tokio::spawn(early.into_future());
    }
    if settings.text("cron") == Some("yes") {
        tokio::spawn(async {
            graceful::shutdown().await;
            pending::<()>().await;
        });
    }
    // Built and not run.
    let adapted = match settings.text("adapted") {
        Some(address) => Some(graceful::adapt(bind(address).await?)),
        None => None,
    };
    match settings.text("start") {
        Some("slow") => pending().await,
        Some("USR1") => usr1().await?,
        Some("blocking") => thread::sleep(Duration::from_secs(60)),
        Some("error") => return Err(io::Error::other("no database")),
        Some("panic") => panic!("no luck"),
        Some("shutdown") => {
            let shutdown = graceful::shutdown();
            println!("waits");
            shutdown.await;
        }
        Some("asking") => asking().await,
        _ => {}
    }
    drop(adapted);
    bind_all(&settings).await
}

/// Works as long as there is no shutdown.
async fn asking() {
    let shutdown = graceful::shutdown();
    println!("waits");
    while !shutdown.is_triggered() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("worked to the end");
}

/// Waits for the signal, in place of whatever a server does before it can serve.
async fn usr1() -> io::Result<()> {
    let mut usr1 = signal(SignalKind::user_defined1())?;
    println!("warming up");
    usr1.recv().await;
    Ok(())
}

/// Says that the start-up future was dropped.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        println!("start-up dropped");
    }
}
