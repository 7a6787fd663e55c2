//! A process with threads that are not the runtime's: one warms up, one has a runtime of its own.

use std::io;
use std::thread;

use graceful_tests::echo::Echo;
use graceful_tests::servers::bind;
use tokio::runtime::Builder;

#[graceful::main(ready = manual, timeout = "60s")]
async fn main() -> io::Result<impl graceful::Server> {
    let listener = bind("127.0.0.1:0").await?;
    println!("bound");
    thread::spawn(graceful::ready);
    thread::spawn(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime
            .expect("there is room for one more")
            .block_on(async {
                let task = graceful::spawn(async {
                    graceful::shutdown().await;
                    println!("the other runtime drains");
                });
                task.await.expect("it does not panic");
            });
    });
    Ok(graceful::serve(listener, Echo))
}
