//! Reads a dump and prints the clean text of its articles, or with `--time` only how long that takes.
//!
//! cargo run --release -p memtrain-corpora --example dump_text -- DUMP [--time | TITLE]

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use memtrain_corpora::{dump, wikitext};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: dump_text DUMP [--time | TITLE]")?;
    let wanted = arguments.next();
    let timed = wanted.as_deref() == Some("--time");
    let start = Instant::now();
    let mut reader = dump::open(Path::new(&path))?;
    let context = wikitext::WikiContext::from_site(reader.site_info());
    let (mut articles, mut redirects, mut bytes_in, mut bytes_out) = (0u64, 0u64, 0, 0);
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    let mut cleaning = std::time::Duration::ZERO;
    for page in &mut reader {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                eprintln!("{error}");
                continue;
            }
        };
        if page.ns != 0 || page.redirect.is_some() {
            redirects += u64::from(page.redirect.is_some());
            continue;
        }
        let begun = Instant::now();
        let clean = wikitext::clean(&page.text, &context);
        cleaning += begun.elapsed();
        articles += 1;
        bytes_in += page.text.len();
        bytes_out += clean.text.len();
        if timed || wanted.as_ref().is_some_and(|wanted| *wanted != page.title) {
            continue;
        }
        writeln!(stdout, "######## {} ({})", page.title, page.id)?;
        for section in &clean.sections {
            writeln!(
                stdout,
                "{} {}\n{}",
                "=".repeat(section.level.into()),
                section.title,
                &clean.text[section.span.clone()]
            )?;
        }
        writeln!(stdout, "[{} links; categories: {}]", clean.links.len(), clean.categories.join("; "))?;
    }
    stdout.flush()?;
    eprintln!(
        "{} pages, {articles} articles, {redirects} redirects, {} malformed; {bytes_in} bytes of wikitext, {bytes_out} of text; {:.3} s, of which {:.3} s cleaning",
        reader.pages(),
        reader.malformed(),
        start.elapsed().as_secs_f64(),
        cleaning.as_secs_f64()
    );
    Ok(())
}
