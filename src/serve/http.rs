//! One connection: requests in, within bounds of size and time, responses out.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::hosts::AllowedHosts;
use super::response::Response;
use crate::run::signal::StopRequest;

/// What a client may send, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) body_bytes: usize,
    /// From the first byte of a request to its last, and for a client to take the answer.
    pub(super) request: Duration,
    /// Before the first byte.
    pub(super) idle: Duration,
}

/// A whole request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Without what follows a question mark.
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    /// Of the version, 1.`minor`.
    pub(super) minor: u8,
    pub(super) keep_alive: bool,
}

const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// How often a connection that waits for its client looks whether the server stops.
const LOOK_UP: Duration = Duration::from_millis(100);
/// What requests and answers under way have left once the server stops.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Bytes that are thrown away before a connection is closed, so that the client reads the answer.
const DRAINED_BYTES: usize = 1 << 20;

/// The head of a request.
struct Head {
    method: String,
    path: String,
    bytes: usize,
    body_bytes: usize,
    minor: u8,
    keep_alive: bool,
    /// The client waits for leave to send the body.
    expects_leave: bool,
}

pub(super) struct Connection<'a> {
    stream: TcpStream,
    limits: Limits,
    hosts: &'a AllowedHosts<'a>,
    stop: &'a StopRequest,
    /// When all ends, once the server stops.
    end: Option<Instant>,
    /// What was read and is not yet used.
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: TcpStream, limits: Limits, hosts: &'a AllowedHosts<'a>, stop: &'a StopRequest) -> Self {
        // What is written is meant to go out: waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        Self { stream, limits, hosts, stop, end: None, buffer: Vec::new() }
    }

    /// How long to wait for the client now: until `deadline`, which comes near when the server stops, but never without
    /// looking up; `None` once it is over.
    fn patience(&mut self, deadline: Instant) -> Option<Duration> {
        let now = Instant::now();
        if self.end.is_none() && self.stop.requested() {
            self.end = Some(now + STOP_GRACE);
        }
        let deadline = self.end.map_or(deadline, |end| end.min(deadline));
        let left = deadline.saturating_duration_since(now);
        (!left.is_zero()).then(|| left.min(LOOK_UP))
    }

    /// The next request; `None` where the client is gone or silent, or the server stops. A refusal ends the connection.
    pub(super) fn next_request(&mut self) -> Result<Option<Request>, Response> {
        let idle_until = Instant::now() + self.limits.idle;
        while self.buffer.is_empty() {
            let Some(patience) = self.patience(idle_until).filter(|_| !self.stop.requested()) else { return Ok(None) };
            match self.read_some(patience) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(_) => return Ok(None),
            }
        }
        let deadline = Instant::now() + self.limits.request;
        let head = loop {
            if let Some(head) = self.head()? {
                break head;
            }
            if !self.read_until(deadline)? {
                return Ok(None);
            }
        };
        if head.body_bytes > self.limits.body_bytes {
            let most = self.limits.body_bytes;
            return Err(Response::error(413, &format!("a body of {} bytes; at most {most} are read", head.body_bytes)));
        }
        let mut time = self.limits.request;
        if head.expects_leave && self.send(b"HTTP/1.1 100 Continue\r\n\r\n", &mut time).is_err() {
            return Ok(None);
        }
        let end = head.bytes + head.body_bytes;
        while self.buffer.len() < end {
            if !self.read_until(deadline)? {
                return Ok(None);
            }
        }
        let body = self.buffer[head.bytes..end].to_vec();
        self.buffer.drain(..end);
        let Head { method, path, minor, keep_alive, .. } = head;
        Ok(Some(Request { method, path, body, minor, keep_alive }))
    }

    /// The head, once all of it has arrived.
    fn head(&self) -> Result<Option<Head>, Response> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let bytes = match request.parse(&self.buffer) {
            Ok(httparse::Status::Complete(bytes)) if bytes <= HEAD_BYTES => bytes,
            Ok(httparse::Status::Partial) if self.buffer.len() < HEAD_BYTES => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Response::error(
                    431,
                    &format!("the header is longer than {HEAD_BYTES} bytes or {HEADERS} lines"),
                ));
            }
            Err(error) => return Err(Response::error(400, &format!("this is no HTTP request: {error}"))),
        };
        let values = |name: &str| -> Vec<String> {
            let named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase()).collect()
        };
        let minor = request.version.unwrap_or(1);
        self.hosts.check(minor, &values("host"), &values("origin"))?;
        let method = request.method.unwrap_or_default().to_owned();
        if !values("transfer-encoding").is_empty() {
            return Err(Response::error(411, "send the body with a Content-Length, not in chunks"));
        }
        let mut lengths = values("content-length");
        lengths.dedup();
        let body_bytes = match lengths.as_slice() {
            [] if method == "POST" => return Err(Response::error(411, "a POST needs a Content-Length")),
            [] => 0,
            [length] if length.bytes().all(|byte| byte.is_ascii_digit()) && !length.is_empty() => {
                // More digits than fit is more than is read in any case.
                length.parse().unwrap_or(usize::MAX - HEAD_BYTES)
            }
            _ => return Err(Response::error(400, "the Content-Length is no number")),
        };
        let connection = values("connection").join(",");
        let asks = |what: &str| connection.split(',').any(|token| token.trim() == what);
        let path = request.path.unwrap_or_default();
        Ok(Some(Head {
            method,
            path: path.split('?').next().unwrap_or_default().to_owned(),
            bytes,
            body_bytes,
            minor,
            keep_alive: if minor == 1 { !asks("close") } else { asks("keep-alive") },
            expects_leave: values("expect").iter().any(|value| value == "100-continue") && self.buffer.len() == bytes,
        }))
    }

    /// Reads more of a request; false where the client is gone or the server stops.
    fn read_until(&mut self, deadline: Instant) -> Result<bool, Response> {
        let Some(patience) = self.patience(deadline) else {
            if self.stop.requested() {
                return Ok(false);
            }
            let seconds = self.limits.request.as_secs_f64();
            return Err(Response::error(408, &format!("the request was not whole after {seconds} s")));
        };
        match self.read_some(patience) {
            Ok(0) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) if is_timeout(&error) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    fn read_some(&mut self, timeout: Duration) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(timeout))?;
        let mut bytes = [0; 8 << 10];
        let read = loop {
            match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.extend_from_slice(&bytes[..read]);
        Ok(read)
    }

    /// Sends bytes while some of the time is left that the client has for the whole answer.
    fn send(&mut self, mut bytes: &[u8], time: &mut Duration) -> io::Result<()> {
        while !bytes.is_empty() {
            let begun = Instant::now();
            let patience = self.patience(begun + *time).ok_or(ErrorKind::TimedOut)?;
            self.stream.set_write_timeout(Some(patience))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            *time = time.saturating_sub(begun.elapsed());
        }
        Ok(())
    }

    /// Sends a response.
    pub(super) fn write(&mut self, response: &Response, keep_alive: bool) -> io::Result<()> {
        let mut message = head(response.status, keep_alive, &format!("Content-Length: {}\r\n", response.body.len()));
        message.push_str(&response.body);
        let mut time = self.limits.request;
        self.send(message.as_bytes(), &mut time)
    }

    /// Ends the connection so that the client can still read the last answer: a socket that is closed with unread bytes
    /// in it is reset.
    pub(super) fn close(mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut drained = 0;
        while drained < DRAINED_BYTES {
            self.buffer.clear();
            let Some(patience) = self.patience(deadline) else { return };
            match self.read_some(patience) {
                Ok(read) if read > 0 => drained += read,
                _ => return,
            }
        }
    }
}

