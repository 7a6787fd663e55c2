#[graceful::main(timout = "5s")]
async fn main() -> u16 {
    3000
}
