#[derive(Debug)]
struct Closed;

#[graceful::main]
async fn main() -> Result<impl graceful::Server, Closed> {
    let listener = graceful::bind("127.0.0.1:0").await?;
    drop(listener);
    Ok(std::future::ready(()))
}
