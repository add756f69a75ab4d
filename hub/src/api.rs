//! Requests to a hub, and the files that come of them, in the layout of the cache.
//!
//! What an endpoint says is not believed: names, commits and entity tags become parts of paths only if they are plain
//! ([`is_plain`]), sizes and times are bounded, and the token goes to the endpoint's own address alone, also where the
//! endpoint redirects.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use memtrain_corpora::store;
use serde_json::Value;
use ureq::http::{Response, StatusCode, Uri, header};

use crate::cache::{Repository, is_commit, is_plain, is_plain_path};

/// Most redirects of one request.
const REDIRECTS: usize = 5;
/// Most bytes of a listing, and of a file whose length the endpoint does not say.
const UNSAID: u64 = 64 << 20;
/// Most files of a listing.
const FILES: usize = 100_000;
/// How often a download that was cut off is taken up again.
const RETRIES: u32 = 3;
/// Silence after which a connection is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Time for the question whether the endpoint answers at all.
const REACH: Duration = Duration::from_secs(5);

/// A hub, and who asks it.
pub(crate) struct Api {
    agent: ureq::Agent,
    endpoint: String,
    token: Option<String>,
    progress: bool,
}

/// A commit with the names of its files.
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<String>,
}

/// Why a request did not succeed.
struct Failure {
    detail: String,
    /// The same request may succeed if it is sent again.
    is_passing: bool,
}

impl From<String> for Failure {
    fn from(detail: String) -> Self {
        Self { detail, is_passing: false }
    }
}

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Self {
        error.to_string().into()
    }
}

