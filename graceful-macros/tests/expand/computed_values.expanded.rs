fn main() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn main() {}
    my::graceful::__private::run(
        main(),
        my::graceful::Config::new()
            .timeout(Duration::from_secs(LIMIT))
            .restart([])
            .lame_duck(if is_cloud() { SHORT } else { LONG })
            .pid_file(std::env::temp_dir().join("server.pid"))
            .current_thread(),
    )
}
fn main() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn main() {}
    ::graceful::__private::run(
        main(),
        ::graceful::Config::new().worker_threads(cores::<Physical, All>() - 1),
    )
}
