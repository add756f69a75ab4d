//! `memtrain serve-index`.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use memtrain_index::Index;
use serde_json::json;

use super::counts::{count, held, seconds};
use super::failure::{Usage, WithHint};
use super::print::print_line;
use crate::run::signal::StopRequest;
use crate::serve::{ServeConfig, serve};

/// Arguments of `memtrain serve-index`.
#[derive(Debug, Args)]
pub struct ServeIndexArgs {
    /// Folder of the corpus (or of an index alone)
    pub corpus: PathBuf,
    /// Address to listen on; others than the loopback offer the index to the network, without a password
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
    /// Port; 0 takes a free one, which is printed
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Passages a query where the request does not say
    #[arg(long, value_name = "N", default_value_t = ServeConfig::default().default_topk, value_parser = held)]
    pub topk: usize,
    /// Most passages a query
    #[arg(long, value_name = "N", default_value_t = ServeConfig::default().max_topk, value_parser = held)]
    pub max_topk: usize,
    /// Most queries of a request
    #[arg(long, value_name = "N", default_value_t = ServeConfig::default().max_queries, value_parser = held)]
    pub max_queries: usize,
    /// Most bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = ServeConfig::default().max_body_bytes, value_parser = count::<usize>)]
    pub max_body: usize,
    /// Most connections at a time, three quarters of them for one address; further ones are answered with status 503
    #[arg(long, value_name = "N", default_value_t = ServeConfig::default().max_connections, value_parser = held)]
    pub max_connections: usize,
    /// Seconds that a client has to send a request, and again to take the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = seconds)]
    pub timeout: u64,
    /// Another name or address that clients know this server by; requests for others are refused. May be repeated
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
}

/// Serves until a signal asks to stop; prints the address first.
///
/// # Errors
/// If there is no index or the address cannot be listened on.
pub fn run(args: &ServeIndexArgs) -> anyhow::Result<()> {
    let config = ServeConfig {
        max_connections: args.max_connections,
        max_body_bytes: args.max_body,
        max_queries: args.max_queries,
        max_topk: args.max_topk,
        default_topk: args.topk,
        request_timeout: Duration::from_secs(args.timeout),
        allowed_hosts: args.allow_host.clone(),
        ..ServeConfig::default()
    };
    if config.default_topk > config.max_topk {
        return Err(Usage("`--topk` must be at most `--max-topk`".to_owned()).into());
    }
    let index: Index = memtrain_session::index::open(&args.corpus)?;
    // The model of dense queries is loaded now, not while the first client waits.
    index.search("ready", 1)?;
    let listener = TcpListener::bind((args.host, args.port))
        .with_context(|| format!("cannot listen on {}, port {}", args.host, args.port))
        .hint(|| "another program has the port, or it needs more rights: choose another with `--port`".to_owned())?;
    let address = listener.local_addr().context("the socket has no address")?;
    let stop = StopRequest::on_signals_saying(
        "stopping: requests under way are answered first; a second Ctrl-C ends at once",
    )?;
    print_line!("http://{address}")?;
    if !args.host.is_loopback() {
        tracing::warn!("everybody who reaches {address} can ask this index");
    }
    tracing::info!("{} passages; POST /retrieve, GET /health; Ctrl-C ends it", index.num_passages());
    let about = json!({"passages": index.num_passages(), "method": index.config().method});
    let summary = serve(&listener, &index, about, &config, &stop)?;
    tracing::info!(
        "{} requests answered, {} refused, {} connections turned away",
        summary.answered,
        summary.refused,
        summary.turned_away
    );
    Ok(())
}
