//! Servers that misbehave, asked by each client of this program: a named error in time, and no more bytes than an answer may
//! have.

mod stub_server;

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use memtrain::rollout::retrieve::{HttpRetriever, Retriever};
use memtrain::sampler::config::HttpConfig;
use memtrain::sampler::http::chat::ChatRequest;
use memtrain::sampler::{ChatConfig, ChatServer, HttpSampler, RngKey, SampleRequest, Sampler, SamplingParams};
use serde_json::Value;
use stub_server::{STOP, Stub};

/// Bytes that sockets hold between a server that writes and a client that no longer reads.
const SOCKETS: usize = 16 << 20;

/// Writes something instead of an answer, then closes the connection.
type Misbehaves = Arc<dyn Fn(&mut dyn Write) -> Result<()> + Send + Sync>;

/// A server that misbehaves at one path, and has one model.
struct Hostile {
    url: String,
    /// Requests that were misbehaved to, and bytes that were sent to them.
    asked: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

/// Counts what it writes.
struct Counted<'a>(&'a TcpStream, &'a AtomicUsize);

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.fetch_add(written, SeqCst);
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// What misbehaves, and how. Its threads end with the test.
fn misbehaving(path: &str, how: Misbehaves) -> Hostile {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (path, counters) = (path.to_owned(), (Arc::clone(&asked), Arc::clone(&sent)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (path, how, (asked, sent)) = (path.clone(), Arc::clone(&how), counters.clone());
            std::thread::spawn(move || {
                let at = read_request(&stream)?;
                if at == path {
                    asked.fetch_add(1, SeqCst);
                    return how(&mut Counted(&stream, &sent));
                }
                (&stream).write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"data\": [{\"id\": \"m\"}]}")
            });
        }
    });
    Hostile { url, asked, sent }
}

/// Reads a request to its end; its path.
fn read_request(stream: &TcpStream) -> Result<String> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(first.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Always the same bytes.
fn bytes(bytes: impl Into<Vec<u8>>) -> Misbehaves {
    let bytes = bytes.into();
    Arc::new(move |to: &mut dyn Write| to.write_all(&bytes))
}

/// A beginning, then the same bytes without end, now and then or as fast as they are taken.
fn endless(head: &str, piece: &str, pause: Duration) -> Misbehaves {
    let (head, piece) = (head.to_owned(), piece.to_owned());
    Arc::new(move |to: &mut dyn Write| -> Result<()> {
        to.write_all(head.as_bytes())?;
        loop {
            to.write_all(piece.as_bytes())?;
            to.flush()?;
            std::thread::sleep(pause);
        }
    })
}

fn http(url: &str, timeout_s: f64) -> HttpConfig {
    HttpConfig { url: url.to_owned(), timeout_s, retries: 1, backoff_s: 0.01, ..HttpConfig::default() }
}

fn request(max_tokens: usize) -> SampleRequest {
    let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens };
    SampleRequest { prompt_ids: vec![1, 2, 3], params, rng_key: RngKey::default() }
}

fn complaint<T: Debug>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.expect_err("nothing can be made of such an answer"))
}

/// Asks by the client that the path belongs to, as a program would; what it complains of.
fn ask(url: &str, path: &str, timeout_s: f64) -> String {
    let sampler = || HttpSampler::connect(&http(url, timeout_s), &[STOP], 100);
    match path {
        "/v1/models" => complaint(sampler()),
        "/v1/completions" => complaint(sampler().unwrap().sample(&[request(8)])),
        "/v1/chat/completions" => {
            let HttpConfig { url, retries, backoff_s, .. } = http(url, timeout_s);
            let config = ChatConfig { url, timeout_s, retries, backoff_s, ..ChatConfig::default() };
            let question = ChatRequest { user: "who?".to_owned(), max_tokens: 8 };
            complaint(ChatServer::connect(&config).unwrap().answer(vec![question], |_| Ok(())))
        }
        "/retrieve" => {
            let retriever = HttpRetriever::new(url, Duration::from_secs_f64(timeout_s));
            complaint(retriever.retrieve(&["who?"], 3).map_err(Into::into))
        }
        _ => unreachable!("{path}"),
    }
}

