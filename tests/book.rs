//! Documentation checked against the program: pages and links, commands and configurations in code blocks, environment
//! variables, headings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, Parser};
use memtrain::cli::{Cli, configuration};
use memtrain::config::sources::Sources;
use memtrain_corpora::store;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_file(path: &Path) -> bool {
    store::exists(path) && !store::is_dir(path)
}

/// Files below a folder of the repository with one of the extensions; hidden folders, output and inputs of fuzzing are
/// left out.
fn files(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for path in store::list(folder).unwrap() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if store::is_dir(&path) {
            let is_output = folder == root() && ["target", "data", "runs", "quickstart"].contains(&name);
            if !name.starts_with('.') && !is_output && !["seeds", "target"].contains(&name) {
                files(&path, extensions, found);
            }
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|known| extension == *known)) {
            found.push(path);
        }
    }
}

fn repository(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(root(), extensions, &mut found);
    found.sort();
    found
}

/// A Markdown page: its prose line by line with code blocks left out, and its code blocks.
struct Page {
    path: PathBuf,
    prose: Vec<(usize, String)>,
    blocks: Vec<Block>,
}

struct Block {
    /// What stands behind the fence; empty for an indented block.
    language: String,
    lines: Vec<(usize, String)>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = store::read_to_string(path).unwrap();
        let mut page = Self { path: path.to_owned(), prose: Vec::new(), blocks: Vec::new() };
        let (mut fenced, mut indented, mut blank) = (false, false, true);
        for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line)) {
            let trimmed = line.trim_start();
            if let Some(language) = trimmed.strip_prefix("```") {
                fenced = !fenced;
                if fenced {
                    page.blocks.push(Block { language: language.trim().to_owned(), lines: Vec::new() });
                }
                continue;
            }
            if fenced {
                page.blocks.last_mut().unwrap().lines.push((number, trimmed.to_owned()));
                continue;
            }
            let deep = line.starts_with("    ");
            if deep && (indented || blank) {
                if !indented {
                    page.blocks.push(Block { language: String::new(), lines: Vec::new() });
                }
                indented = true;
                page.blocks.last_mut().unwrap().lines.push((number, trimmed.to_owned()));
            } else {
                indented = false;
                page.prose.push((number, line.to_owned()));
            }
            blank = line.trim().is_empty();
        }
        assert!(!fenced, "{} ends inside a code block", path.display());
        page
    }

    fn at(&self, number: usize) -> String {
        format!("{}:{number}", self.path.strip_prefix(root()).unwrap().display())
    }

    /// The inline code of the prose.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose.iter().flat_map(|(number, line)| line.split('`').skip(1).step_by(2).map(move |code| (*number, code)))
    }

    fn headings(&self) -> impl Iterator<Item = (usize, &str)> {
        let headings = self.prose.iter().filter(|(_, line)| line.starts_with('#'));
        headings.map(|(number, line)| (*number, line.trim_start_matches('#').trim()))
    }

    /// Identifiers of the headings, as mdBook and GitHub make them.
    fn anchors(&self) -> BTreeSet<String> {
        let anchor = |heading: &str| -> String {
            let letters = heading.chars().filter_map(|letter| match letter {
                letter if letter.is_alphanumeric() || ['-', '_'].contains(&letter) => Some(letter),
                letter if letter.is_whitespace() => Some('-'),
                _ => None,
            });
            letters.flat_map(char::to_lowercase).collect()
        };
        self.headings().map(|(_, heading)| anchor(heading)).collect()
    }

    /// Targets of the links in the prose, outside of inline code.
    fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in &self.prose {
            let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
            for part in text.split("](").skip(1) {
                links.push((*number, part.split(')').next().unwrap().to_owned()));
            }
        }
        links
    }
}

/// All pages but the template of `docs/configuration.md`, whose links are those of the page that is made of it.
fn pages() -> Vec<Page> {
    let all = repository(&["md"]);
    all.iter().filter(|path| !path.ends_with("src/config/reference.md")).map(|path| Page::read(path)).collect()
}

