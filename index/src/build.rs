//! Building an index, shard by shard.
//!
//! The shards can be written in any order, by any number of threads or machines that share the folder. A shard has
//! parts (words, vectors, codes); a part that is there and whole is left alone, so that a build that was killed goes on
//! where it was, and a damaged file costs no more than its part.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError, Verifier};
use memtrain_kernels::vector::normalise;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::binary_vectors::BinaryVectors;
use crate::embed::{self, Embedder, RandomIndexing, Role, Sample};
use crate::folder::{CODES, EMBEDDER, IndexFile, LEXICAL, Layout, MANIFEST, Manifest, SIGNATURES, VECTORS_ROWS};
use crate::passages::{Passages, Watch};
use crate::vectors::{Vectors, VectorsWriter};
use crate::{IndexConfig, IndexError, Language, Method, analysis, indexed_text, lexical, near_duplicates};

/// Passages that are read, embedded and written at a time.
const BATCH: usize = 1_024;
/// Passages that are read next to each other for the built-in embeddings to learn from: single ones, evenly spaced,
/// would make a large corpus be decoded from end to end.
const SAMPLE_RUN: u64 = 64;
/// Runs whose texts are held at a time.
const SAMPLE_RUNS: usize = 64;

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSummary {
    /// Passages indexed.
    pub num_passages: u64,
    /// Shards they are spread over.
    pub num_shards: usize,
    /// Shards whose vectors have codes.
    pub num_with_codes: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Builds an index in steps: [`Builder::learn`] once, [`Builder::write_shard`] for every shard, [`Builder::commit`].
pub struct Builder<P> {
    passages: P,
    dir: PathBuf,
    config: IndexConfig,
    language: Language,
    layout: Layout,
    embedder: Option<Box<dyn Embedder>>,
}

/// The files of a part of a shard, once it is done.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    files: Vec<IndexFile>,
}

impl<P: Passages> Builder<P> {
    /// Prepares a build of these passages into `dir`; what is there is taken to be of the same passages and the same
    /// configuration.
    ///
    /// # Errors
    /// A configuration that [`IndexConfig::check`] refuses; passages that cannot be read.
    pub fn new(passages: P, dir: &Path, config: &IndexConfig) -> Result<Self, IndexError> {
        config.check()?;
        store::create_dir_all(dir)?;
        let first = if passages.is_empty() { Vec::new() } else { passages.read(0..1).map_err(IndexError::Passages)? };
        let language = config.language.resolve(first.first().map_or("", |passage| &passage.url));
        let layout = Layout::new(passages.len(), config);
        Ok(Self { passages, dir: dir.to_path_buf(), config: config.clone(), language, layout, embedder: None })
    }

    /// Number of shards.
    pub fn num_shards(&self) -> usize {
        self.layout.num_shards()
    }

    /// Number of passages of a shard.
    pub fn shard_len(&self, shard: usize) -> u64 {
        let range = self.layout.range(shard);
        range.end - range.start
    }

    /// Makes the embeddings ready: loads the model, or learns the built-in ones unless `embedder.bin` is there and whole.
    ///
    /// # Errors
    /// If the model cannot be loaded or the passages cannot be read.
    pub fn learn(&mut self) -> Result<(), IndexError> {
        if self.config.method == Method::Lexical {
            return Ok(());
        }
        if !Manifest::learns(&self.config) {
            self.embedder = Some(embed::open(&self.config.embed, &self.dir)?);
            return Ok(());
        }
        let path = self.dir.join(EMBEDDER);
        if let Ok(learned) = RandomIndexing::read(&path) {
            self.embedder = Some(Box::new(learned));
            return Ok(());
        }
        store::sweep_temporaries(&self.dir)?;
        let learned = RandomIndexing::learn(self.sample()?, &self.config.embed, self.language);
        learned.write(&path)?;
        self.embedder = Some(Box::new(learned));
        Ok(())
    }

