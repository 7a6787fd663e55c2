::core::compile_error! {
    "`main` cannot take arguments\nhelp: leave them out; `std::env::args()` has the command line"
}
#[allow(dead_code)]
fn main() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn main(args: Vec<String>) {
        work(args).await;
    }
    ::std::process::ExitCode::FAILURE
}
::core::compile_error! {
    "`main` cannot be generic\nhelp: write `async fn main()`, without type parameters"
}
#[allow(dead_code)]
fn main() -> ::std::process::ExitCode {
    #[allow(clippy::unused_async)]
    async fn main<T: Server>() -> T {}
    ::std::process::ExitCode::FAILURE
}
