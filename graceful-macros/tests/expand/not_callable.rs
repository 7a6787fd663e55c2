#[graceful::main(timeout = "5s")]
async fn main(args: Vec<String>) {
    work(args).await;
}

#[graceful::main]
async fn main<T: Server>() -> T {}
