/// Serves the world.
#[cfg(unix)]
#[allow(clippy::large_futures)]
#[expect(unused_variables)]
pub fn main() -> ::std::process::ExitCode {
    #[tracing::instrument]
    #[cfg_attr(debug_assertions, inline(never))]
    #[allow(clippy::unused_async)]
    async fn main() -> ExitCode {
        #![allow(unused)]
        let x = 1;
        ExitCode::SUCCESS
    }
    ::graceful::__private::run(main(), ::graceful::Config::new())
}
