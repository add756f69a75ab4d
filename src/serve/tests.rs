use std::io::Read;
use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use super::*;
use crate::rollout::retrieve::{Found, HttpRetriever, RetrieveError};

/// Gives back the query; waits while the gate is closed.
#[derive(Default)]
struct Echo {
    closed: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Retriever for Echo {
    fn retrieve(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut closed = self.closed.lock().unwrap();
        while *closed {
            closed = self.opened.wait(closed).unwrap();
        }
        let found = |query: &&str| {
            let one = |rank: usize| Found {
                id: rank.to_string(),
                title: format!("T{rank}"),
                text: (*query).to_owned(),
                score: 1.0 / (rank + 1) as f32,
            };
            (0..k).map(one).collect()
        };
        Ok(queries.iter().map(found).collect())
    }
}

/// Runs `client` against a server; gives what the server has counted.
fn served(config: &ServeConfig, echo: &Echo, client: impl FnOnce(SocketAddr, &StopRequest) + Send) -> ServeSummary {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), StopRequest::default());
    std::thread::scope(|threads| {
        let server = threads.spawn(|| serve(&listener, echo, json!({"passages": 3}), config, &stop).unwrap());
        // A client that fails must not leave the server waiting for ever.
        let result = catch_unwind(AssertUnwindSafe(|| client(address, &stop)));
        stop.request();
        let summary = server.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        summary
    })
}

/// Sends bytes and reads the answer to its end.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn post(body: &str) -> Vec<u8> {
    format!(
        "POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn the_client_finds_over_http_what_is_found_in_process() {
    let echo = Echo::default();
    let summary = served(&ServeConfig::default(), &echo, |address, _| {
        let client = HttpRetriever::new(&format!("http://{address}/"), Duration::from_secs(10));
        let queries: Vec<String> = (0..150).map(|number| format!("Frage {number}: \"é\n\"?")).collect();
        let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
        assert_eq!(client.retrieve(&queries, 4).unwrap(), echo.retrieve(&queries, 4).unwrap());
        let error = client.retrieve(&["x"], 1000).unwrap_err();
        assert!(matches!(error, RetrieveError::Refused { status: 400, .. }), "{error}");
    });
    assert_eq!(summary, ServeSummary { answered: 3, refused: 1, turned_away: 0 });
}

