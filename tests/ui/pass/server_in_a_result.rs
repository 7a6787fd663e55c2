#[graceful::main]
async fn main() -> Result<impl graceful::Server, Box<dyn std::error::Error>> {
    let _: u16 = "3000".parse()?;
    Ok(std::future::ready(()))
}
