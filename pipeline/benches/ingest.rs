//! Throughput of ingest, beside `bzip2 -dc` on the same file.
//!
//!     just bench ingest
//!
//! Builds the English sample of `$MEMTRAIN_DATA` ten times over as one valid dump (without it, a fictional encyclopedia), once in a single
//! stream and once as multistream. Each measurement is a process of its own: CPU seconds are its user and system time, memory is its
//! peak. One core, but for the last line. MB are those of the XML.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use memtrain_corpora::wikitext::{self, WikiContext};
use memtrain_corpora::world::{World, WorldConfig};
use memtrain_corpora::{dump, store};
use memtrain_pipeline::{CorpusConfig, StageName, build, finish};

const SAMPLE: &str = "dumps/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2";
const COPIES: u64 = 10;
const PAGES_A_STREAM: usize = 100;
/// Rounds of each measurement; the fastest counts.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["phase", phase, path] => run_phase(phase, Path::new(path)),
        _ => measure_all(),
    }
    ExitCode::SUCCESS
}

/// What is measured.
fn run_phase(phase: &str, path: &Path) {
    match phase {
        "unpack" => {
            let mut reader = dump::open(path).expect("a dump");
            assert!(reader.by_ref().all(|page| page.is_ok()));
        }
        "clean" => {
            let reader = dump::open(path).expect("a dump");
            let context = WikiContext::from_site(reader.site_info());
            let pages = reader.map(|page| page.expect("whole")).filter(|page| page.ns == 0 && page.redirect.is_none());
            let bytes: usize = pages.map(|page| wikitext::clean(&page.text, &context).text.len()).sum();
            assert!(bytes > 0);
        }
        workers => {
            let folder = path.with_extension(format!("corpus-{workers}"));
            store::remove_dir_all(&folder).expect("a fresh folder");
            let mut config = CorpusConfig { workers: workers.parse().expect("a phase"), ..CorpusConfig::default() };
            config.ingest.dumps = vec![path.display().to_string()];
            // As `memtrain corpus build`, stopped before the stage after this one.
            build(&config, &folder, &OnlyIngest(&folder)).expect_err("stopped behind ingest");
            let manifest = finish(&config, &folder, StageName::Ingest).expect("all shards");
            assert!(manifest.rows["passages"] > 0);
        }
    }
    let status = store::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    println!("{}", peak.trim().trim_end_matches(" kB"));
}

/// Stops when ingest is committed.
struct OnlyIngest<'a>(&'a Path);

impl memtrain_pipeline::Progress for OnlyIngest<'_> {
    fn stopping(&self) -> bool {
        store::exists(&self.0.join("ingest/manifest.json"))
    }
}

struct Measured {
    cpu: f64,
    wall: f64,
    peak_mb: f64,
}

