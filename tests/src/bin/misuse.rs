//! A lifecycle that cannot start: `how=nested`, `second` or `both`.

use std::process::ExitCode;
use std::thread;

use graceful::{Config, Signal};
use graceful_tests::settings::Settings;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    match Settings::from_args().text("how") {
        Some("nested") => Runtime::new()
            .expect("there is room for a runtime")
            .block_on(async { lifecycle() }),
        Some("second") => Config::new().run(async {
            let second = thread::spawn(lifecycle);
            second.join().expect("it does not panic")
        }),
        _ => Config::new().restart([Signal::Term]).run(async {}),
    }
}

fn lifecycle() -> ExitCode {
    Config::new().run(async {})
}
