mod my {
    pub mod library {
        pub use graceful;
    }
}

use my::library::graceful::main as start;

#[start(crate = "my::library::graceful", signals = [TERM], timeout = "5s")]
async fn main() {}
