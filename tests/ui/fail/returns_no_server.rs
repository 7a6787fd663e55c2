#[graceful::main]
async fn main() -> u16 {
    3000
}
