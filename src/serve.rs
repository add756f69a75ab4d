//! Retrieval server: an index over HTTP, with the protocol of Search-R1 and MEM1.
//!
//! | | |
//! |---|---|
//! | `POST /retrieve` | `{"queries": […], "topk": 3, "return_scores": true}` → `{"result": [[{"document": …, "score": …}]]}` |
//! | `GET /health` | `{"status": "ok", …}` |
//!
//! Everything is bounded: connections, those of one address, header and body sizes, queries and passages of a request, the
//! time that a client may take to send one and to take the answer, and the memory of an answer, which is sent while it is
//! made. A connection beyond the bound is told so with status 503; whatever else is wrong is told as `{"error": …}`. `Host`
//! and `Origin` must be the server's own. A request to stop gives requests under way a second.

mod hosts;
mod http;
mod places;
mod response;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memtrain_corpora::json::problem;
use serde_json::{Value, json};

use self::hosts::AllowedHosts;
use self::http::{Answer, Connection, Limits, Request};
use self::places::Places;
use self::response::Response;
use crate::rollout::retrieve::{Found, RetrieveRequest, Retriever, list_answer};
use crate::run::signal::StopRequest;

/// Bounds of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Connections served at a time; one address (of IPv6 one network of 64 bits) has three quarters of them at most.
    pub max_connections: usize,
    /// Largest body in bytes.
    pub max_body_bytes: usize,
    /// Queries of a request.
    pub max_queries: usize,
    /// Passages for each query.
    pub max_topk: usize,
    /// Passages where the request does not say; Search-R1's clients ask for 3.
    pub default_topk: usize,
    /// Time that a client has to send a request once it has begun, and again to take the whole answer.
    pub request_timeout: Duration,
    /// Time that a connection may be silent between requests.
    pub idle_timeout: Duration,
    /// Names that the server is called by, besides those of the loopback and the address that it listens on.
    pub allowed_hosts: Vec<String>,
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
            allowed_hosts: Vec::new(),
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
/// Bytes of a query: beyond what a passage has, and few enough that no query takes long.
const QUERY_BYTES: usize = 16 << 10;
/// Passages that are looked up before they are sent.
const PASSAGES_AT_ONCE: usize = 256;
/// Queries that are asked together, between two looks whether the server stops.
const QUERIES_AT_ONCE: usize = 32;

