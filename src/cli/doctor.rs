//! `memtrain doctor`: what this program and this machine are, as far as they decide how a command runs.

use std::path::Path;

use memtrain_corpora::store;
use memtrain_hub::Hub;
use memtrain_session::run_plan::memory_of_this_machine;

use super::environment;
use super::print::print_line;
use crate::device::DeviceChoice;
use crate::plan::memory::gib;
use crate::sampler;

/// Prints a line for each thing that matters; what would stand in the way begins with `!`.
///
/// # Errors
/// If something would stand in the way of every command, or the output cannot be written.
pub fn run() -> anyhow::Result<()> {
    let mut wrong = 0;
    let mut say = |name: &str, found: Result<String, String>| {
        wrong += usize::from(found.is_err());
        let (mark, text) = found.map_or_else(|text| ('!', text), |text| (' ', text));
        print_line!("{mark} {name:<10}  {text}")
    };
    say("program", Ok(format!("memtrain {}, {}", env!("CARGO_PKG_VERSION"), features())))?;
    say("system", Ok(format!("{}, {}", std::env::consts::OS, std::env::consts::ARCH)))?;
    say("processor", Ok(processor()))?;
    say("memory", Ok(memory()))?;
    say("settings", settings())?;
    say("card", Ok(card()))?;
    say("hub", Ok(hub(&Hub::from_env())))?;
    say("folder", folder())?;
    anyhow::ensure!(wrong == 0, "{wrong} of these would stand in the way: the lines that begin with `!`");
    Ok(())
}

fn features() -> String {
    let built = [
        ("cuda", cfg!(feature = "cuda")),
        ("fastembed", cfg!(feature = "fastembed")),
        ("rust-bert", cfg!(feature = "rust-bert")),
    ];
    let built: Vec<&str> = built.iter().filter(|(_, is_built)| *is_built).map(|(name, _)| *name).collect();
    if built.is_empty() { "no optional features".to_owned() } else { format!("features {}", built.join(", ")) }
}

fn processor() -> String {
    let threads = rayon::current_num_threads();
    let text = store::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.trim_start().strip_prefix(':'));
    format!(
        "{}, {threads} threads compute (RAYON_NUM_THREADS changes that)",
        name.unwrap_or("of a name unknown").trim()
    )
}

fn memory() -> String {
    let Some(all) = memory_of_this_machine() else { return "the system does not say".to_owned() };
    let free = sampler::local::free_bytes(&candle_core::Device::Cpu);
    let free = free.map_or_else(String::new, |bytes| format!(", {:.1} free", gib(bytes as u64)));
    format!("{:.1} GiB{free}", gib(all))
}

/// Those that a process can only be born with.
fn settings() -> Result<String, String> {
    let missing = environment::missing(|name| std::env::var_os(name).filter(|_| name != environment::MARK));
    match missing.as_slice() {
        [] => Ok("the allocator and candle are set for training".to_owned()),
        missing => {
            let names: Vec<String> =
                missing.iter().map(|(name, value)| format!("{name}={}", value.to_string_lossy())).collect();
            Err(format!("training is slower without {}", names.join(" ")))
        }
    }
}

fn card() -> String {
    match DeviceChoice::Cuda(0).open() {
        Ok(_) => "cuda:0 answers".to_owned(),
        Err(error) => format!("none: {error}"),
    }
}

fn hub(hub: &Hub) -> String {
    let kept = if store::is_dir(&hub.cache) { "" } else { " (not there yet)" };
    let asked = match hub.offline {
        true => "nothing is asked of it (HF_HUB_OFFLINE)".to_owned(),
        false => format!("{}, {} a token", hub.endpoint, if hub.token.is_some() { "with" } else { "without" }),
    };
    format!("{asked}; models are kept in `{}`{kept}", hub.cache.display())
}

/// Whether a file can be written here, where corpora and runs go by default.
fn folder() -> Result<String, String> {
    let here = std::env::current_dir().map_err(|error| format!("the folder you are in cannot be found: {error}"))?;
    match tempfile::Builder::new().prefix(".memtrain-doctor-").tempfile_in(&here) {
        Ok(_) => Ok(format!("`{}` can be written", here.display())),
        Err(error) => Err(format!("`{}` cannot be written: {error}", here.display())),
    }
}