    /// The words that the built-in embeddings learn from: of all passages, or of runs at even distances.
    fn sample(&self) -> Result<Sample, IndexError> {
        let (have, want) = (self.passages.len(), self.config.embed.fit_passages as u64);
        let runs: Vec<std::ops::Range<u64>> = if have <= want {
            (0..have).step_by(BATCH).map(|first| first..have.min(first + BATCH as u64)).collect()
        } else {
            let num_runs = want.div_ceil(SAMPLE_RUN);
            let first = |run: u64| (u128::from(run) * u128::from(have) / u128::from(num_runs)) as u64;
            let length = SAMPLE_RUN.min(want);
            (0..num_runs).map(|run| first(run)..(first(run) + length).min(have)).collect()
        };
        let read = |run: &std::ops::Range<u64>| -> Result<Vec<String>, IndexError> {
            Ok(self.passages.read(run.clone()).map_err(IndexError::Passages)?.iter().map(indexed_text).collect())
        };
        let (mut sample, analyzer) = (Sample::default(), analysis::analyzer(self.language));
        for runs in runs.chunks(SAMPLE_RUNS) {
            let texts: Vec<Vec<String>> = runs.par_iter().map(read).collect::<Result<_, _>>()?;
            sample.extend(&texts.concat(), &analyzer);
        }
        Ok(sample)
    }

    /// Writes one shard, leaving alone what of it is there and whole, and returns its files.
    ///
    /// # Errors
    /// [`IndexError::Stopped`] when `watch` asks for it; passages that cannot be read, embeddings that cannot be made,
    /// files that cannot be written.
    pub fn write_shard(&self, shard: usize, watch: &dyn Watch) -> Result<Vec<IndexFile>, IndexError> {
        let folder = self.layout.folder(shard);
        store::create_dir_all(&self.dir.join(&folder))?;
        // What a killed build left half written.
        store::sweep_temporaries(&self.dir.join(&folder))?;
        let mut files = self.part(&folder, "words", || self.write_words(shard, watch))?;
        if self.embedder.is_some() {
            files.extend(self.write_vectors(shard, watch)?);
            if self.shard_len(shard) >= self.config.ann.min_passages.max(1) {
                files.extend(self.part(&folder, "codes", || self.write_binary_vectors(shard, watch))?);
            }
        }
        if self.config.method == Method::Lexical {
            watch.advanced(self.shard_len(shard));
        }
        Ok(files)
    }

    /// The files of a part and the note that lists them: those that are there and whole, else those that `write` makes.
    fn part(
        &self,
        folder: &str,
        name: &str,
        write: impl FnOnce() -> Result<Vec<String>, IndexError>,
    ) -> Result<Vec<IndexFile>, IndexError> {
        let note = format!("{folder}/{name}.json");
        let path = self.dir.join(&note);
        let is_whole = |part: &Part| {
            let verifier = Verifier::reading_all();
            match part.files.iter().try_for_each(|file| file.check(&self.dir, &verifier)) {
                Err(IndexError::Corrupt { .. }) => Ok(false),
                checked => checked.map(|()| true),
            }
        };
        let part = match store::read_json::<Part>(&path) {
            Ok(part) => Some(part),
            Err(StoreError::Json { .. }) => None,
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let mut files = match part {
            Some(part) if is_whole(&part)? => part.files,
            _ => {
                store::remove_file(&path)?;
                let files =
                    write()?.into_iter().map(|path| IndexFile::of(&self.dir, path)).collect::<Result<_, _>>()?;
                let part = Part { files };
                store::write_json(&path, &part)?;
                part.files
            }
        };
        files.push(IndexFile::of(&self.dir, note)?);
        Ok(files)
    }

    /// The lexical index and the signatures, in one pass over the passages.
    fn write_words(&self, shard: usize, watch: &dyn Watch) -> Result<Vec<String>, IndexError> {
        let folder = self.layout.folder(shard);
        let dir = self.dir.join(&folder).join(LEXICAL);
        let words = lexical::Words {
            passages: &self.passages,
            range: self.layout.range(shard),
            memory_bytes: self.config.writer_memory_mib << 20,
            language: self.language,
            watch,
        };
        let signatures = lexical::write(&words, &dir)?;
        let path = format!("{folder}/{SIGNATURES}");
        near_duplicates::write(&self.dir.join(&path), &signatures)?;
        let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
        let names = store::list(&dir)?.iter().filter_map(name).collect::<Vec<_>>();
        Ok(names.into_iter().map(|name| format!("{folder}/{LEXICAL}/{name}")).chain([path]).collect())
    }

    /// The vectors, file by file; whole files are left alone.
    fn write_vectors(&self, shard: usize, watch: &dyn Watch) -> Result<Vec<IndexFile>, IndexError> {
        let Some(embedder) = &self.embedder else { return Ok(Vec::new()) };
        let first = self.layout.range(shard).start;
        let mut files = Vec::new();
        for (file, rows) in self.layout.vectors(shard) {
            let path = self.dir.join(&file);
            if !Vectors::is_whole(&path, embedder.dimensions(), rows.len()) {
                let mut writer = VectorsWriter::create(&path, embedder.dimensions(), rows.len() as u64)?;
                for start in rows.clone().step_by(BATCH) {
                    if watch.stopping() {
                        return Err(IndexError::Stopped);
                    }
                    let end = rows.end.min(start + BATCH);
                    let range = first + start as u64..first + end as u64;
                    let passages = self.passages.read(range).map_err(IndexError::Passages)?;
                    let texts: Vec<String> = passages.iter().map(indexed_text).collect();
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    let mut vectors = embedder.embed(&texts, Role::Passage)?;
                    vectors.iter_mut().for_each(|vector| normalise(vector));
                    writer.push(&vectors)?;
                    watch.advanced((end - start) as u64);
                }
                writer.finish()?;
            } else {
                watch.advanced(rows.len() as u64);
            }
            files.push(IndexFile::of(&self.dir, file)?);
        }
        Ok(files)
    }

    fn write_binary_vectors(&self, shard: usize, watch: &dyn Watch) -> Result<Vec<String>, IndexError> {
        let files = self.layout.vectors(shard);
        let vectors = Vectors::open(files.into_iter().map(|(file, _)| self.dir.join(file)))?;
        let path = format!("{}/{CODES}", self.layout.folder(shard));
        BinaryVectors::build(&vectors, &self.dir.join(&path), watch)?;
        Ok(vec![path])
    }

    /// What the built-in embeddings have learned, as a file of the index; `None` where there is no such file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn learned(&self) -> Result<Option<IndexFile>, IndexError> {
        if !Manifest::learns(&self.config) {
            return Ok(None);
        }
        IndexFile::of(&self.dir, EMBEDDER.to_owned()).map(Some)
    }

