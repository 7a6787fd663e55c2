#[graceful::main(timeout = "5s")]
async fn main() -> std::io::Result<u16> {
    Ok(3000)
}