impl Api {
    pub(crate) fn new(endpoint: &str, token: Option<String>, progress: bool) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Followed here, where the token can be left out.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent("memtrain")
            .build();
        Self { agent: config.new_agent(), endpoint: endpoint.to_owned(), token, progress }
    }

    /// Whether the endpoint answers in time, with whatever status but its own failure.
    pub(crate) fn reach(&self) -> Result<(), String> {
        let request = self.agent.get(&self.endpoint).config().timeout_global(Some(REACH)).build();
        let response = request.call().map_err(|error| error.to_string())?;
        match response.status().is_server_error() {
            true => Err(format!("http status {}", response.status().as_u16())),
            false => Ok(()),
        }
    }

    /// Asks for an address of the endpoint and goes where it is redirected to. Of all answers on the way, `seen` is shown
    /// the headers.
    fn get(
        &self,
        address: &str,
        from: u64,
        mut seen: impl FnMut(&Response<ureq::Body>),
    ) -> Result<Response<ureq::Body>, Failure> {
        let parse =
            |address: &str| address.parse::<Uri>().map_err(|error| format!("`{address}` is no address: {error}"));
        let home = parse(&self.endpoint)?;
        let mut address = parse(address)?;
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&address).header(header::ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| is_same_place(&home, &address)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let passing = |error: ureq::Error| Failure { detail: format!("{address}: {error}"), is_passing: true };
            let response = request.call().map_err(passing)?;
            seen(&response);
            if response.status().is_redirection() {
                let location =
                    text(&response, "location").ok_or_else(|| format!("{address}: a redirect to nowhere"))?;
                address = redirected(&address, location)?;
                continue;
            }
            if response.status().is_success() {
                return Ok(response);
            }
            let status = response.status();
            let more = match status {
                StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    " (no model of this name, or one that asks for a token)"
                }
                _ => "",
            };
            let is_passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(Failure { detail: format!("{address}: http status {}{more}", status.as_u16()), is_passing });
        }
        Err(format!("{address}: more than {REDIRECTS} redirects").into())
    }

    /// Tries again what may pass.
    fn persistently<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, String> {
        let mut tries = 0;
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) if failure.is_passing && tries < RETRIES => {
                    std::thread::sleep(Duration::from_millis(300 << tries));
                    tries += 1;
                }
                Err(failure) => return Err(failure.detail),
            }
        }
    }

    /// The files of a repository.
    pub(crate) fn listing(&self, repository: &Repository) -> Result<Listing, String> {
        let revision = repository.revision.replace('/', "%2F");
        let address = format!("{}/api/models/{}/revision/{revision}", self.endpoint, repository.name);
        let body = self.persistently(|| {
            let mut response = self.get(&address, 0, |_| ())?;
            let body = response.body_mut().with_config().limit(UNSAID).read_to_vec();
            body.map_err(|error| Failure { detail: format!("{address}: {error}"), is_passing: true })
        })?;
        let unfit = |detail: &str| format!("{address}: {detail}");
        let value: Value = serde_json::from_slice(&body).map_err(|error| unfit(&error.to_string()))?;
        let commit = value.get("sha").and_then(Value::as_str).filter(|commit| is_commit(commit));
        let commit = commit.ok_or_else(|| unfit("the answer names no commit of 40 hexadecimal digits"))?.to_owned();
        let siblings = value.get("siblings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if siblings.len() > FILES {
            return Err(unfit(&format!("the answer lists {} files; at most {FILES} expected", siblings.len())));
        }
        let names = siblings.iter().filter_map(|file| file.get("rfilename")?.as_str());
        Ok(Listing { commit, files: names.map(str::to_owned).collect() })
    }

    /// Downloads a file of a commit into the cache, unless it is there.
    pub(crate) fn download(
        &self,
        repository: &Repository,
        folder: &Path,
        commit: &str,
        file: &str,
    ) -> Result<(), String> {
        if !is_plain_path(file) {
            return Err(format!("the hub lists a file `{}`, which is no plain name", file.escape_debug()));
        }
        let pointer = folder.join("snapshots").join(commit).join(file);
        if store::exists(&pointer) {
            return Ok(());
        }
        let address = format!("{}/{}/resolve/{commit}/{file}", self.endpoint, repository.name);
        let blob = self.persistently(|| self.blob(&address, &folder.join("blobs"), file))?;
        let place = || -> Result<(), store::StoreError> {
            if let Some(parent) = pointer.parent() {
                store::create_dir_all(parent)?;
            }
            let up = "../".repeat(file.split('/').count() + 1);
            let name = blob.file_name().unwrap_or_default();
            store::link_durably(&Path::new(&up).join("blobs").join(name), &pointer)?;
            // Where there are no links, the file itself takes the place of its link.
            if !store::exists(&pointer) {
                store::rename_durably(&blob, &pointer)?;
            }
            Ok(())
        };
        place().map_err(|error| error.to_string())
    }

    /// Downloads what an address gives into the folder of blobs, under its entity tag. What was cut off is taken up where it
    /// ended, if the endpoint can.
    fn blob(&self, address: &str, blobs: &Path, file: &str) -> Result<PathBuf, Failure> {
        let (mut tag, mut commit_seen) = (None, None);
        let mut look = |response: &Response<ureq::Body>| {
            // The first answer is the hub's own; those behind a redirect have tags of their own.
            let found = text(response, "x-linked-etag").or_else(|| text(response, "etag"));
            tag = tag.take().or_else(|| found.map(str::to_owned));
            commit_seen = commit_seen.take().or_else(|| text(response, "x-repo-commit").map(str::to_owned));
        };
        // Asked from the beginning to learn the tag; the body is read only if there is nothing to take up.
        let mut response = self.get(address, 0, &mut look)?;
        if let Some(commit) = commit_seen.filter(|commit| !is_commit(commit)) {
            return Err(format!("{address}: `{}` is no commit", commit.escape_debug()).into());
        }
        let tag = tag.as_deref().map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
        let tag = tag.filter(|tag| is_plain(tag)).ok_or_else(|| {
            format!("{address}: the entity tag {tag:?} is no plain name; the files of the cache are named by it")
        })?;
        store::create_dir_all(blobs)?;
        let blob = blobs.join(tag);
        if store::exists(&blob) {
            return Ok(blob);
        }
        let _lock = store::lock(&blobs.join(format!("{tag}.lock")))?;
        let partial = blobs.join(format!("{tag}.incomplete"));
        let length = length_of(&response);
        let mut have = if store::exists(&partial) { store::len(&partial)? } else { 0 };
        if have > 0 && length.is_some_and(|length| have < length) {
            let continued = self.get(address, have, |_| ())?;
            let begins = format!("bytes {have}-");
            if continued.status() == StatusCode::PARTIAL_CONTENT
                && text(&continued, "content-range").is_some_and(|range| range.starts_with(&begins))
            {
                response = continued;
            } else {
                have = 0;
            }
        } else {
            have = 0;
        }
        if have == 0 {
            store::remove_file(&partial)?;
        }
        self.receive(response, &partial, have, length, file)?;
        store::rename_durably(&partial, &blob)?;
        Ok(blob)
    }

    /// Appends a body to a file, up to the length that was announced.
    fn receive(
        &self,
        response: Response<ureq::Body>,
        partial: &Path,
        have: u64,
        length: Option<u64>,
        file: &str,
    ) -> Result<(), Failure> {
        let bar = if self.progress { bar(length, file) } else { ProgressBar::hidden() };
        let most = length.unwrap_or(UNSAID);
        let mut written = have;
        bar.set_position(written);
        let mut target = store::append(partial)?;
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let passing = |error: std::io::Error| Failure { detail: format!("{file}: {error}"), is_passing: true };
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(passing(error)),
            };
            written += count as u64;
            if written > most {
                store::remove_file(partial)?;
                return Err(format!("{file}: more than the {most} bytes that were announced").into());
            }
            let failed = |source| store::StoreError::io("write", partial, source);
            target.write_all(&buffer[..count]).map_err(failed)?;
            bar.set_position(written);
        }
        bar.finish_and_clear();
        if length.is_some_and(|length| written < length) {
            return Err(Failure { detail: format!("{file}: {written} of {most} bytes came"), is_passing: true });
        }
        target.sync_all().map_err(|source| store::StoreError::io("flush", partial, source))?;
        Ok(())
    }
}

