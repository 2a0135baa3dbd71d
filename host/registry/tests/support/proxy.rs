//! A proxy that takes all connections to one port of this machine, whatever host they are for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::spawn;

/// Starts one, and returns its port. It ends with the process.
pub fn start(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    spawn(move || {
        for stream in listener.incoming().flatten() {
            spawn(move || connect(stream, to));
        }
    });
    port
}

fn connect(client: TcpStream, to: u16) -> std::io::Result<()> {
    // The client sends no more than its CONNECT before it is answered.
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let server = TcpStream::connect(("127.0.0.1", to))?;
    (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut down) = ((client.try_clone()?, server.try_clone()?), (server, client));
    spawn(move || std::io::copy(&mut up.0, &mut up.1));
    std::io::copy(&mut down.0, &mut down.1).map(|_| ())
}