const PATHS: [&str; 4] = ["/v1/models", "/v1/completions", "/v1/chat/completions", "/retrieve"];

#[test]
fn an_answer_without_end_is_read_as_far_as_an_answer_may_go() {
    let (ok, chunked) =
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let long = "a".repeat(1 << 16);
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(1 << 16));
    let cases = [
        (format!("{ok}{{\"choices\": ["), "[1,2,3],".repeat(1 << 13)),
        (format!("{ok}{{\"result\": [["), "{\"text\":\"\"},".repeat(1 << 13)),
        (format!("{ok}{{\"data\": [{{\"id\": \""), long.clone()),
        (chunked.to_owned(), chunk),
        ("HTTP/1.1 500 X\r\nConnection: close\r\n\r\n".to_owned(), "error ".repeat(10_000)),
        ("HTTP/1.1 400 X\r\nConnection: close\r\n\r\n".to_owned(), "error ".repeat(10_000)),
        ("HTTP/1.1 200 OK\r\n".to_owned(), "X-Header: yyyyyyyyyyyyyy\r\n".repeat(1_000)),
        ("HTTP/1.1 200 OK\r\nX-Header: ".to_owned(), long),
        (String::new(), "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000)),
    ];
    let check = |path: &str, head: &str, piece: &str| {
        let stub = misbehaving(path, endless(head, piece, Duration::ZERO));
        let begun = Instant::now();
        let said = ask(&stub.url, path, 30.0);
        assert!(said.contains(path), "{said}");
        assert!(said.len() < 2_000, "an error repeats little: {} bytes", said.len());
        // Long before the deadline: it is the bytes that end it.
        assert!(begun.elapsed() < Duration::from_secs(25), "{path} {head:?}: {:?}", begun.elapsed());
        let (sent, asked) = (stub.sent.load(SeqCst), stub.asked.load(SeqCst));
        assert!(asked > 0);
        assert!(sent < asked * (SOCKETS + (4 << 20)), "{path} {head:?}: {sent} bytes in {asked} answers");
    };
    let (check, cases) = (&check, &cases);
    std::thread::scope(|threads| {
        for path in PATHS {
            threads.spawn(move || cases.iter().for_each(|(head, piece)| check(path, head, piece)));
        }
    });
}

#[test]
fn an_answer_that_trickles_is_over_at_the_deadline() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n";
    for path in ["/v1/models", "/v1/completions", "/v1/chat/completions"] {
        for (head, piece) in [(head.to_owned(), "X: y\r\n"), (format!("{head}\r\n"), " "), (String::new(), "H")] {
            let stub = misbehaving(path, endless(&head, piece, Duration::from_millis(30)));
            let begun = Instant::now();
            let said = ask(&stub.url, path, 0.3);
            assert!(said.contains("does not answer") || said.contains("answers"), "{said}");
            // Twice, and what two threads of a busy machine take.
            assert!(begun.elapsed() < Duration::from_secs(4), "{path}: {:?}", begun.elapsed());
        }
    }
}

#[test]
fn lengths_that_lie_and_answers_that_break_off_are_named() {
    let answer =
        r#"{"choices": [{"finish_reason": "length", "token_ids": [1], "logprobs": {"token_logprobs": [-1.0]}}]}"#;
    let with = |line: &str, body: &str| format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{line}\r\n\r\n{body}");
    let lengths = ["5000", "9223372036854775808", "4000000000", "20", "-5", "many", "0", "5\r\nContent-Length: 90"];
    let mut cases: Vec<String> =
        lengths.iter().map(|length| with(&format!("Content-Length: {length}"), answer)).collect();
    cases.extend([
        with("X: y", &answer[..50]),
        with("Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFFFF\r\nabc\r\nxyz\r\n"),
        with("Transfer-Encoding: chunked", "5\r\n{\"cho"),
        with("Content-Encoding: gzip", "\u{1f}\u{8b}\u{8}"),
        "HTTP/1.1 200 OK\r\nContent-Ty".to_owned(),
        "220 mail.example ESMTP\r\n\u{1b}[2J\r\n".to_owned(),
        String::new(),
    ]);
    for case in cases {
        let stub = misbehaving("/v1/completions", bytes(case.clone()));
        let said = ask(&stub.url, "/v1/completions", 2.0);
        assert!(said.contains("/v1/completions`") && !said.contains('\u{1b}'), "{case:?}: {said}");
    }
}