fn bar(length: Option<u64>, file: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
    let bar = ProgressBar::new(length.unwrap_or(0)).with_message(file.to_owned());
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

fn text<'r>(response: &'r Response<ureq::Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// Length of a whole file.
fn length_of(response: &Response<ureq::Body>) -> Option<u64> {
    let whole = text(response, "content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    whole.or_else(|| text(response, "content-length")?.parse().ok())
}

/// Whether an address has the scheme, host and port of the endpoint.
fn is_same_place(home: &Uri, address: &Uri) -> bool {
    let port = |uri: &Uri| {
        uri.port_u16().or(match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        })
    };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    home.scheme() == address.scheme() && host(home) == host(address) && port(home) == port(address)
}

/// Where a redirect leads: to an address, or to a path of the same place.
fn redirected(from: &Uri, location: &str) -> Result<Uri, String> {
    let whole = match location.strip_prefix('/') {
        Some(rest) if rest.starts_with('/') => format!("{}:{location}", from.scheme_str().unwrap_or("https")),
        Some(_) => {
            let place = from.authority().map_or("", |authority| authority.as_str());
            format!("{}://{place}{location}", from.scheme_str().unwrap_or("https"))
        }
        None => location.to_owned(),
    };
    let unfit = || format!("{from} redirects to `{}`, which is no address that is followed", whole.escape_debug());
    let address: Uri = whole.parse().map_err(|_| unfit())?;
    let is_downgrade = from.scheme_str() == Some("https") && address.scheme_str() != Some("https");
    let is_http = matches!(address.scheme_str(), Some("http" | "https")) && address.host().is_some();
    if is_http && !is_downgrade { Ok(address) } else { Err(unfit()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_paths() {
        for name in ["a", "model-00001-of-00002.safetensors", "1_Pooling", "9b2a", "d41d8cd98f00b204e9800998ecf8427e-3"]
        {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0", "a b", "C:", "\u{202e}", &"a".repeat(200)] {
            assert!(!is_plain(name), "{name:?}");
        }
        assert!(is_plain_path("onnx/model.onnx"));
        for path in ["../a", "a/../b", "/etc/passwd", "a//b", "a/", "a/.git/config"] {
            assert!(!is_plain_path(path), "{path}");
        }
        assert!(is_commit(&"0f".repeat(20)) && !is_commit("main") && !is_commit(&"0g".repeat(20)));
    }

    #[test]
    fn the_same_place_is_scheme_host_and_port() {
        let uri = |address: &str| address.parse::<Uri>().unwrap();
        let home = uri("https://hub.example");
        for same in ["https://hub.example/a", "https://HUB.example:443/b"] {
            assert!(is_same_place(&home, &uri(same)), "{same}");
        }
        for other in
            ["http://hub.example/", "https://hub.example:444/", "https://cdn.hub.example/", "https://hub.example.evil/"]
        {
            assert!(!is_same_place(&home, &uri(other)), "{other}");
        }
    }

    #[test]
    fn redirects_lead_to_addresses_alone() {
        let from: Uri = "https://hub.example/a/b".parse().unwrap();
        let led = |location: &str| redirected(&from, location).map(|uri| uri.to_string());
        assert_eq!(led("/c?d=1").as_deref(), Ok("https://hub.example/c?d=1"));
        assert_eq!(led("https://cdn.example/c").as_deref(), Ok("https://cdn.example/c"));
        assert_eq!(led("//cdn.example/c").as_deref(), Ok("https://cdn.example/c"));
        for location in ["http://hub.example/c", "file:///etc/passwd", "", "c", "https://"] {
            assert!(led(location).is_err(), "{location}: {:?}", led(location));
        }
    }
}
