//! A `main` with the attribute and a pid file, whose path is the first argument.

use std::{env, io};

use graceful_tests::echo::Echo;
use graceful_tests::servers::bind;

#[graceful::main(timeout = "60s", pid_file = env::args_os().nth(1).expect("a path"))]
async fn main() -> io::Result<impl graceful::Server> {
    let listener = bind("127.0.0.1:0").await?;
    println!("bound");
    Ok(graceful::serve(listener, Echo))
}