/// Asserts that nothing was found, with all that was.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} places:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_page_of_the_book_is_in_its_summary_once() {
    let docs = root().join("docs");
    let summary = Page::read(&docs.join("SUMMARY.md"));
    let listed: Vec<PathBuf> = summary.links().into_iter().map(|(_, target)| docs.join(target)).collect();
    let mut there = Vec::new();
    files(&docs, &["md"], &mut there);
    let unlisted: Vec<String> = there
        .iter()
        .filter(|page| **page != summary.path && !listed.contains(page))
        .map(|page| format!("{} is not in docs/SUMMARY.md", page.display()))
        .collect();
    none(&unlisted);
    for (number, page) in listed.iter().enumerate() {
        assert!(is_file(page), "docs/SUMMARY.md lists {}, which is not there", page.display());
        assert!(!listed[..number].contains(page), "{} is listed twice", page.display());
    }
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut wrong = Vec::new();
    for page in pages() {
        for (number, target) in page.links() {
            if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
                continue;
            }
            let (file, anchor) = target.split_once('#').map_or((target.as_str(), None), |(file, at)| (file, Some(at)));
            let path = if file.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(file) };
            if !store::exists(&path) {
                wrong.push(format!("{}: `{target}` leads nowhere", page.at(number)));
            } else if let Some(anchor) = anchor.filter(|anchor| !Page::read(&path).anchors().contains(*anchor)) {
                wrong.push(format!("{}: `{file}` has no heading `#{anchor}`", page.at(number)));
            }
        }
    }
    none(&wrong);
}

/// Whether a word is the path of a source file, a page, a script or a configuration of the repository.
fn is_source_path(word: &str) -> bool {
    let first = word.split('/').next().unwrap();
    word.contains('/')
        && !word.contains(['*', '…', '{', '<', '$', ' ', ':'])
        && store::is_dir(&root().join(first))
        && [".rs", ".md", ".toml", ".sh", ".py", ".cu", ".cuh"].iter().any(|extension| word.ends_with(extension))
}

#[test]
fn named_files_of_the_repository_exist() {
    let mut wrong = Vec::new();
    for page in pages() {
        let blocks = page.blocks.iter().flat_map(|block| &block.lines);
        let words = blocks.flat_map(|(number, line)| line.split_whitespace().map(|word| (*number, word)));
        for (number, word) in page.code().chain(words).filter(|(_, word)| is_source_path(word)) {
            // Pages of a crate name its files from the crate's own folder.
            let places = [root().join(word), page.path.parent().unwrap().join(word)];
            if !places.iter().any(|path| is_file(path)) {
                wrong.push(format!("{}: `{word}` is not there", page.at(number)));
            }
        }
    }
    for source in repository(&["rs", "sh", "py", "toml"]) {
        for (number, line) in store::read_to_string(&source).unwrap().lines().enumerate() {
            for part in line.split("docs/").skip(1) {
                let end = part.find(|letter: char| !letter.is_ascii_alphanumeric() && !"/-_.".contains(letter));
                let name = part[..end.unwrap_or(part.len())].trim_end_matches('.');
                let before = &line[..line.len() - part.len() - "docs/".len()];
                let is_ours = !before.ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '/');
                if is_ours && name.ends_with(".md") && !is_file(&root().join("docs").join(name)) {
                    let source = source.strip_prefix(root()).unwrap().display();
                    wrong.push(format!("{source}:{}: `docs/{name}` is not there", number + 1));
                }
            }
        }
    }
    none(&wrong);
}

/// The simple commands of a line of shell: words without quotes, redirections and comments.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut in_word, mut quote) = (String::new(), false, None::<char>);
    let mut skip_next = false;
    let end = |word: &mut String, in_word: &mut bool, skip_next: &mut bool, commands: &mut Vec<Vec<String>>| {
        if std::mem::take(in_word) {
            let word = std::mem::take(word);
            if !std::mem::take(skip_next) {
                commands.last_mut().unwrap().push(word);
            }
        }
    };
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), letter) => word.push(letter),
            (None, '\'' | '"') => (quote, in_word) = (Some(letter), true),
            (None, '#') if !in_word => break,
            (None, '|' | ';' | '&') => {
                end(&mut word, &mut in_word, &mut skip_next, &mut commands);
                commands.push(Vec::new());
            }
            (None, '<' | '>') => {
                // The number of a file descriptor belongs to the redirection.
                if word == "2" || word == "1" {
                    word.clear();
                    in_word = false;
                }
                end(&mut word, &mut in_word, &mut skip_next, &mut commands);
                skip_next = true;
            }
            (None, letter) if letter.is_whitespace() => end(&mut word, &mut in_word, &mut skip_next, &mut commands),
            (None, letter) => {
                word.push(letter);
                in_word = true;
            }
        }
    }
    end(&mut word, &mut in_word, &mut skip_next, &mut commands);
    for command in &mut commands {
        let is_assignment = |word: &String| {
            let name = word.split_once('=').map(|(name, _)| name).unwrap_or_default();
            !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
        };
        let assignments = command.iter().take_while(|word| is_assignment(word)).count();
        command.drain(..assignments);
    }
    commands.retain(|command| !command.is_empty());
    commands
}

