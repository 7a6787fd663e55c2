#[graceful::main]
/// Serves the world.
#[cfg(unix)]
#[allow(clippy::large_futures)]
#[expect(unused_variables)]
#[tracing::instrument]
#[cfg_attr(debug_assertions, inline(never))]
pub async fn main() -> ExitCode {
    #![allow(unused)]
    let x = 1;
    ExitCode::SUCCESS
}
