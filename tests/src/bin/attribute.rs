//! The server of the README: the attribute and nothing else.

use std::io;

use graceful_tests::echo::Echo;
use graceful_tests::servers::bind;

#[graceful::main(timeout = "30s", signals = [INT, TERM])]
async fn main() -> io::Result<impl graceful::Server> {
    println!("main");
    let listener = bind("127.0.0.1:0").await?;
    println!("bound");
    Ok(graceful::serve(listener, Echo))
}