#[test]
fn lines_of_shell_are_split_into_words() {
    let split = |line: &str| commands(line);
    assert_eq!(split("memtrain train  # a comment"), [vec!["memtrain", "train"]]);
    assert_eq!(split("A=1 memtrain x 'a b' \"c # d\" 2> log"), [vec!["memtrain", "x", "a b", "c # d"]]);
    let piped = split("echo '{\"a\": [1, 2]}' | memtrain y - > out && z");
    assert_eq!(piped, [vec!["echo", "{\"a\": [1, 2]}"], vec!["memtrain", "y", "-"], vec!["z"]]);
    assert_eq!(split("cmd run.corpus=a --set B=2"), [vec!["cmd", "run.corpus=a", "--set", "B=2"]]);
}

/// Commands in the code blocks of a page, with the line on which each begins.
fn commands_of(page: &Page) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let shell = ["", "sh", "sh ci", "console"];
    for block in page.blocks.iter().filter(|block| shell.contains(&block.language.as_str())) {
        let mut open: Option<(usize, String)> = None;
        for (number, line) in &block.lines {
            let (start, before) = open.take().unwrap_or((*number, String::new()));
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let joined = format!("{before}{line}");
            match joined.strip_suffix('\\') {
                Some(unfinished) => open = Some((start, unfinished.to_owned())),
                None => found.extend(commands(&joined).into_iter().map(|command| (start, command))),
            }
        }
    }
    found
}

/// What is wrong with a command of this repository; nothing about those of others.
fn wrong_command(command: &[String], justfile: &str) -> Option<String> {
    match command[0].as_str() {
        "memtrain" | "target/release/memtrain" => wrong_arguments(&command[1..]),
        "just" if command.len() > 1 => {
            let recipe = justfile.lines().find(|line| {
                !line.starts_with([' ', '#', '@']) && line.split([' ', ':']).next() == Some(command[1].as_str())
            });
            let Some(recipe) = recipe else { return Some(format!("no recipe `{}`", command[1])) };
            let parameters = recipe.split(':').next().unwrap().split(' ').skip(1);
            let most = if recipe.contains(" *") { usize::MAX } else { parameters.count() };
            (command.len() - 2 > most).then(|| format!("`{recipe}` takes {most} arguments"))
        }
        "cargo" => {
            if command.get(1).is_some_and(|word| word == "run") && !command.iter().any(|word| word == "--example") {
                let arguments = command.iter().position(|word| word == "--")?;
                return wrong_arguments(&command[arguments + 1..]);
            }
            let kinds = [("--test", "tests"), ("--bench", "benches"), ("--example", "examples")];
            let named = command.windows(2).filter_map(|pair| {
                let (_, folder) = kinds.iter().find(|(option, _)| *option == pair[0])?;
                Some((*folder, &pair[1]))
            });
            for (folder, name) in named {
                let file = format!("{folder}/{name}.rs");
                let is_there = |source: &PathBuf| source.ends_with(&file);
                if !name.contains(['[', '$', '*']) && !repository(&["rs"]).iter().any(is_there) {
                    return Some(format!("no crate has {file}"));
                }
            }
            None
        }
        _ => None,
    }
}

/// What is wrong with arguments of `memtrain`: those that clap refuses, and changes that no configuration takes.
fn wrong_arguments(arguments: &[String]) -> Option<String> {
    let typed = std::iter::once("memtrain").chain(arguments.iter().map(String::as_str));
    if let Err(error) = Cli::try_parse_from(typed) {
        let is_help = !error.use_stderr();
        return (!is_help).then(|| error.to_string().lines().next().unwrap_or_default().to_owned());
    }
    // `index eval` changes keys of `[corpus.index]` alone, under their names there.
    let section = if arguments.starts_with(&["index".into(), "eval".into()]) { "corpus.index." } else { "" };
    let set = arguments.windows(2).filter(|pair| pair[0] == "--set").map(|pair| format!("{section}{}", pair[1]));
    let set: Vec<String> = set.collect();
    let file = arguments.iter().find(|word| word.ends_with(".toml"));
    let known = file.map(|file| root().join(file)).filter(|file| is_file(file));
    let sources = match known {
        Some(file) => Sources::read(&file),
        None => Sources::of_text(Path::new("none.toml"), ""),
    };
    let resolved = sources.and_then(|sources| configuration::resolve(&sources, &set));
    resolved.err().map(|error| format!("{error:#}"))
}

#[test]
fn commands_in_code_blocks_are_understood() {
    let justfile = store::read_to_string(&root().join("justfile")).unwrap();
    let (mut wrong, mut number_of_commands) = (Vec::new(), 0);
    for page in pages() {
        for (number, command) in commands_of(&page) {
            number_of_commands += usize::from(command[0] == "memtrain");
            if let Some(reason) = wrong_command(&command, &justfile) {
                wrong.push(format!("{}: {}: {reason}", page.at(number), command.join(" ")));
            }
        }
    }
    none(&wrong);
    assert!(number_of_commands > 100, "only {number_of_commands} commands were found");
}

