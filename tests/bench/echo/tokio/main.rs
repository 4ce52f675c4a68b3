// SPDX-License-Identifier: BSL-1.0

//! An echo server in Tokio: a task and a buffer for each connection. One thread is the current-thread runtime, which is
//! the faster one; more are the multi-threaded runtime.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;

const BUFFER_BYTES: usize = 16384;
const BACKLOG: u32 = 4096;

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length) = stream.read(&mut buffer).await {
        if length == 0 || stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

fn listen(port: u16) -> Result<TcpListener, Box<dyn Error>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket.listen(BACKLOG)?)
}

async fn serve(port: u16, threads: usize) -> Result<(), Box<dyn Error>> {
    let listener = listen(port)?;
    println!(
        "echo: listening on {} (tokio, {} threads)",
        listener.local_addr()?,
        threads
    );
    loop {
        let (stream, _) = listener.accept().await?;
        if stream.set_nodelay(true).is_ok() {
            tokio::spawn(echo(stream));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let (mut port, mut threads) = (7000, 1);
    for pair in arguments[1..].chunks(2) {
        match pair {
            [flag, value] if flag == "--port" => port = value.parse()?,
            [flag, value] if flag == "--threads" => threads = value.parse()?,
            _ => return Err("usage: echo_tokio [--port N] [--threads N]".into()),
        }
    }
    let runtime = if threads > 1 {
        Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_io()
            .build()?
    } else {
        Builder::new_current_thread().enable_io().build()?
    };
    runtime.block_on(serve(port, threads))
}
