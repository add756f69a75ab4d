//! The files that a configuration is made of: a file and, below it, those that it names in `include`.
//!
//! Later ones win over earlier ones: what a file includes comes before it, in the order of its list. Tables are merged key by
//! key, every other value is replaced.

use std::path::{Path, PathBuf};

use anyhow::Context;
use memtrain_corpora::store;
use toml::{Table, Value};

use super::messages::parse_config;
use super::places::value_place;
use super::{Config, renamed};
use crate::error::{ConfigError, Usage, WithHint};

/// Most bytes of all files together.
const MAX_BYTES: u64 = 16 << 20;
/// Files below each other.
const MAX_DEPTH: usize = 8;
/// Files in all, those that are included twice counted twice.
const MAX_FILES: usize = 64;

/// Old and new name of a key that was renamed.
type Renamed = (&'static str, &'static str);

/// A file of a configuration.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it was named, for messages.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// The files of a configuration, each before those that win over it.
#[derive(Clone, Debug)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Reads a file and what it includes.
    ///
    /// # Errors
    /// If a file is missing, too large, or no TOML; if a file comes to include itself, or includes reach too deep.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut sources = Self { files: Vec::new() };
        sources.add(path, &mut Vec::new())?;
        Ok(sources)
    }

    /// The file that was named; without one nothing but what `--set` adds.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn given(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            Some(path) => Self::read(path),
            None => Self::of_text(Path::new("--set"), ""),
        }
    }

    /// A text that stands for a file, which includes nothing.
    ///
    /// # Errors
    /// If it includes something.
    pub fn of_text(path: &Path, text: &str) -> anyhow::Result<Self> {
        let file = Source { path: path.to_path_buf(), text: text.to_owned() };
        match file.includes()?.is_empty() {
            true => Ok(Self { files: vec![file] }),
            false => Err(Usage(format!("`{}` is no file, and can include none", path.display())).into()),
        }
    }

    fn add(&mut self, path: &Path, above: &mut Vec<PathBuf>) -> anyhow::Result<()> {
        check_is_file(path)?;
        let read: u64 = self.files.iter().map(|file| file.text.len() as u64).sum();
        let text = store::read_to_string_at_most(path, MAX_BYTES.saturating_sub(read))?;
        let file = Source { path: path.to_path_buf(), text };
        let resolved = store::resolve(path)?;
        let chain = || {
            let files = above.iter().chain([&resolved]).map(|file| format!("`{}`", file.display()));
            files.collect::<Vec<_>>().join(" includes ")
        };
        if above.contains(&resolved) {
            return Err(Usage(format!("configurations include each other in a circle: {}", chain())).into());
        }
        if above.len() > MAX_DEPTH || self.files.len() >= MAX_FILES {
            let chain = chain();
            return Err(Usage(format!(
                "configurations may include each other {MAX_DEPTH} deep and {MAX_FILES} in all: {chain}"
            ))
            .into());
        }
        above.push(resolved);
        for included in file.includes()? {
            let included = path.parent().unwrap_or(Path::new("")).join(included);
            self.add(&included, above)
                .with_context(|| format!("`{}` includes `{}`", path.display(), included.display()))?;
        }
        above.pop();
        self.files.push(file);
        Ok(())
    }

    /// All files together, with keys under their present names, and the names that were changed for it.
    ///
    /// # Errors
    /// If a file is no TOML.
    pub fn merged(&self) -> Result<(Table, Vec<Renamed>), ConfigError> {
        let (mut merged, mut changed) = (Table::new(), Vec::new());
        for file in &self.files {
            let mut table: Table = parse_config(&file.path, &file.text)?;
            changed.extend(renamed::rename(&mut table));
            table.remove("include");
            merge(&mut merged, table);
        }
        Ok((merged, changed))
    }

    /// The configuration.
    ///
    /// # Errors
    /// What is wrong, and in which of the files where one of them has it alone.
    pub fn parse(&self) -> Result<Config, ConfigError> {
        let last = self.files.last().map_or(Path::new(""), |file| &file.path);
        if let [file] = &self.files[..] {
            return parse_config(&file.path, &file.text);
        }
        let text = toml::to_string(&self.merged()?.0).unwrap_or_default();
        let wrong = match toml::from_str::<Config>(&text) {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        // A file by itself may lack what another one has: only a failure that both have has its place in a file.
        let has_it = |file: &&Source| {
            toml::from_str::<Config>(&file.text).err().is_some_and(|error| error.message() == wrong.message())
        };
        if let Some(file) = self.files.iter().rev().find(has_it) {
            return parse_config(&file.path, &file.text);
        }
        let message = format!("{} in `{}` together with what it includes", wrong.message().trim_end(), last.display());
        Err(ConfigError { message, hint: None })
    }

    /// The file whose value of a key counts, and the byte in it at which that begins; nothing for a default.
    pub fn value_place(&self, key: &str) -> Option<(&Source, usize)> {
        let names = [key.to_owned(), renamed::earlier_name(key)];
        self.files.iter().rev().find_map(|file| {
            let start = names.iter().find_map(|name| value_place(&file.text, name))?;
            Some((file, start))
        })
    }
}

