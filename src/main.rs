//! Entry point of the program: one line a command.

use std::process::ExitCode;

use memtrain::cli::{
    Command, completions, config, corpus, doctor, entities, environment, eval, failure, index, man, policy, processor,
    quickstart, read, report, run, serve_index, slurm, tasks, train, wikitext, world,
};

fn main() -> ExitCode {
    environment::reexec();
    // Where the system refuses it, everything but the message is the same.
    let _ = memtrain::run::signal::fail_beyond_size_limit();
    let cli = match memtrain::cli::parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(error),
    };
    memtrain::cli::start_log(&cli);
    if let Err(error) = environment::check() {
        return failure::exit_code(Err(error));
    }
    processor::warn_of_baseline();
    failure::exit_code(match cli.command {
        Command::Quickstart(args) => quickstart::run(&args),
        Command::World(args) => world::run(&args),
        Command::Corpus(args) => corpus::run(&args),
        Command::Wikitext(args) => wikitext::run(&args),
        Command::Entities(args) => entities::run(&args),
        Command::Index(args) => index::run(&args),
        Command::Policy(args) => policy::run(args),
        Command::Sft(args) => train::sft(&args),
        Command::Train(args) => train::run(&args),
        Command::Read(args) => read::run(&args),
        Command::Tasks(args) => tasks::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Report(args) => report::run(&args),
        Command::ServeIndex(args) => serve_index::run(&args),
        Command::Slurm(args) => slurm::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    })
}
