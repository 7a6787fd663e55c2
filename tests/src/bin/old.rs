//! A successor of before connections could move: it answers every request with its process id.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process;
use std::thread;

use graceful_tests::old::{Channel, take_over};

fn main() -> io::Result<()> {
    let channel = Channel::new(io::stdin().as_fd().try_clone_to_owned()?);
    let listener = take_over(&channel);
    // The predecessor may have left it so.
    listener.set_nonblocking(false)?;
    loop {
        let (stream, _) = listener.accept()?;
        thread::spawn(move || serve(&stream));
    }
}

fn serve(mut stream: &TcpStream) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        // The requests have no body.
        if line?.is_empty() {
            let id = process::id().to_string();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{id}",
                id.len()
            )?;
        }
    }
    Ok(())
}