impl Source {
    fn includes(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let table: Table = parse_config(&self.path, &self.text)?;
        let wrong = || ConfigError {
            message: format!("`include` in `{}` is no list of paths", self.path.display()),
            hint: Some("write `include = [\"base.toml\"]` before the first section".to_owned()),
        };
        let Some(list) = table.get("include") else { return Ok(Vec::new()) };
        let list = list.as_array().ok_or_else(wrong)?;
        list.iter().map(|path| path.as_str().map(PathBuf::from).ok_or_else(wrong)).collect()
    }
}

/// Refuses what is no file, with what it may be instead.
fn check_is_file(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    if !store::exists(path) {
        return Err(Usage(format!("there is no configuration `{shown}`"))).hint(|| {
            "check the path, as seen from the folder you are in; `memtrain config check FILE` looks at one".to_owned()
        });
    }
    if !store::is_dir(path) {
        return Ok(());
    }
    let is_toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let inside: Vec<PathBuf> = store::list(path)?.into_iter().filter(is_toml).collect();
    Err(Usage(format!("`{shown}` is a folder, and a configuration a file"))).hint(|| match &inside[..] {
        [] => {
            "name the file that `corpus build` or `train` was given, for example `configs/enwiki-short.toml`".to_owned()
        }
        [one] => format!("the configuration in it is `{}`", one.display()),
        [first, rest @ ..] => format!("in it are `{}` and {} more: name one", first.display(), rest.len()),
    })
}

