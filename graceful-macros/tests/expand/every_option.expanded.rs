pub(crate) fn main() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn main() -> std::io::Result<impl graceful::Server> {
        let listener = graceful::bind("127.0.0.1:3000").await?;
        Ok(graceful::serve(listener, app()))
    }
    my::graceful::__private::run(
        main(),
        my::graceful::Config::new()
            .timeout(::core::time::Duration::new(90u64, 0u32))
            .signals([
                my::graceful::Signal::Int,
                my::graceful::Signal::Term,
                my::graceful::Signal::Quit,
            ])
            .restart([my::graceful::Signal::Hup, my::graceful::Signal::Usr2])
            .start_timeout(::core::time::Duration::new(180u64, 0u32))
            .restart_timeout(::core::time::Duration::new(7200u64, 0u32))
            .lame_duck(::core::time::Duration::new(0u64, 500000000u32))
            .keep_alive_grace(::core::time::Duration::new(0u64, 0u32))
            .pid_file("/run/server.pid")
            .manual_ready()
            .worker_threads(4),
    )
}
