//! Stage 4, `index`: the retrieval index over all passages, built by `memtrain-index` shard by shard.

use std::ops::Range;
use std::path::Path;

use memtrain_corpora::Passage;
use memtrain_index::{Builder, EmbedBackend, Index, IndexError, IndexFile, Method, Watch, embed};
use serde::{Deserialize, Serialize};

use crate::config::CorpusConfig;
use crate::error::{PipelineError, Result};
use crate::stage::{
    FileRecord, Input, Manifest, Plan, PlannedShard, Progress, ShardOutput, ShardRunner, Stage, StageFolder, StageName,
    to_value, work_of,
};
use crate::tables::Passages;

/// Version of what this stage computes.
const VERSION: u32 = 3;
/// The folder of the index inside that of the stage.
const DATA: &str = "data";
/// Opens the index of a corpus.
///
/// # Errors
/// If the stage is not finished or a file of the index is damaged.
pub fn open(out_dir: &Path) -> Result<Index> {
    Ok(Index::open(&StageFolder::new(out_dir, StageName::Index).join(DATA))?)
}

/// What a shard of this stage has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Work {
    /// Learn the built-in embeddings.
    Learn,
    /// Index the passages of this shard of the index.
    Shard(usize),
}

pub(crate) struct IndexStage<'a> {
    pub(crate) config: &'a CorpusConfig,
    pub(crate) out: &'a Path,
}

impl IndexStage<'_> {
    /// The passages, and the files of the model that the embeddings come from.
    fn inputs(&self) -> Result<Vec<Input>> {
        let mut inputs = vec![StageFolder::manifest_input(self.out, StageName::Ingest, StageName::Index)?];
        let (index, embedding) = (&self.config.index, &self.config.index.embed);
        if index.method != Method::Lexical {
            for file in embed::model_files(embedding)? {
                inputs.push(Input::of(&embedding.model.join(&file), format!("model/{}", file.display()))?);
            }
        }
        Ok(inputs)
    }

    fn builder(&self, folder: &StageFolder) -> Result<Builder<Numbered>> {
        let passages = Numbered(Passages::open(self.out, StageName::Index)?);
        Builder::new(passages, &folder.join(DATA), &self.config.index).map_err(own)
    }

    /// Whether the embeddings are learned from the passages.
    fn learns(&self) -> bool {
        let config = &self.config.index;
        config.method != Method::Lexical && config.embed.backend == EmbedBackend::Builtin
    }
}

impl Stage for IndexStage<'_> {
    fn name(&self) -> StageName {
        StageName::Index
    }

    fn configuration(&self) -> serde_json::Value {
        to_value(&self.config.index)
    }

    fn plan(&self) -> Result<Plan> {
        let num_passages = Passages::open(self.out, StageName::Index)?.len();
        let num_shards = usize::try_from(num_passages.div_ceil(self.config.index.passages_per_shard).max(1));
        let learn = self.learns().then_some(Work::Learn);
        let shards = (0..num_shards.unwrap_or(usize::MAX)).map(Work::Shard);
        let work = learn.into_iter().chain(shards).map(|work| to_value(&work)).collect();
        Ok(Plan::new(self.name(), VERSION, self.configuration(), self.inputs()?, work))
    }

    fn fits(&self, stored: &Plan) -> Result<bool> {
        let same = stored.version == VERSION && stored.configuration == self.configuration();
        Ok(same && stored.inputs == self.inputs()?)
    }

    fn open(&self, folder: &StageFolder) -> Result<Box<dyn ShardRunner + '_>> {
        let mut builder = self.builder(folder)?;
        builder.learn().map_err(own)?;
        Ok(Box::new(Runner(builder)))
    }

    /// Puts `index.json` in place, the commit of the index itself.
    fn accept(&self, folder: &StageFolder, manifest: &Manifest) -> Result<()> {
        let of_index = |file: &FileRecord| IndexFile {
            path: file.path.strip_prefix("data/").unwrap_or(&file.path).to_owned(),
            bytes: file.bytes,
            hash: file.hash.clone(),
        };
        let files = manifest.shards.iter().flat_map(|shard| shard.files.iter().map(of_index)).collect();
        self.builder(folder)?.commit(files).map_err(own)?;
        Ok(())
    }
}

struct Runner(Builder<Numbered>);

impl ShardRunner for Runner {
    fn run(&self, shard: &PlannedShard, _: usize, progress: &dyn Progress) -> Result<ShardOutput> {
        let mut output = ShardOutput::default();
        let files = match work_of(shard, StageName::Index)? {
            Work::Learn => self.0.learned().map_err(own)?.into_iter().collect(),
            Work::Shard(number) => {
                let files = self.0.write_shard(number, &Watching { progress, shard: shard.index }).map_err(own)?;
                output.rows.insert("passages".into(), self.0.shard_len(number));
                files
            }
        };
        let record =
            |file: IndexFile| FileRecord { path: format!("{DATA}/{}", file.path), bytes: file.bytes, hash: file.hash };
        output.files = files.into_iter().map(record).collect();
        Ok(output)
    }
}

/// The passages as the index reads them.
struct Numbered(Passages);

impl memtrain_index::Passages for Numbered {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Passage>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read(range)?)
    }
}

/// Listens to the index for the pipeline.
struct Watching<'a> {
    progress: &'a dyn Progress,
    shard: usize,
}

impl Watch for Watching<'_> {
    fn advanced(&self, passages: u64) {
        self.progress.advanced(StageName::Index, self.shard, passages);
    }

    fn stopping(&self) -> bool {
        self.progress.stopping()
    }
}

/// An error of our own that came through the index comes out as it went in.
fn own(error: IndexError) -> PipelineError {
    match error {
        IndexError::Stopped => PipelineError::Stopped,
        IndexError::Passages(source) => match source.downcast::<PipelineError>() {
            Ok(own) => *own,
            Err(source) => IndexError::Passages(source).into(),
        },
        error => error.into(),
    }
}