/// Puts a table over another one.
fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::changes::resolve;
    use crate::config::origin::origin;
    use crate::error::{self, ErrorKind, kind};

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            store::create_dir_all(path.parent().unwrap()).unwrap();
            store::write_atomic(&path, text).unwrap();
        }
        folder
    }

    #[test]
    fn what_is_no_file_is_refused_with_what_is_there() {
        let folder =
            written(&[("a.toml", ""), ("b.toml", ""), ("run/config.toml", ""), ("run/log", ""), ("none/x", "")]);
        for (name, message, hint) in [
            ("c.toml", "there is no configuration `FOLDER/c.toml`", "check the path"),
            ("", "`FOLDER/` is a folder, and a configuration a file", "in it are `FOLDER/a.toml` and 1 more"),
            (
                "run",
                "`FOLDER/run` is a folder, and a configuration a file",
                "the configuration in it is `FOLDER/run/config.toml`",
            ),
            ("none", "`FOLDER/none` is a folder, and a configuration a file", "name the file"),
        ] {
            let failure = Sources::read(&folder.path().join(name)).unwrap_err();
            let plain = |text: &str| text.replace(&folder.path().display().to_string(), "FOLDER");
            assert_eq!((kind(&failure), plain(&failure.to_string()).as_str()), (ErrorKind::Usage, message));
            let told = plain(&error::hint(&failure).unwrap());
            assert!(told.starts_with(hint), "{told}");
        }
    }

    #[test]
    fn later_files_win_key_by_key_and_each_value_has_an_origin() {
        let folder = written(&[
            ("run.toml", "include = [\"parts/a.toml\", \"b.toml\"]\n[train]\nsteps = 3\n"),
            ("parts/a.toml", "include = [\"../c.toml\"]\n[train]\nsteps = 1\nkeep_last = 1\n[draw]\ntop_k = 5\n"),
            ("b.toml", "[train]\nkeep_last = 2\n[corpus.ingest]\ndumps = [\"b\"]\n"),
            ("c.toml", "[train]\ncheckpoint_every = 9\nkeep_last = 9\n[corpus.ingest]\ndumps = [\"c\", \"d\"]\n"),
        ]);
        let sources = Sources::read(&folder.path().join("run.toml")).unwrap();
        let set = ["eval.documents=7".to_owned()];
        let config = Config::read(&folder.path().join("run.toml"), &set).unwrap();
        let train = &config.train;
        assert_eq!((train.steps, train.keep_last, train.checkpoint_every, config.sampling.top_k), (3, 2, 9, 5));
        assert_eq!((config.corpus.ingest.dumps, config.include), (vec!["b".to_owned()], Vec::<PathBuf>::new()));
        let origin = |key: &str| origin(&sources, &set, key).replace(&format!("{}/", folder.path().display()), "");
        for (key, expected) in [
            ("train.steps", "run.toml:3"),
            ("train.keep_last", "b.toml:2"),
            ("train.checkpoint_every", "parts/../c.toml:2"),
            ("sampling.top_k", "parts/a.toml:6"),
            ("eval.documents", "--set"),
            ("eval.temperature", "default"),
        ] {
            assert_eq!(origin(key), expected, "{key}");
        }
    }

    #[test]
    fn what_is_wrong_in_an_included_file_has_its_place_there() {
        for (base, expected) in [
            ("[train]\nstepz = 3\n", "unknown key `train.stepz` at FOLDER/base.toml:2:1"),
            ("[train]\nsteps = \"x\"\n", "at FOLDER/base.toml:2:9"),
            ("[optimizer]\nbeta1 = 2.0\n", "`optimizer.beta1` is 2.0 at FOLDER/base.toml:2:9"),
            ("[train\n", "FOLDER/base.toml:1:"),
            ("include = \"x.toml\"\n", "`include` in `FOLDER/base.toml` is no list of paths"),
            ("include = [\"gone.toml\"]\n", "FOLDER/gone.toml"),
            ("[objective]\nkind = \"memagent\"\n", "`recall_weight` is no key of `kind = \"memagent\"`"),
        ] {
            let child = "include = [\"base.toml\"]\n[objective]\nrecall_weight = 0.25\n";
            let folder = written(&[("run.toml", child), ("base.toml", base)]);
            let read = Sources::read(&folder.path().join("run.toml")).and_then(|sources| resolve(&sources, &[]));
            let told = format!("{:#}", read.unwrap_err()).replace(&folder.path().display().to_string(), "FOLDER");
            assert!(told.contains(expected), "{base}: {told}");
        }
        // A key that only both files together make right.
        let folder = written(&[
            ("run.toml", "include = [\"base.toml\"]\n[objective]\ngain_weight = 0.25\n"),
            ("base.toml", "[objective]\nkind = \"infomem\"\n"),
        ]);
        assert!(resolve(&Sources::read(&folder.path().join("run.toml")).unwrap(), &[]).is_ok());
    }

    #[test]
    fn circles_and_depths_end() {
        let folder = written(&[("a.toml", "include = [\"b.toml\"]"), ("b.toml", "include = [\"./a.toml\"]")]);
        let told = format!("{:#}", Sources::read(&folder.path().join("a.toml")).unwrap_err());
        assert!(told.contains("in a circle") && told.contains("b.toml"), "{told}");
        let name = |number: usize| format!("{number}.toml");
        let texts: Vec<(String, String)> =
            (0..12).map(|number| (name(number), format!("include = [\"{}\"]", name(number + 1)))).collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (&**name, &**text)).collect();
        let told = format!("{:#}", Sources::read(&written(&files).path().join("0.toml")).unwrap_err());
        assert!(told.contains("8 deep"), "{told}");
        // Eight files that include the next twice each would be read 256 times.
        let twice: Vec<(String, String)> = (0..8)
            .map(|number| match number {
                7 => (name(7), String::new()),
                number => (name(number), format!("include = [\"{0}\", \"{0}\"]", name(number + 1))),
            })
            .collect();
        let files: Vec<(&str, &str)> = twice.iter().map(|(name, text)| (&**name, &**text)).collect();
        let told = format!("{:#}", Sources::read(&written(&files).path().join("0.toml")).unwrap_err());
        assert!(told.contains("64 in all"), "{told}");
        // The bound of a file is that of all.
        let (child, base) = ("include = [\"base.toml\", \"base.toml\"]", "# ".to_owned() + &"x".repeat(9 << 20));
        let told = Sources::read(&written(&[("run.toml", child), ("base.toml", &base)]).path().join("run.toml"));
        assert!(format!("{:#}", told.unwrap_err()).contains("the most that are read of such a file"));
        assert!(Sources::of_text(Path::new("x"), "include = [\"y\"]").is_err());
    }
}
