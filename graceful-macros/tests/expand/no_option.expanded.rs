fn main() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn main() {
        work().await;
    }
    ::graceful::__private::run(main(), ::graceful::Config::new())
}
