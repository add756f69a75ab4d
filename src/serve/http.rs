//! One connection: requests in, within bounds of size and time, responses out.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What a client may send, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) body_bytes: usize,
    /// From the first byte of a request to its last.
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
    pub(super) keep_alive: bool,
}

/// A response: status and JSON.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    body: String,
}

impl Response {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self { status, body: value.to_string() }
    }

    pub(super) fn error(status: u16, error: &str) -> Self {
        Self::json(status, &json!({ "error": error }))
    }
}

const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// How often a silent connection looks whether the server stops.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Bytes that are thrown away before a connection is closed, so that the client reads the answer.
const DRAINED_BYTES: usize = 1 << 20;

/// The head of a request.
struct Head {
    method: String,
    path: String,
    bytes: usize,
    body_bytes: usize,
    keep_alive: bool,
    /// The client waits for leave to send the body.
    expects_leave: bool,
}

pub(super) struct Connection {
    stream: TcpStream,
    limits: Limits,
    /// What was read and is not yet used.
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, limits: Limits) -> Self {
        // An answer is one write: waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        Self { stream, limits, buffer: Vec::new() }
    }

    /// The next request; `None` where the client is gone or silent, or the server stops. A refusal ends the connection.
    pub(super) fn next_request(&mut self, stopping: &dyn Fn() -> bool) -> Result<Option<Request>, Response> {
        let idle_until = Instant::now() + self.limits.idle;
        while self.buffer.is_empty() {
            if stopping() || Instant::now() >= idle_until {
                return Ok(None);
            }
            match self.read_some(LOOK_UP) {
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
        if head.expects_leave && self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
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
        Ok(Some(Request { method: head.method, path: head.path, body, keep_alive: head.keep_alive }))
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
        let keep_alive = if request.version == Some(1) { !asks("close") } else { asks("keep-alive") };
        let path = request.path.unwrap_or_default();
        Ok(Some(Head {
            method,
            path: path.split('?').next().unwrap_or_default().to_owned(),
            bytes,
            body_bytes,
            keep_alive,
            expects_leave: values("expect").iter().any(|value| value == "100-continue") && self.buffer.len() == bytes,
        }))
    }

    /// Reads more of a request; false where the client is gone.
    fn read_until(&mut self, deadline: Instant) -> Result<bool, Response> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = self.limits.request.as_secs_f64();
            return Err(Response::error(408, &format!("the request was not whole after {seconds} s")));
        }
        match self.read_some(left) {
            Ok(0) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) if is_timeout(&error) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    fn read_some(&mut self, timeout: Duration) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
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

    /// Sends a response, all in one write.
    pub(super) fn write(&mut self, response: &Response, keep_alive: bool) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.limits.request.max(Duration::from_millis(1))))?;
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let more = match response.status {
            503 => "Retry-After: 1\r\n",
            405 => "Allow: GET, POST\r\n",
            _ => "",
        };
        let message = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}Connection: {connection}\r\n\r\n{}",
            response.status,
            reason(response.status),
            response.body.len(),
            response.body
        );
        self.stream.write_all(message.as_bytes())
    }

    /// Ends the connection so that the client can still read the last answer: a socket that is closed with unread bytes
    /// in it is reset.
    pub(super) fn close(mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut drained = 0;
        while drained < DRAINED_BYTES && Instant::now() < deadline {
            self.buffer.clear();
            match self.read_some(LOOK_UP) {
                Ok(read) if read > 0 => drained += read,
                _ => return,
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}
