#[graceful::main]
async fn main() {
    let name = String::new();
    name.
}
