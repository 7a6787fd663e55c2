//! A successor of before connections could move: it answers every request with its process id.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process;
use std::thread;

use graceful_tests::old::{Channel, take_over};
use rustix::event::{PollFd, PollFlags, poll};

fn main() -> io::Result<()> {
    let channel = Channel::new(io::stdin().as_fd().try_clone_to_owned()?);
    let listener = take_over(&channel);
    loop {
        // The predecessor has the same socket and must not block at it, so it stays as it is.
        poll(&mut [PollFd::new(&listener, PollFlags::IN)], None)?;
        match listener.accept() {
            Ok((stream, _)) => drop(thread::spawn(move || serve(&stream))),
            // The predecessor was faster.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
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