#[test]
fn commands_in_the_prose_have_existing_names_and_options() {
    let mut whole = Cli::command();
    whole.build();
    let mut wrong = Vec::new();
    for page in pages() {
        for (number, code) in page.code() {
            let Some(rest) = code.strip_prefix("memtrain ") else { continue };
            let mut at: &Command = &whole;
            let mut words = rest.split_whitespace().peekable();
            while let Some(word) = words.next_if(|word| at.has_subcommands() && !word.starts_with('-')) {
                match at.find_subcommand(word) {
                    Some(below) => at = below,
                    None if word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') => {
                        wrong.push(format!("{}: `{code}`: no command `{word}`", page.at(number)));
                        break;
                    }
                    None => break,
                }
            }
            for option in words.filter_map(|word| word.strip_prefix("--")).filter(|option| !option.is_empty()) {
                let name = option.split('=').next().unwrap();
                let known = |command: &Command| {
                    command.get_arguments().any(|argument| argument.get_long() == Some(name))
                        || ["help", "version"].contains(&name)
                };
                if !known(at) && !at.get_subcommands().any(known) {
                    wrong.push(format!("{}: `{code}`: no option `--{name}`", page.at(number)));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn configurations_in_code_blocks_are_read() {
    let (mut wrong, mut number_of_blocks) = (Vec::new(), 0);
    for page in pages() {
        for block in &page.blocks {
            let first = block.lines.iter().find(|(_, line)| !line.is_empty() && !line.starts_with('#'));
            let Some((number, first)) = first else { continue };
            let is_section = first.split_once(']').is_some_and(|(name, _)| {
                name.starts_with('[')
                    && name.chars().skip(1).all(|letter| letter.is_ascii_lowercase() || "._".contains(letter))
            });
            if block.language != "toml" && !(block.language.is_empty() && is_section && !first.contains("= [[")) {
                continue;
            }
            number_of_blocks += 1;
            let text: String = block.lines.iter().map(|(_, line)| format!("{line}\n")).collect();
            let parsed = Sources::of_text(Path::new("block.toml"), &text).and_then(|sources| {
                sources.parse()?;
                configuration::resolve(&sources, &[])
            });
            if let Err(error) = parsed {
                wrong.push(format!("{}: {error:#}", page.at(*number)));
            }
        }
    }
    none(&wrong);
    assert!(number_of_blocks > 5, "only {number_of_blocks} configurations were found");
}

#[test]
fn environment_variables_are_described() {
    let described = ["docs/configuration.md", "CONTRIBUTING.md", "docs/gpu.md"];
    let described = described.map(|page| store::read_to_string(&root().join(page)).unwrap()).concat();
    let mut wrong = Vec::new();
    for source in repository(&["rs"]) {
        for line in store::read_to_string(&source).unwrap().lines() {
            // String literals alone: what is read may be named in a constant.
            for literal in line.split('"').skip(1).step_by(2) {
                let is_name = |prefix: &str| literal.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
                let is_variable = ["HF_", "MEMTRAIN_"].into_iter().any(is_name)
                    && literal.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
                if is_variable && !literal.ends_with("_CHILD") && !described.contains(&format!("`{literal}")) {
                    wrong.push(format!("{}: {literal}", source.strip_prefix(root()).unwrap().display()));
                }
            }
        }
    }
    wrong.dedup();
    none(&wrong);
}

/// Words with which a heading would be a question or a riddle instead of the name of a thing.
const QUESTIONS: [&str; 9] = ["What", "Who", "Whose", "How", "Where", "Why", "Whether", "Which", "When"];

fn is_question(line: &str) -> bool {
    let first = line.split([' ', ',', ':']).next().unwrap();
    line.ends_with('?') || QUESTIONS.contains(&first)
}

#[test]
fn headings_and_module_headers_name_their_thing() {
    let mut wrong = Vec::new();
    for page in pages() {
        for (number, heading) in page.headings().filter(|(_, heading)| is_question(heading)) {
            wrong.push(format!("{}: {heading}", page.at(number)));
        }
    }
    for source in repository(&["rs"]) {
        let text = store::read_to_string(&source).unwrap();
        let header = text.lines().find_map(|line| line.strip_prefix("//! "));
        if let Some(header) = header.filter(|header| is_question(header)) {
            wrong.push(format!("{}: {header}", source.strip_prefix(root()).unwrap().display()));
        }
    }
    none(&wrong);
}
