//! Endpoints that lie: nothing is written outside of the cache, no token goes to another host, nothing is without end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use memtrain_corpora::store;
use memtrain_hub::{Hub, Needed};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a server answers to a path that ends in this: headers and body.
type Answers = BTreeMap<&'static str, (String, String)>;

/// A server; it keeps the requests with their headers.
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away is no failure of the server.
                let _ = answer(stream.unwrap(), &answers, &requests);
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, answers: &Answers, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    seen.lock().unwrap().push(request.join("\n"));
    let path = request.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    match answers.iter().find(|(ending, _)| path.ends_with(**ending)) {
        Some((_, (head, body))) => write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}"),
        None => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn listing(commit: &str, files: &[&str]) -> (String, String) {
    let siblings: Vec<String> = files.iter().map(|name| format!("{{\"rfilename\":\"{name}\"}}")).collect();
    let body = format!("{{\"sha\":\"{commit}\",\"siblings\":[{}]}}", siblings.join(","));
    (format!("200 OK\r\nContent-Length: {}", body.len()), body)
}

fn file(tag: &str, commit: &str, body: &str) -> (String, String) {
    (format!("200 OK\r\nContent-Length: {}\r\nETag: \"{tag}\"\r\nX-Repo-Commit: {commit}", body.len()), body.to_owned())
}

/// Everything below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in store::list(folder).unwrap() {
        if store::is_dir(&path) {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

/// The message of a download that must fail without anything outside of the cache.
fn refused(answers: Answers) -> String {
    let around = tempfile::tempdir().unwrap();
    let cache = around.path().join("a").join("b").join("hub");
    store::create_dir_all(&cache).unwrap();
    let server = Server::start(answers);
    let hub = Hub { endpoint: server.address, token: Some("secret".to_owned()), ..Hub::at(&cache) };
    let error = hub.resolve("someone/tiny", Needed::Tokenizer).unwrap_err().to_string();
    let outside = below(around.path()).into_iter().filter(|path| !path.starts_with(&cache) && !cache.starts_with(path));
    assert_eq!(outside.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "{error}");
    error
}

#[test]
fn names_of_the_endpoint_stay_inside_the_cache() {
    let sound = || listing(COMMIT, &["config.json", "tokenizer.json"]);
    for commit in ["../../../evil", "main", "", "/etc", "0123"] {
        let message = refused(Answers::from([("revision/main", listing(commit, &["config.json"]))]));
        assert!(message.contains("names no commit"), "{message}");
    }
    for name in ["..json", ".json", "a b.json", "a\\\\b.json", "\\u0000.json", "\\u001b[2J.json"] {
        let message = refused(Answers::from([("revision/main", listing(COMMIT, &[name]))]));
        assert!(message.contains("no plain name") || message.contains("has no"), "{name}: {message}");
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
    for tag in ["../../../../evil", "..", "", "a/b", "/tmp/evil", &"a".repeat(500)] {
        let message = refused(Answers::from([("revision/main", sound()), (".json", file(tag, COMMIT, "{}"))]));
        assert!(message.contains("entity tag"), "{tag}: {message}");
    }
    let message = refused(Answers::from([("revision/main", sound()), (".json", file("0a", "../../evil", "{}"))]));
    assert!(message.contains("is no commit"), "{message}");
}

#[test]
fn a_token_goes_to_the_endpoint_alone() {
    let elsewhere = Server::start(Answers::from([(".json", file("other-tag", COMMIT, "{}"))]));
    let moved = |name: &str| {
        let head = format!(
            "302 Found\r\nLocation: {}/{name}\r\nX-Linked-ETag: \"tag-{name}\"\r\nContent-Length: 0",
            elsewhere.address
        );
        (head, String::new())
    };
    let home = Server::start(Answers::from([
        ("revision/main", listing(COMMIT, &["config.json", "tokenizer.json"])),
        ("config.json", moved("config.json")),
        ("tokenizer.json", moved("tokenizer.json")),
    ]));
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub { endpoint: home.address.clone(), token: Some("secret".to_owned()), ..Hub::at(cache.path()) };
    let folder = hub.resolve("someone/tiny", Needed::Tokenizer).unwrap();
    assert_eq!(store::read_to_string(&folder.join("config.json")).unwrap(), "{}");
    // The hub's own tag names the blob, not that of where it leads.
    assert!(store::exists(&cache.path().join("models--someone--tiny/blobs/tag-config.json")));
    assert!(home.seen().iter().all(|request| request.to_lowercase().contains("authorization: bearer secret")));
    assert!(elsewhere.seen().len() >= 2);
    for request in elsewhere.seen() {
        assert!(!request.contains("secret"), "{request}");
    }
}

#[test]
fn redirects_and_bodies_end() {
    let sound = || listing(COMMIT, &["config.json", "tokenizer.json"]);
    let around = ("302 Found\r\nLocation: /config.json\r\nContent-Length: 0".to_owned(), String::new());
    let message = refused(Answers::from([("revision/main", sound()), (".json", around)]));
    assert!(message.contains("redirects"), "{message}");
    let local = ("302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0".to_owned(), String::new());
    let message = refused(Answers::from([("revision/main", sound()), (".json", local)]));
    assert!(message.contains("redirects to"), "{message}");
    // Without a length that is announced, a body may have 64 MiB.
    let endless = (format!("200 OK\r\nETag: \"0a\"\r\nX-Repo-Commit: {COMMIT}"), "x".repeat(65 << 20));
    let message = refused(Answers::from([("revision/main", sound()), (".json", endless)]));
    assert!(message.contains("announced"), "{message}");
    // A listing, too.
    let long = ("200 OK".to_owned(), "[".repeat(65 << 20));
    let message = refused(Answers::from([("revision/main", long)]));
    assert!(message.contains("revision/main"), "{message}");
    let deep = "[".repeat(100_000);
    let message =
        refused(Answers::from([("revision/main", (format!("200 OK\r\nContent-Length: {}", deep.len()), deep))]));
    assert!(message.contains("recursion"), "{message}");
}

#[test]
fn what_was_cut_off_is_taken_up() {
    // The first answer breaks off after four bytes; ranges give the rest.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let range = request.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=4-").map(drop));
            let answer = match (request[0].contains("/api/"), range) {
                (true, _) => {
                    let (head, body) = listing(COMMIT, &["config.json", "tokenizer.json"]);
                    format!("{head}\r\nConnection: close\r\n\r\n{body}")
                }
                (false, None) => {
                    "200 OK\r\nETag: \"0a\"\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123".to_owned()
                }
                (false, Some(())) => {
                    "206 Partial Content\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\nETag: \"0a\"\r\n\
                                      Connection: close\r\n\r\n456789"
                        .to_owned()
                }
            };
            let _ = write!(stream, "HTTP/1.1 {answer}");
        }
    });
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub { endpoint, ..Hub::at(cache.path()) };
    let folder = hub.resolve("someone/tiny", Needed::Tokenizer).unwrap();
    assert_eq!(store::read_to_string(&folder.join("tokenizer.json")).unwrap(), "0123456789");
}
