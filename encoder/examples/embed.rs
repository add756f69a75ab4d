//! Speed of an embedding model: reads a text a line from stdin, prints texts and tokens a second.
//!
//! ```text
//! cargo run --release -p memtrain-encoder --example embed -- DIR [--tokens 128] [--batch-tokens N] < texts.txt
//! ```

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Instant;

use memtrain_encoder::{Embeddings, Options, Pooling};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    let directory = arguments.first().ok_or("usage: embed DIR [--tokens N] [--batch-tokens N] < texts.txt")?;
    let mut options = Options { max_tokens: flag("--tokens").map(|n| n.parse()).transpose()?, ..Options::default() };
    if let Some(tokens) = flag("--batch-tokens") {
        options.batch_tokens = tokens.parse()?;
    }
    let texts: Vec<String> = stdin().lock().lines().collect::<Result<_, _>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let model = Embeddings::open(Path::new(directory), Pooling::Model, true, &options)?;
    let start = Instant::now();
    let vectors = model.embed(&texts)?;
    let seconds = start.elapsed().as_secs_f64();
    let mean = vectors.iter().map(|vector| f64::from(vector[0])).sum::<f64>() / vectors.len() as f64;
    let rate = texts.len() as f64 / seconds;
    writeln!(
        stdout(),
        "{} texts, {seconds:.2} s, {rate:.1} texts/s (mean of the first dimension {mean:.6})",
        texts.len()
    )?;
    Ok(())
}
