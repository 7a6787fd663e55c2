//! A server that can be restarted, and whose start can go wrong in every way.

use std::future::pending;
use std::io;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use graceful_tests::servers::{Running, bind_all};
use graceful_tests::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn main() -> ExitCode {
    let settings = Settings::from_args();
    if let Some(value) = settings.text("dotenv") {
        load(value);
    }
    settings.config().run(start(settings))
}

/// Does what is done with a file of variables: those that are set already stay.
#[allow(unsafe_code, reason = "a program may")]
fn load(value: &str) {
    if std::env::var_os("DOTENV").is_none() {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var("DOTENV", value) };
    }
}

async fn start(settings: Settings) -> io::Result<Vec<Running>> {
    println!("main");
    if let Some(what) = settings.text("leave") {
        let what = what.to_owned();
        graceful::on_handover(move || leave(what.clone()));
    }
    if settings.text("hooks") == Some("yes") {
        graceful::on_drain(async { println!("hook: leaves the registry") });
        graceful::on_stop(async { println!("hook: closes the database") });
    }
    let servers = bind_all(&settings).await?;
    let gate = settings.text("gate").map(str::to_owned);
    if settings.text("ready") == Some("manual") {
        tokio::spawn(async {
            // A gate that is gone is open.
            let _ = pass(gate).await;
            graceful::ready();
        });
    } else {
        pass(gate).await?;
    }
    match settings.text("start") {
        Some("error") => return Err(io::Error::other("no database")),
        Some("panic") => panic!("no luck"),
        Some("abort") => process::abort(),
        Some("pending") => pending().await,
        Some("blocking") => {
            println!("blocking");
            thread::sleep(Duration::from_secs(60));
        }
        _ => {}
    }
    Ok(servers)
}

/// Waits at a gate, which is a listening UNIX socket, until the test closes the connection.
async fn pass(gate: Option<String>) -> io::Result<()> {
    let Some(path) = gate else {
        return Ok(());
    };
    let mut gate = UnixStream::connect(path).await?;
    gate.write_all(format!("{}\n", process::id()).as_bytes())
        .await?;
    gate.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn leave(what: String) -> io::Result<Vec<u8>> {
    match what.as_str() {
        "error" => Err(io::Error::other("a migration is under way")),
        "panic" => panic!("nothing to leave"),
        "pending" => pending().await,
        "megabytes" => Ok(vec![b'x'; 17 * 1024 * 1024]),
        text => Ok(text.into()),
    }
}