    /// Writes `index.json`, which makes the folder an index, from the files of all shards and [`Self::learned`].
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn commit(&self, files: Vec<IndexFile>) -> Result<IndexSummary, IndexError> {
        let manifest = Manifest::new(&self.config, self.language, self.passages.len(), files)?;
        manifest.write(&self.dir)?;
        Ok(IndexSummary {
            num_passages: manifest.num_passages,
            num_shards: self.num_shards(),
            num_with_codes: manifest.files.iter().filter(|file| file.path.ends_with(CODES)).count(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        })
    }
}

/// Builds the index of passages into `dir`, replacing an index that is there, whole or not. To go on with a build that
/// was killed, use [`Builder`].
///
/// The passages are never held together in memory; what is held is the tantivy writer's memory, the sample that the
/// built-in embeddings learn from and their words.
///
/// # Errors
/// The first error of the passages, a configuration that [`IndexConfig::check`] refuses, or a file that cannot be
/// written. The folder then has no `index.json`, and [`crate::Index::open`] refuses it.
pub fn build(passages: impl Passages, dir: &Path, config: &IndexConfig) -> Result<IndexSummary, IndexError> {
    config.check()?;
    clear(dir)?;
    let mut builder = Builder::new(passages, dir, config)?;
    builder.learn()?;
    let shards = (0..builder.num_shards()).into_par_iter().map(|shard| builder.write_shard(shard, &()));
    let files: Vec<Vec<IndexFile>> = shards.collect::<Result<_, _>>()?;
    let learned = builder.learned()?;
    builder.commit(files.into_iter().flatten().chain(learned).collect())
}

/// Removes what an earlier build left, the manifest first, so that the folder is unfinished from here on.
fn clear(dir: &Path) -> Result<(), IndexError> {
    if !store::is_dir(dir) {
        return Ok(());
    }
    for file in [MANIFEST, EMBEDDER] {
        store::remove_file(&dir.join(file))?;
    }
    for path in store::list(dir)? {
        let shard = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("shard-"));
        if shard && store::is_dir(&path) {
            store::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

const _: () = assert!(VECTORS_ROWS.is_multiple_of(BATCH), "a file of vectors is written in whole batches");