struct Server<'a> {
    retriever: &'a dyn Retriever,
    about: Value,
    config: &'a ServeConfig,
    hosts: AllowedHosts<'a>,
    stop: &'a StopRequest,
    places: Places,
    turning_away: Places,
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
        hosts: AllowedHosts { listening: address.ip(), names: &config.allowed_hosts },
        stop,
        places: Places::new(config.max_connections),
        turning_away: Places::new(TURNED_AWAY_AT_ONCE),
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
            let (stream, client) = match listener.accept() {
                Ok(accepted) => accepted,
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
            if let Some(place) = server.places.take(client.ip()) {
                threads.spawn(move || {
                    let _place = place;
                    server.connection(stream);
                });
                continue;
            }
            server.turned_away.fetch_add(1, Ordering::Relaxed);
            if let Some(place) = server.turning_away.take(client.ip()) {
                threads.spawn(move || {
                    let _place = place;
                    server.turn_away(stream, client.ip());
                });
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

/// What is asked, within the bounds.
struct SearchRequest {
    queries: Vec<String>,
    topk: usize,
    with_scores: bool,
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
        let mut connection = Connection::new(stream, self.limits(), &self.hosts, self.stop);
        loop {
            let keeps = match connection.next_request() {
                Ok(None) => return,
                Ok(Some(request)) => self.respond(&mut connection, &request),
                Err(refusal) => self.refuse(&mut connection, &refusal, false),
            };
            // A client that has gone away takes its answer with it.
            if !keeps.unwrap_or(false) {
                connection.close();
                return;
            }
        }
    }

    fn turn_away(&self, stream: TcpStream, client: IpAddr) {
        let limits = Limits { request: Duration::from_secs(1), idle: Duration::from_secs(1), ..self.limits() };
        let mut connection = Connection::new(stream, limits, &self.hosts, self.stop);
        // Read first: an answer that overtakes the request is lost when the connection is closed.
        if let Ok(Some(_)) = connection.next_request() {
            let (all, own) = (self.config.max_connections, self.places.most_per_address());
            let full = format!("all {all} connections are taken, or the {own} that {client} may have; try again");
            let _ = connection.write(&Response::error(503, &full), false);
            connection.close();
        }
    }

    /// Answers a request; whether another may follow on its connection.
    fn respond(&self, connection: &mut Connection<'_>, request: &Request) -> io::Result<bool> {
        let keep = request.keep_alive && !self.stop.requested();
        let refusal = match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/retrieve") => match self.asked(&request.body) {
                Ok(asked) => return self.retrieve(connection, request, &asked, keep),
                Err(refusal) => refusal,
            },
            ("GET", "/health") => {
                let mut health = json!({"status": "ok"});
                if let (Value::Object(health), Value::Object(about)) = (&mut health, &self.about) {
                    health.extend(about.clone());
                }
                self.answered.fetch_add(1, Ordering::Relaxed);
                return connection.write(&Response::json(200, &health), keep).map(|()| keep);
            }
            (method, "/retrieve") => Response::error(405, &format!("{method} is not allowed here, POST is")),
            (method, "/health") => Response::error(405, &format!("{method} is not allowed here, GET is")),
            (_, path) => Response::error(404, &format!("there is nothing at `{path}`: POST /retrieve, GET /health")),
        };
        self.refuse(connection, &refusal, keep)
    }

    fn refuse(&self, connection: &mut Connection<'_>, refusal: &Response, keep: bool) -> io::Result<bool> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        connection.write(refusal, keep).map(|()| keep)
    }

    /// Reads the body of a request.
    fn asked(&self, body: &[u8]) -> Result<SearchRequest, Response> {
        let wrong = |detail: String| Response::error(400, &detail);
        let request: RetrieveRequest = serde_json::from_slice(body).map_err(|error| {
            let expected = r#"{"queries": ["…"], "topk": 3, "return_scores": true}"#;
            wrong(format!("the body is not `{expected}`: {}", problem(&error, &String::from_utf8_lossy(body))))
        })?;
        let RetrieveRequest { queries, topk, return_scores } = request;
        if queries.len() > self.config.max_queries {
            return Err(wrong(format!("{} queries; at most {} are answered", queries.len(), self.config.max_queries)));
        }
        if let Some(long) = queries.iter().find(|query| query.len() > QUERY_BYTES) {
            return Err(wrong(format!("a query of {} bytes; at most {QUERY_BYTES} are searched for", long.len())));
        }
        let topk = topk.unwrap_or(self.config.default_topk as u64);
        if !(1..=self.config.max_topk as u64).contains(&topk) {
            return Err(wrong(format!("`topk` is {topk}, not 1 to {}", self.config.max_topk)));
        }
        Ok(SearchRequest { queries, topk: topk as usize, with_scores: return_scores.unwrap_or(false) })
    }

    /// Finds passages and sends them, a few queries at a time.
    fn retrieve(
        &self,
        connection: &mut Connection<'_>,
        request: &Request,
        asked: &SearchRequest,
        keep: bool,
    ) -> io::Result<bool> {
        let mut answer = Answer::new(connection, request.minor, keep);
        let queries: Vec<&str> = asked.queries.iter().map(String::as_str).collect();
        let mut before: &[u8] = b"{\"result\":[";
        for queries in queries.chunks((PASSAGES_AT_ONCE / asked.topk).clamp(1, QUERIES_AT_ONCE)) {
            if !answer.goes_on() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let lists = match self.find(queries, asked.topk) {
                Ok(lists) => lists,
                // What was sent cannot be taken back: the answer ends in the middle.
                Err(failure) if answer.has_begun() => return Err(io::Error::other(failure)),
                Err(failure) => return self.refuse(connection, &Response::error(500, &failure), keep),
            };
            for found in lists {
                answer.write_all(before)?;
                serde_json::to_writer(&mut answer, &list_answer(&found, asked.with_scores))?;
                before = b",";
            }
        }
        if queries.is_empty() {
            answer.write_all(before)?;
        }
        answer.write_all(b"]}")?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        answer.finish()
    }

    /// Asks the index. A panic while a request is answered is that request's failure, not the server's.
    fn find(&self, queries: &[&str], topk: usize) -> Result<Vec<Vec<Found>>, String> {
        match catch_unwind(AssertUnwindSafe(|| self.retriever.retrieve(queries, topk))) {
            Ok(Ok(lists)) => Ok(lists),
            Ok(Err(error)) => {
                tracing::error!("a request failed: {error}");
                Err(error.to_string())
            }
            Err(_) => Err("the request could not be answered: a defect of the server".to_owned()),
        }
    }
}
