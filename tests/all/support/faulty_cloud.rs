//! A door in front of the stack that turns some calls away as a service in trouble does.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use super::stack::stack;

/// Opens a door that answers 500 to every call whose text, head and body, has one of these in it. It stays open as long
/// as the tests run.
pub(crate) fn refusing(words: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A caller that goes away is nobody's loss.
            thread::spawn(move || pass(stream, words).ok());
        }
    });
    format!("http://{address}")
}

fn pass(mut caller: TcpStream, words: &[&str]) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = caller.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
        if is_whole(&request) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&request);
    if words.iter().any(|word| text.contains(word)) {
        let body = r#"{"__type":"InternalServerError","message":"not now"}"#;
        let length = body.len();
        return write!(
            caller,
            "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
    }
    let to = stack().endpoint.trim_start_matches("http://");
    let mut stack = TcpStream::connect(to)?;
    // The stack ends the connection when it has answered, which is how this learns that it has. The header is not among
    // those that the caller signed.
    let line = request.windows(2).position(|two| two == b"\r\n");
    let line = line.expect("a request has a first line") + 2;
    stack.write_all(&request[..line])?;
    stack.write_all(b"Connection: close\r\n")?;
    stack.write_all(&request[line..])?;
    std::io::copy(&mut stack, &mut caller)?;
    Ok(())
}

/// Whether head and body are there.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0_usize);
    request.len() >= end + 4 + length
}
