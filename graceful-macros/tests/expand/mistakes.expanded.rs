::core::compile_error! {
    "`1` has no unit\nhelp: write `\"1s\"` for seconds, `\"1ms\"` for milliseconds"
}
::core::compile_error! {
    "unknown signal `TREM`\nhelp: did you mean `TERM`?"
}
::core::compile_error! {
    "`main` must be async\nhelp: write `async fn main`; if you did, an attribute above has taken the `async`, as `#[tokio::main]` does: leave that one out"
}
::core::compile_error! {
    "`#[tokio::main]` starts a runtime as well\nhelp: leave it out; `#[graceful::main]` starts a tokio runtime"
}
fn main() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn main() -> std::io::Result<impl graceful::Server> {
        graceful::serve(listener, app()).await
    }
    ::graceful::__private::run(
        main(),
        ::graceful::Config::new()
            .timeout(::core::time::Duration::new(5u64, 0u32))
            .signals([::graceful::Signal::Hup]),
    )
}
