//! The plain server, with a second one beside it that fails or panics when asked to.

use std::io;
use std::process::ExitCode;

use graceful_tests::echo;
use graceful_tests::servers::{Running, bind_all};
use graceful_tests::settings::Settings;

fn main() -> ExitCode {
    let settings = Settings::from_args();
    settings.config().run(start(settings))
}

async fn start(settings: Settings) -> io::Result<Vec<Running>> {
    println!("main");
    if settings.text("count") == Some("USR1") {
        echo::count_usr1()?;
    }
    let mut servers = bind_all(&settings).await?;
    match settings.text("beside") {
        Some("error") => servers.push(Box::pin(async {
            echo::asked_to_fail().await;
            Err(io::Error::other("the second server failed"))
        })),
        Some("now") => servers.push(Box::pin(async {
            Err(io::Error::other("the second server failed"))
        })),
        Some("panic") => servers.push(Box::pin(async {
            echo::asked_to_fail().await;
            panic!("the second server panicked")
        })),
        _ => {}
    }
    Ok(servers)
}
