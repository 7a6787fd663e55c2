#[graceful::main]
async fn main() -> std::io::Result<impl graceful::Server> {
    let listener = graceful::bind("127.0.0.1:0").await?;
    Ok(graceful::serve(listener, "hello"))
}
