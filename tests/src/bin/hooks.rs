//! A server with hooks, which say when they run and what is left of the budget.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use graceful_tests::echo;
use graceful_tests::servers::{Running, bind_all};
use graceful_tests::settings::Settings;
use tokio::time::sleep;

fn main() -> ExitCode {
    let settings = Settings::from_args();
    settings.config().run(start(settings))
}

async fn start(settings: Settings) -> io::Result<Vec<Running>> {
    println!("main");
    graceful::on_drain(hook("drain"));
    for name in ["first", "second", "third"] {
        graceful::on_stop(hook(name));
    }
    let mut servers = bind_all(&settings).await?;
    servers.push(Box::pin(fails_when_asked()));
    Ok(servers)
}

async fn hook(name: &str) {
    let left = graceful::shutdown().remaining().unwrap_or_default();
    println!("hook {name} begins with {} ms left", left.as_millis());
    sleep(Duration::from_millis(20)).await;
    println!("hook {name} ends");
}

async fn fails_when_asked() -> io::Result<()> {
    tokio::select! {
        () = echo::asked_to_fail() => Err(io::Error::other("asked to fail")),
        () = graceful::shutdown() => Ok(()),
    }
}
