#[graceful::main(flavor = "current_thread", restart = [])]
async fn main() -> Result<(), String> {
    Ok(())
}