/// JSON that is sent while it is made, so that a long answer to a slow client takes no more memory than a short one. Where
/// all of it is there before a piece is full, it is sent with its length, else in chunks.
pub(super) struct Answer<'c, 'a> {
    connection: &'c mut Connection<'a>,
    minor: u8,
    keep_alive: bool,
    /// What is left of the client's time to take it. The time that it takes to make counts for nobody.
    time: Duration,
    piece: Vec<u8>,
    begun: bool,
}

impl<'c, 'a> Answer<'c, 'a> {
    /// Bytes that are kept before they are sent.
    pub(super) const PIECE_BYTES: usize = 256 << 10;

    pub(super) fn new(connection: &'c mut Connection<'a>, minor: u8, keep_alive: bool) -> Self {
        let time = connection.limits.request;
        Self { connection, minor, keep_alive, time, piece: Vec::new(), begun: false }
    }

    /// Whether a part of it is on its way, after which nothing else can be answered.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether there is time for more: none is left soon after the server stops.
    pub(super) fn goes_on(&mut self) -> bool {
        self.connection.patience(Instant::now() + self.time).is_some()
    }

    fn send_piece(&mut self) -> io::Result<()> {
        // Clients of HTTP/1.0 know no chunks: their answer ends with the connection.
        let chunked = self.minor == 1;
        let mut framing = String::new();
        if !self.begun {
            let encoding = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
            framing = head(200, self.keep_alive && chunked, encoding);
            self.begun = true;
        }
        if chunked {
            framing = format!("{framing}{:x}\r\n", self.piece.len());
            self.piece.extend_from_slice(b"\r\n");
        }
        self.connection.send(framing.as_bytes(), &mut self.time)?;
        self.connection.send(&self.piece, &mut self.time)?;
        self.piece.clear();
        Ok(())
    }

    /// Sends what is left. True where another request may follow.
    pub(super) fn finish(mut self) -> io::Result<bool> {
        if !self.begun {
            let length = format!("Content-Length: {}\r\n", self.piece.len());
            self.connection.send(head(200, self.keep_alive, &length).as_bytes(), &mut self.time)?;
            self.connection.send(&self.piece, &mut self.time)?;
            return Ok(self.keep_alive);
        }
        if !self.piece.is_empty() {
            self.send_piece()?;
        }
        if self.minor == 1 {
            self.connection.send(b"0\r\n\r\n", &mut self.time)?;
        }
        Ok(self.keep_alive && self.minor == 1)
    }
}

impl Write for Answer<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= Self::PIECE_BYTES {
            self.send_piece()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The head of a response; `lines` say where its body ends.
fn head(status: u16, keep_alive: bool, lines: &str) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let more = match status {
        503 => "Retry-After: 1\r\n",
        405 => "Allow: GET, POST\r\n",
        _ => "",
    };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n{lines}{more}Connection: {connection}\r\n\r\n"
    )
}
