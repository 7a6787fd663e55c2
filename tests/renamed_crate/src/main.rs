//! A user who renamed the dependency: there is no `::graceful` here.

#[renamed::main(crate = renamed, timeout = "5s", signals = [INT, TERM])]
async fn main() -> std::io::Result<impl renamed::Server> {
    Ok(std::future::ready(()))
}
