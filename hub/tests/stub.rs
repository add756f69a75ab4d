//! Downloads from a server of our own that answers as the hub does: a listing, ranges, commit and entity tags.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use memtrain_corpora::store;
use memtrain_hub::{Hub, HubError, Needed};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NAME: &str = "someone/tiny";

/// Files by name, and every request line that was seen.
struct Stub {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn start(files: &[(&str, &str)]) -> Self {
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away is no failure of the server.
                let _ = answer(stream.unwrap(), &files, &seen);
            }
        });
        Self { endpoint, requests }
    }

    fn count(&self, part: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    seen.lock().unwrap().push(format!("{request} {}", header("authorization").unwrap_or_default()));
    let path = request.split(' ').nth(1).unwrap_or_default();
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    if path.starts_with(&format!("/api/models/{NAME}/revision/")) {
        let siblings: Vec<String> = files.keys().map(|name| format!("{{\"rfilename\":\"{name}\"}}")).collect();
        let body = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}", siblings.join(","));
        let head = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        return write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\nConnection: close\r\n\r\n{body}");
    }
    let file = path.strip_prefix(&format!("/{NAME}/resolve/{COMMIT}/")).and_then(|name| Some((name, files.get(name)?)));
    let Some((name, bytes)) = file else { return stream.write_all(missing.as_bytes()) };
    let range = header("range").unwrap_or_else(|| "bytes=0-".to_owned());
    let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap_or(("0", ""));
    let start: usize = start.parse().unwrap_or(0);
    let end = end.parse().map_or(bytes.len(), |last: usize| (last + 1).min(bytes.len()));
    let part = &bytes[start.min(end)..end];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nETag: \"tag-{}\"\r\n\
         X-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
        part.len(),
        end.saturating_sub(1),
        bytes.len(),
        name.replace('/', "-"),
    )?;
    stream.write_all(part)
}

const FILES: [(&str, &str); 6] = [
    ("README.md", "nothing that is read"),
    ("config.json", "{\"model_type\": \"qwen3\"}"),
    ("tokenizer.json", "{}"),
    (
        "model.safetensors.index.json",
        "{\"weight_map\": {\"a\": \"model-1.safetensors\", \"b\": \"model-2.safetensors\"}}",
    ),
    ("model-1.safetensors", "first half"),
    ("model-2.safetensors", "second half"),
];

#[test]
fn a_model_is_downloaded_once_and_then_found_without_a_network() {
    let cache = tempfile::tempdir().unwrap();
    let stub = Stub::start(&FILES);
    let hub = Hub { endpoint: stub.endpoint.clone(), token: Some("secret".to_owned()), ..Hub::at(cache.path()) };
    let tokenizer = hub.resolve(NAME, Needed::Tokenizer).unwrap();
    assert!(store::exists(&tokenizer.join("tokenizer.json")));
    assert_eq!(stub.count("safetensors HTTP"), 0, "weights were fetched for a tokenizer");
    let offline = Hub { offline: true, ..hub.clone() };
    assert!(
        matches!(offline.resolve(NAME, Needed::Model), Err(HubError::Offline { .. })),
        "half a model was taken for one"
    );
    let folder = hub.resolve(NAME, Needed::Model).unwrap();
    assert_eq!(folder, tokenizer);
    for (name, text) in FILES.iter().skip(1) {
        assert_eq!(store::read_to_string(&folder.join(name)).unwrap(), *text, "{name}");
    }
    assert!(!store::exists(&folder.join("README.md")));
    assert!(stub.count("Bearer secret") > 0);
    let before = stub.count("GET");
    assert_eq!(hub.resolve(NAME, Needed::Model).unwrap(), folder);
    assert_eq!(offline.resolve(NAME, Needed::Model).unwrap(), folder);
    assert_eq!(offline.resolve(&format!("{NAME}@{COMMIT}"), Needed::Model).unwrap(), folder);
    assert_eq!(stub.count("GET"), before, "what is in the cache was asked for again");
}

#[test]
fn what_cannot_be_had_is_told() {
    let cache = tempfile::tempdir().unwrap();
    let stub = Stub::start(&FILES[..3]);
    let hub = Hub { endpoint: stub.endpoint, ..Hub::at(cache.path()) };
    let error = hub.resolve("someone/other", Needed::Model).unwrap_err();
    assert!(error.to_string().contains("404") && error.hint().contains("hf download someone/other"), "{error}");
    let error = hub.resolve(NAME, Needed::Model).unwrap_err();
    assert!(error.to_string().contains("`model.safetensors`"), "{error}");
    // Nobody listens there.
    let nobody = Hub { endpoint: "http://127.0.0.1:1".to_owned(), ..hub };
    let error = nobody.resolve("someone/third", Needed::Model).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    let error = nobody.resolve("no such folder", Needed::Model).unwrap_err();
    assert!(matches!(error, HubError::NoName { .. }), "{error}");
}
