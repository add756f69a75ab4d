//! Who may ask the index? Everybody who speaks the retrieval protocol of Search-R1 and MEM1, over HTTP.
//!
//! | | |
//! |---|---|
//! | `POST /retrieve` | `{"queries": […], "topk": 3, "return_scores": true}` → `{"result": [[{"document": …, "score": …}]]}` |
//! | `GET /health` | `{"status": "ok", …}` |
//!
//! Everything is bounded: connections, header and body sizes, queries and passages of a request, and the time that a
//! client may take to send one. A connection beyond the bound is told so with status 503; whatever else is wrong is told
//! as `{"error": …}`. A request to stop lets requests under way finish.

mod http;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use self::http::{Connection, Limits, Request, Response};
use crate::agents::retrieve::{RetrieveRequest, Retriever, answer};
use crate::run::signal::StopRequest;

/// Bounds of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Connections served at a time.
    pub max_connections: usize,
    /// Largest body in bytes.
    pub max_body_bytes: usize,
    /// Queries of a request.
    pub max_queries: usize,
    /// Passages for each query.
    pub max_topk: usize,
    /// Passages where the request does not say; Search-R1's clients ask for 3.
    pub default_topk: usize,
    /// Time that a client has to send a request once it has begun, and to take the answer.
    pub request_timeout: Duration,
    /// Time that a connection may be silent between requests.
    pub idle_timeout: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            max_connections: 64,
            max_body_bytes: 1 << 20,
            max_queries: 256,
            max_topk: 100,
            default_topk: 3,
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// What was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServeSummary {
    /// Requests that were answered with passages.
    pub answered: u64,
    /// Requests that were refused or failed.
    pub refused: u64,
    /// Connections turned away because all were taken.
    pub turned_away: u64,
}

/// Connections beyond the bound that are told so; any more are closed without a word.
const TURNED_AWAY_AT_ONCE: usize = 16;
/// How often a request to stop is looked for.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

struct Server<'a> {
    retriever: &'a dyn Retriever,
    about: Value,
    config: &'a ServeConfig,
    stop: &'a StopRequest,
    open: AtomicUsize,
    turning_away: AtomicUsize,
    answered: AtomicU64,
    refused: AtomicU64,
    turned_away: AtomicU64,
}

/// Serves until it is asked to stop. `about` is added to the answer of `/health`.
///
/// # Errors
/// If the listener fails.
pub fn serve(
    listener: &TcpListener,
    retriever: &dyn Retriever,
    about: Value,
    config: &ServeConfig,
    stop: &StopRequest,
) -> io::Result<ServeSummary> {
    let address = listener.local_addr()?;
    let server = Server {
        retriever,
        about,
        config,
        stop,
        open: AtomicUsize::new(0),
        turning_away: AtomicUsize::new(0),
        answered: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        turned_away: AtomicU64::new(0),
    };
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.requested() {
                std::thread::sleep(STOP_INTERVAL);
            }
            // `accept` has no way to be told: a connection of our own wakes it.
            let _ = TcpStream::connect_timeout(&reachable(address), Duration::from_secs(1));
        });
        while !stop.requested() {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, or a client that is gone already: neither ends the server.
                    tracing::debug!("a connection was not accepted: {error}");
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            if stop.requested() {
                break;
            }
            let server = &server;
            if let Some(place) = Place::take(&server.open, config.max_connections) {
                threads.spawn(move || {
                    let _place = place;
                    server.connection(stream);
                });
            } else if let Some(place) = Place::take(&server.turning_away, TURNED_AWAY_AT_ONCE) {
                threads.spawn(move || {
                    let _place = place;
                    server.turn_away(stream);
                });
            } else {
                server.turned_away.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    Ok(ServeSummary {
        answered: server.answered.into_inner(),
        refused: server.refused.into_inner(),
        turned_away: server.turned_away.into_inner(),
    })
}

/// An address by which this process reaches its own listener.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// One of a bounded number of places, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize, places: usize) -> Option<Self> {
        let more = |taken: usize| (taken < places).then_some(taken + 1);
        taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok().map(|_| Self(taken))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server<'_> {
    fn limits(&self) -> Limits {
        Limits {
            body_bytes: self.config.max_body_bytes,
            request: self.config.request_timeout,
            idle: self.config.idle_timeout,
        }
    }

    fn connection(&self, stream: TcpStream) {
        let mut connection = Connection::new(stream, self.limits());
        loop {
            let (response, keep) = match connection.next_request(&|| self.stop.requested()) {
                Ok(None) => return,
                Ok(Some(request)) => (self.guarded(&request), request.keep_alive && !self.stop.requested()),
                Err(refusal) => (refusal, false),
            };
            let counter = if response.status == 200 { &self.answered } else { &self.refused };
            counter.fetch_add(1, Ordering::Relaxed);
            // A client that has gone away takes its answer with it.
            if connection.write(&response, keep).is_err() || !keep {
                connection.close();
                return;
            }
        }
    }

    fn turn_away(&self, stream: TcpStream) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        let limits = Limits { request: Duration::from_secs(1), idle: Duration::from_secs(1), ..self.limits() };
        let mut connection = Connection::new(stream, limits);
        // Read first: an answer that overtakes the request is lost when the connection is closed.
        if let Ok(Some(_)) = connection.next_request(&|| self.stop.requested()) {
            let full = format!("all {} connections are taken, try again", self.config.max_connections);
            let _ = connection.write(&Response::error(503, &full), false);
            connection.close();
        }
    }

    /// A panic while a request is answered is that request's failure, not the server's.
    fn guarded(&self, request: &Request) -> Response {
        catch_unwind(AssertUnwindSafe(|| self.respond(request)))
            .unwrap_or_else(|_| Response::error(500, "the request could not be answered: a defect of the server"))
    }

    fn respond(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/retrieve") => self.retrieve(&request.body),
            ("GET", "/health") => {
                let mut health = json!({"status": "ok"});
                if let (Value::Object(health), Value::Object(about)) = (&mut health, &self.about) {
                    health.extend(about.clone());
                }
                Response::json(200, &health)
            }
            (method, "/retrieve") => Response::error(405, &format!("{method} is not allowed here, POST is")),
            (method, "/health") => Response::error(405, &format!("{method} is not allowed here, GET is")),
            (_, path) => Response::error(404, &format!("there is nothing at `{path}`: POST /retrieve, GET /health")),
        }
    }

    fn retrieve(&self, body: &[u8]) -> Response {
        let request: RetrieveRequest = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => {
                let expected = r#"{"queries": ["…"], "topk": 3, "return_scores": true}"#;
                return Response::error(400, &format!("the body is not `{expected}`: {error}"));
            }
        };
        if request.queries.len() > self.config.max_queries {
            let most = self.config.max_queries;
            return Response::error(400, &format!("{} queries; at most {most} are answered", request.queries.len()));
        }
        let topk = request.topk.unwrap_or(self.config.default_topk as u64);
        if !(1..=self.config.max_topk as u64).contains(&topk) {
            return Response::error(400, &format!("`topk` is {topk}, not 1 to {}", self.config.max_topk));
        }
        let queries: Vec<&str> = request.queries.iter().map(String::as_str).collect();
        match self.retriever.retrieve(&queries, topk as usize) {
            Ok(found) => Response::json(200, &answer(&found, request.return_scores.unwrap_or(false))),
            Err(error) => {
                tracing::error!("a request failed: {error}");
                Response::error(500, &error.to_string())
            }
        }
    }
}