#[test]
fn the_protocol_is_that_of_search_r1() {
    served(&ServeConfig::default(), &Echo::default(), |address, _| {
        let answer = raw(address, &post(r#"{"queries": ["river"], "topk": 1, "return_scores": true}"#));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let document = r#"{"id":"0","title":"T0","text":"river","contents":"\"T0\"\nriver"}"#;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body, format!(r#"{{"result":[[{{"document":{document},"score":1.0}}]]}}"#));
        let answer = raw(address, &post(r#"{"queries": ["river"], "topk": 1, "unknown": 0}"#));
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, format!(r#"{{"result":[[{document}]]}}"#));
        let answer = raw(address, &post(r#"{"queries": ["a", "b"]}"#));
        assert_eq!(answer.matches("contents").count(), 2 * ServeConfig::default().default_topk);
        let health = raw(address, b"GET /health?x=1 HTTP/1.0\r\n\r\n");
        assert!(health.ends_with(r#"{"status":"ok","passages":3}"#), "{health}");
    });
}

#[test]
fn whatever_is_wrong_is_told_with_its_status() {
    let config = ServeConfig { max_body_bytes: 100, max_queries: 2, max_topk: 5, ..ServeConfig::default() };
    let summary = served(&config, &Echo::default(), |address, _| {
        let long = "x".repeat(17 << 10);
        let cases: Vec<(Vec<u8>, u16, &str)> = vec![
            (post("nonsense"), 400, "the body is not"),
            (post(r#"{"query": "x"}"#), 400, "queries"),
            (post(r#"{"queries": ["a", "b", "c"]}"#), 400, "3 queries"),
            (post(r#"{"queries": [], "topk": 0}"#), 400, "`topk` is 0"),
            (post(r#"{"queries": [], "topk": 6}"#), 400, "not 1 to 5"),
            (post(r#"{"queries": [], "topk": -1}"#), 400, "topk"),
            (post(&format!("{{\"queries\": [\"{}\"]}}", "x".repeat(100))), 413, "at most 100"),
            (
                b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n"
                    .to_vec(),
                413,
                "at most",
            ),
            (b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: -3\r\n\r\n".to_vec(), 400, "no number"),
            (
                b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"
                    .to_vec(),
                400,
                "no number",
            ),
            (b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), 411, "needs a Content-Length"),
            (
                b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
                411,
                "not in chunks",
            ),
            (b"GET /health HTTP/1.1\r\n\r\n".to_vec(), 400, "names one Host"),
            (
                b"GET /health HTTP/1.1\r\nHost: evil.example:8000\r\n\r\n".to_vec(),
                403,
                "`evil.example:8000` is no name",
            ),
            (b"GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n".to_vec(), 403, "pages of `null`"),
            (b"GET /retrieve HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), 405, "POST is"),
            (b"DELETE /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), 405, "GET is"),
            (
                b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
                404,
                "POST /retrieve, GET /health",
            ),
            (b"\x16\x03\x01 hello\r\n\r\n".to_vec(), 400, "no HTTP request"),
            (format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n").into_bytes(), 431, "longer than"),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(70)).into_bytes(), 431, "64 lines"),
        ];
        for (bytes, status, part) in &cases {
            let answer = raw(address, bytes);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status} {part}: {answer}");
            let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert!(body["error"].as_str().unwrap().contains(part), "{body}");
        }
        // After all that it still answers.
        assert!(raw(address, &post(r#"{"queries": []}"#)).ends_with(r#"{"result":[]}"#));
    });
    assert_eq!((summary.answered, summary.refused), (1, 21));
}

#[test]
fn a_connection_serves_many_requests_and_what_comes_early_is_kept() {
    served(&ServeConfig::default(), &Echo::default(), |address, _| {
        let body = r#"{"queries": ["x"], "topk": 1}"#;
        let one = format!("POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let last = String::from_utf8(post(body)).unwrap();
        let answer = raw(address, format!("{one}{one}{last}").as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /retrieve HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        let mut leave = [0; 25];
        stream.read_exact(&mut leave).unwrap();
        assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    });
}

#[test]
fn slow_clients_are_let_go_and_hold_up_nobody() {
    let config = ServeConfig {
        request_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(200),
        ..ServeConfig::default()
    };
    served(&config, &Echo::default(), |address, _| {
        let mut slow = TcpStream::connect(address).unwrap();
        slow.write_all(b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{").unwrap();
        let silent = TcpStream::connect(address).unwrap();
        assert!(raw(address, &post(r#"{"queries": []}"#)).contains("200 OK"));
        // Drop by drop does not help: the time is that of the whole request.
        let mut answer = String::new();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(40));
            if slow.write_all(b" ").is_err() {
                break;
            }
        }
        let _ = slow.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!((&silent).read(&mut [0; 9]).unwrap(), 0, "a silent connection is closed");
    });
}

#[test]
fn a_full_server_says_so_and_a_request_under_way_is_finished_when_it_stops() {
    // Three places, of which one address has two.
    let config = ServeConfig { max_connections: 3, ..ServeConfig::default() };
    let echo = Echo::default();
    *echo.closed.lock().unwrap() = true;
    let summary = served(&config, &echo, |address, stop| {
        let under_way: Vec<_> = (0..2)
            .map(|_| std::thread::spawn(move || raw(address, &post(r#"{"queries": ["x"], "topk": 1}"#))))
            .collect();
        let waited = Instant::now();
        while echo.waiting.load(Ordering::SeqCst) < 2 {
            assert!(waited.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
        let refused = raw(address, &post(r#"{"queries": ["x"]}"#));
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("Retry-After: 1"), "{refused}");
        stop.request();
        std::thread::sleep(Duration::from_millis(200));
        *echo.closed.lock().unwrap() = false;
        echo.opened.notify_all();
        for answer in under_way {
            assert!(answer.join().unwrap().starts_with("HTTP/1.1 200 OK"));
        }
    });
    assert_eq!((summary.answered, summary.turned_away), (2, 1));
}

#[test]
fn a_server_that_is_full_for_a_while_is_asked_again() {
    let config = ServeConfig { max_connections: 1, ..ServeConfig::default() };
    let echo = Echo::default();
    *echo.closed.lock().unwrap() = true;
    served(&config, &echo, |address, _| {
        std::thread::scope(|threads| {
            threads.spawn(|| raw(address, &post(r#"{"queries": ["x"], "topk": 1}"#)));
            while echo.waiting.load(Ordering::SeqCst) < 1 {
                std::thread::sleep(Duration::from_millis(5));
            }
            threads.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                *echo.closed.lock().unwrap() = false;
                echo.opened.notify_all();
            });
            let client = HttpRetriever::new(&format!("http://{address}"), Duration::from_secs(5));
            assert_eq!(client.retrieve(&["y"], 1).unwrap()[0][0].text, "y");
        });
    });
    let nobody = HttpRetriever::new("http://127.0.0.1:1", Duration::from_secs(1));
    let error = nobody.retrieve(&["x"], 1).unwrap_err();
    assert!(matches!(error, RetrieveError::Unreachable { attempts: 5, .. }), "{error}");
}

/// The passages of an answer: as many as were asked for, whole, in their order.
fn check_lists(body: &str, num_queries: usize, topk: usize, query: &str) {
    let value: Value = serde_json::from_str(body).unwrap();
    let lists = value["result"].as_array().unwrap();
    assert_eq!(lists.len(), num_queries);
    for list in lists {
        let ids: Vec<&str> = list.as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect();
        assert_eq!(ids, (0..topk).map(|rank| rank.to_string()).collect::<Vec<_>>());
        assert!(list.as_array().unwrap().iter().all(|found| found["text"] == query));
    }
}

/// A request of so many queries of so many bytes, and one of the queries.
fn large(num_queries: usize, bytes: usize, topk: usize) -> (Vec<u8>, String) {
    let query = "w".repeat(bytes);
    (post(&json!({"queries": vec![&query; num_queries], "topk": topk}).to_string()), query)
}

#[test]
fn a_long_answer_comes_in_chunks_or_until_the_end_of_the_connection() {
    served(&ServeConfig::default(), &Echo::default(), |address, _| {
        assert!(raw(address, &large(1, QUERY_BYTES + 1, 1).0).contains("at most 16384 are searched for"));
        let (request, query) = large(70, 100, 100);
        let answer = raw(address, &request);
        let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Transfer-Encoding: chunked") && !head.contains("Content-Length"), "{head}");
        let (mut body, mut pieces) = (String::new(), 0);
        while let Some((size, after)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            body.push_str(&after[..size]);
            rest = after[size..].strip_prefix("\r\n").unwrap();
            pieces += 1;
        }
        assert!(pieces > 5 && rest.is_empty(), "{pieces} pieces");
        check_lists(&body, 70, 100, &query);
        let old = String::from_utf8(request).unwrap().replace("HTTP/1.1", "HTTP/1.0");
        let answer = raw(address, old.as_bytes());
        let (head, until_the_end) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("Transfer-Encoding") && !head.contains("Content-Length"), "{head}");
        assert_eq!(until_the_end, body);
        // A client of this program's own reads them too, one after the other over one connection.
        let client = HttpRetriever::new(&format!("http://{address}"), Duration::from_secs(10));
        for _ in 0..2 {
            let found = client.retrieve(&vec![query.as_str(); 70], 100).unwrap();
            assert!(found.len() == 70 && found.iter().flatten().all(|found| found.text == query));
        }
    });
}

/// Takes a few bytes now and then, for as long as there are any.
fn read_slowly(mut stream: TcpStream) {
    while matches!(stream.read(&mut [0; 512]), Ok(1..)) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_slow_reader_has_one_deadline_and_no_more_is_looked_up_than_it_takes() {
    let config = ServeConfig { request_timeout: Duration::from_millis(600), ..ServeConfig::default() };
    let echo = Echo::default();
    let summary = served(&config, &echo, |address, _| {
        let (request, _) = large(256, 2_000, 100);
        let streams: Vec<TcpStream> = (0..4)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&request).unwrap();
                stream
            })
            .collect();
        // 100 MB are asked for. What the sockets hold and a piece are looked up, two queries at a time.
        std::thread::sleep(Duration::from_millis(300));
        let pieces = echo.waiting.load(Ordering::SeqCst);
        assert!((4..4 * 40).contains(&pieces), "{pieces} of {} pieces", 4 * 128);
        // The socket's own buffers are read to their end after the server has let go.
        std::thread::sleep(Duration::from_millis(600));
        let pieces = echo.waiting.load(Ordering::SeqCst);
        assert!(raw(address, &post(r#"{"queries": ["x"], "topk": 1}"#)).contains("200 OK"));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(echo.waiting.load(Ordering::SeqCst), pieces + 1, "nothing more is made for them");
        drop(streams);
    });
    assert_eq!(summary.answered, 1, "an answer that nobody took was none");
}

#[test]
fn the_server_ends_soon_whatever_its_clients_do() {
    let config = ServeConfig { request_timeout: Duration::from_secs(60), ..ServeConfig::default() };
    let begun = Mutex::new(Instant::now());
    served(&config, &Echo::default(), |address, stop| {
        let (request, _) = large(256, 2_000, 100);
        let connect = |bytes: &[u8]| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(bytes).unwrap();
            stream
        };
        let readers: Vec<TcpStream> = (0..6).map(|_| connect(&request)).collect();
        let half = b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{".as_slice();
        let writers: Vec<TcpStream> = [half, b"POST /retrieve HTTP/1.1\r\nX: ", b""].into_iter().map(connect).collect();
        std::thread::sleep(Duration::from_millis(200));
        stop.request();
        *begun.lock().unwrap() = Instant::now();
        for stream in readers {
            std::thread::spawn(move || read_slowly(stream));
        }
        for mut stream in writers {
            // The one byte more every now and then does not keep it either.
            for _ in 0..10 {
                std::thread::sleep(Duration::from_millis(20));
                let _ = stream.write_all(b" ");
            }
        }
    });
    // `served` has waited for the server.
    let seconds = begun.lock().unwrap().elapsed().as_secs_f64();
    assert!(seconds < 4.0, "{seconds} s");
}