/// CPU seconds of the children that have been waited for.
fn children_cpu() -> f64 {
    let stat = store::read_to_string(Path::new("/proc/self/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 16 and 17 of the line, in ticks of a hundredth of a second.
    [13, 14].iter().filter_map(|&at| fields.get(at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn measure(command: &mut Command) -> Measured {
    let mut best: Option<Measured> = None;
    for _ in 0..ROUNDS {
        let (cpu, started) = (children_cpu(), Instant::now());
        let output = command.stdin(Stdio::null()).output().expect("the command runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout[..output.stdout.len().min(32)]).into_owned();
        let peak_mb = said.trim().parse::<f64>().unwrap_or(0.0) / 1024.0;
        let measured = Measured { cpu: children_cpu() - cpu, wall: started.elapsed().as_secs_f64(), peak_mb };
        if best.as_ref().is_none_or(|best| measured.cpu < best.cpu) {
            best = Some(measured);
        }
    }
    best.expect("at least one round")
}

fn measure_all() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (single, multi, megabytes) = prepare(folder.path());
    let program = std::env::current_exe().expect("this program");
    let phase = |name: &str, path: &Path| {
        let mut command = Command::new(&program);
        measure(command.args(["phase", name]).arg(path))
    };
    let bzip2 = measure(Command::new("sh").arg("-c").arg("bzip2 -dc \"$0\" > /dev/null").arg(&single));
    println!("{megabytes:.1} MB of XML, {:.1} MB of bzip2", store::len(&single).unwrap_or(0) as f64 / 1e6);
    println!("{:<34}{:>9}{:>9}{:>9}{:>10}{:>9}", "", "CPU s", "ratio", "MB/s", "peak MiB", "wall s");
    let line = |name: &str, measured: &Measured| {
        let ratio = measured.cpu / bzip2.cpu;
        let (speed, peak) = (megabytes / measured.wall, measured.peak_mb);
        println!("{name:<34}{:>9.2}{ratio:>9.2}{speed:>9.1}{peak:>10.0}{:>9.2}", measured.cpu, measured.wall);
    };
    line("bzip2 -dc", &bzip2);
    line("unpack, parse", &phase("unpack", &single));
    line("unpack, parse, clean", &phase("clean", &single));
    line("ingest, one core", &phase("1", &single));
    line("ingest, one core, multistream", &phase("1", &multi));
    line("ingest, all cores, multistream", &phase("0", &multi));
}

/// Writes the dump in both packings; gives them with the megabytes of their XML.
fn prepare(folder: &Path) -> (PathBuf, PathBuf, f64) {
    let xml = sample();
    let text = String::from_utf8(xml).expect("UTF-8");
    let first = text.find("<page>").expect("a page");
    let last = text.rfind("</page>").expect("a page") + "</page>".len();
    let (header, footer) = (&text[..first], &text[last..]);
    let pages: Vec<String> = (0..COPIES)
        .flat_map(|copy| text[first..last].split_inclusive("</page>").map(move |page| numbered(page, copy)))
        .collect();
    let (single, multi) = (folder.join("single.xml.bz2"), folder.join("multi.xml.bz2"));
    let write = |path: &Path, streams: &mut dyn Iterator<Item = String>| {
        let file = store::AtomicFile::create(path).expect("a file");
        let mut file = streams.fold(file, |file, stream| {
            let mut encoder = bzip2::write::BzEncoder::new(file, bzip2::Compression::best());
            encoder.write_all(stream.as_bytes()).expect("written");
            encoder.finish().expect("written")
        });
        file.flush().expect("written");
        file.commit().expect("written");
    };
    let whole = format!("{header}{}{footer}", pages.concat());
    let megabytes = whole.len() as f64 / 1e6;
    write(&single, &mut std::iter::once(whole));
    let streams = pages.chunks(PAGES_A_STREAM).map(<[String]>::concat);
    write(&multi, &mut std::iter::once(header.to_owned()).chain(streams).chain([footer.to_owned()]));
    (single, multi, megabytes)
}

/// A page under another title and number, so that no two pages of the dump are the same.
fn numbered(page: &str, copy: u64) -> String {
    if copy == 0 {
        return page.to_owned();
    }
    let page = page.replacen("</title>", &format!(" ({copy})</title>"), 1);
    let (before, rest) = page.split_once("<id>").expect("an id");
    let (id, after) = rest.split_once("</id>").expect("an id");
    let id = id.parse::<u64>().expect("a number") + copy * 100_000_000;
    format!("{before}<id>{id}</id>{after}")
}

fn sample() -> Vec<u8> {
    let data = std::env::var_os("MEMTRAIN_DATA").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = data.unwrap_or(root).join(SAMPLE);
    let mut xml = Vec::new();
    if store::exists(&path) {
        let file = store::open(&path).expect("the sample");
        bzip2::read::MultiBzDecoder::new(file).read_to_end(&mut xml).expect("bzip2");
    } else {
        println!("no sample at {}: a fictional encyclopedia instead", path.display());
        World::generate(WorldConfig::long_pages(1, 1000)).expect("a world").write_xml(&mut xml).expect("written");
    }
    xml
}