#[test]
fn no_redirect_is_followed_and_no_key_leaves() {
    let elsewhere = Stub::start();
    for status in [301, 302, 303, 307, 308] {
        for path in PATHS {
            let head = format!("HTTP/1.1 {status} X\r\nLocation: {}{path}\r\nContent-Length: 0\r\n\r\n", elsewhere.url);
            let stub = misbehaving(path, bytes(head));
            let said = ask(&stub.url, path, 5.0);
            assert!(said.contains("redirects to") && said.contains(&elsewhere.url), "{path} {status}: {said}");
        }
    }
    assert!(elsewhere.paths().is_empty(), "{:?}", elsewhere.paths());
}

/// A completion with these log-probabilities, as JSON has them.
fn scored(log_probs: &str) -> Misbehaves {
    let count = log_probs.matches(',').count() + 1;
    let body = format!(
        r#"{{"choices": [{{"finish_reason": "length", "token_ids": {:?}, "logprobs": {{"token_logprobs": [{log_probs}]}}}}]}}"#,
        vec![5; count]
    );
    bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn log_probabilities_that_no_drawn_token_has_are_refused() {
    for wrong in [
        "-1e308",
        "-1e39",
        "-1e5",
        "-9999.0",
        "0.5",
        "1e30",
        "1e999",
        "-1e999",
        "NaN",
        "-Infinity",
        "null",
        "\"-1\"",
        "[]",
    ] {
        let stub = misbehaving("/v1/completions", scored(&format!("-0.5, {wrong}, -1.5")));
        let said = ask(&stub.url, "/v1/completions", 5.0);
        assert!(said.contains("something else than was asked for") && said.len() < 1_000, "{wrong}: {said}");
    }
    // Whatever is let through is a number that can be trained on.
    for right in ["-0.0", "0", "1e-9", "-1e-30", "-87.3", "-400.0", "-0.50000000000000000000000000000000000000001"] {
        let stub = misbehaving("/v1/completions", scored(right));
        let mut sampler = HttpSampler::connect(&http(&stub.url, 5.0), &[STOP], 100).unwrap();
        let drawn = sampler.sample(&[request(8)]).unwrap().remove(0);
        assert!(drawn.log_probs.iter().all(|value| value.is_finite() && *value <= 0.0), "{right}: {drawn:?}");
    }
}

#[test]
fn a_response_goes_on_after_no_stop_token() {
    let stub = Stub::start();
    *stub.script.spoil.lock().unwrap() = Some(|answer: &mut Value| {
        if let Some(ids) = answer.pointer_mut("/choices/0/token_ids").and_then(Value::as_array_mut) {
            ids[0] = STOP.into();
        }
    });
    let said = ask(&stub.url, "/v1/completions", 5.0);
    assert!(said.contains("token 0 of") && said.contains("the stop token 7"), "{said}");
}

#[test]
fn a_name_that_is_not_fit_to_be_shown_is_not_taken() {
    for name in ["\\u001b]0;owned\\u0007".to_owned(), "m".repeat(1 << 20)] {
        let body = format!("{{\"data\": [{{\"id\": \"{name}\"}}]}}");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let said = ask(&misbehaving("/v1/models", bytes(answer)).url, "/v1/models", 5.0);
        assert!(said.contains("name one in `model`") && said.len() < 1_000 && !said.contains('\u{1b}'), "{said}");
    }
}
