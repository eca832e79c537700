//! A server on the loopback device, for tests of downloads: it may stop in the middle, refuse, or send something else.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server that runs until the test's process ends.
pub struct Server {
    /// Where it is, with a slash at the end.
    pub address: String,
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Server {
    /// Starts a server that gives each request to `answer`: its number, counted from 0, and the first byte asked for.
    ///
    /// # Panics
    ///
    /// Panics if the system gives no port.
    pub fn start(answer: impl Fn(usize, usize, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback device has a port");
        let address = listener.local_addr().expect("a listener has an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let mut stream = stream;
                let Ok(from) = first_byte(&stream) else { continue };
                log.lock().expect("no other thread panicked").push(from);
                answer(number, from, &mut stream);
            }
        });
        Self { address: format!("http://{address}/"), asked }
    }

    /// The first byte of each request so far.
    ///
    /// # Panics
    ///
    /// Panics if the server has panicked.
    pub fn asked(&self) -> Vec<usize> {
        self.asked.lock().expect("the server lives").clone()
    }
}

/// Reads a request and returns the beginning of its range.
fn first_byte(stream: &TcpStream) -> std::io::Result<usize> {
    let mut from = 0;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    Ok(from)
}

/// Promises the rest of `content` from `from` on, and sends `count` bytes of it.
///
/// # Panics
///
/// Panics if `from` lies behind the end of `content`.
pub fn send(stream: &mut TcpStream, content: &[u8], from: usize, count: usize) {
    let (total, rest) = (content.len(), content.len() - from);
    let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
    let last = total.saturating_sub(1);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {rest}\r\nContent-Range: bytes {from}-{last}/{total}\r\n\
         Connection: close\r\n\r\n"
    );
    // A reader that has heard enough may hang up.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&content[from..][..count.min(rest)]));
}

/// Answers with nothing but a status, such as `404 Not Found`.
pub fn refuse(stream: &mut TcpStream, status: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
}
