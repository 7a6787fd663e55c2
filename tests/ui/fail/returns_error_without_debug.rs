struct Broken;

#[graceful::main]
async fn main() -> Result<impl graceful::Server, Broken> {
    Ok(std::future::ready(()))
}
