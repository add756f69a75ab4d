//! Trains two steps and evaluates through the library: `cargo run --release --example train [FOLDER]`.
//!
//! Builds a corpus of a fictional encyclopedia, trains the policy that the program carries on it, and prints the metrics of
//! each step. The same folder again goes on where it stands. Without a folder everything is gone in the end.

use std::path::{Path, PathBuf};

use memtrain::{Config, ErrorKind, Observer, StepEvent, StopRequest, build_corpus, evaluate, train};

/// Prints each step.
struct Printer;

impl Observer for Printer {
    fn begins(&self, done: u64, steps: u64) {
        println!("{done} of {steps} steps are done");
    }

    fn stepped(&self, event: &StepEvent<'_>) {
        println!("step {} of {}: {}", event.step, event.steps, event.headline());
        for (name, value) in event.metrics.iter().filter(|(name, _)| name.starts_with("train/")) {
            println!("    {name} {value:.6}");
        }
    }
}

fn main() -> Result<(), memtrain::Error> {
    let temporary;
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => {
            temporary = tempfile::tempdir().map_err(anyhow::Error::from)?;
            temporary.path().to_path_buf()
        }
    };
    match trained(&folder) {
        Err(error) if error.kind() == ErrorKind::Stopped => {
            println!("stopped; run it again to go on");
            Ok(())
        }
        result => result,
    }
}

fn trained(folder: &Path) -> Result<(), memtrain::Error> {
    let mut config: Config = toml::from_str(include_str!("two-steps.toml")).map_err(anyhow::Error::from)?;
    config.corpus.ingest.dumps = vec![folder.join("dump.xml.bz2").display().to_string()];
    config.run.corpus = folder.join("corpus");
    config.run.runs = folder.join("runs");
    let corpus = build_corpus(&config, &())?;
    println!("{} stages of the corpus are up to date", corpus.stages.len());
    // A program that is to end gently calls `request` of this from elsewhere, or takes `StopRequest::on_signals`.
    let stop = StopRequest::default();
    let trained = train(&config, &Printer, &stop)?;
    println!("checkpoint {}", trained.path.display());
    config.policy.path = Some(trained.path.display().to_string());
    let report = evaluate(&config, &stop)?;
    println!("held-out: end-to-end {}, recall {}", report.end_to_end, report.recall);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_and_wrong_numbers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        trained(folder.path()).unwrap();
        // All steps are done: it evaluates again.
        trained(folder.path()).unwrap();
        let mut config: Config = toml::from_str("[train]\nsteps = 1").unwrap();
        config.optimizer.learning_rate = f64::NAN;
        let error = train(&config, &(), &StopRequest::default()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("`optimizer.learning_rate`"), "{error}");
        let unbuilt = Config {
            run: memtrain::config::RunConfig { corpus: folder.path().join("no"), ..Default::default() },
            ..toml::from_str(include_str!("two-steps.toml")).unwrap()
        };
        let error = evaluate(&unbuilt, &StopRequest::default()).err().unwrap();
        assert!(error.to_string().ends_with("is not built") && error.hint().is_some(), "{error}");
    }
}
