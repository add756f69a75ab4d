//! Stage 4, `index`: the retrieval index over all passages, built by `memtrain-index` as one shard.

use std::path::Path;

use memtrain_corpora::store;
use memtrain_index::{Index, IndexError};
use serde_json::json;

use crate::config::CorpusConfig;
use crate::error::{PipelineError, Result};
use crate::stage::{
    Input, Plan, PlannedShard, Progress, ShardOutput, ShardRunner, Stage, StageFolder, StageName, file_record, to_value,
};
use crate::tables::Passages;

/// Version of what this stage computes.
const VERSION: u32 = 1;
/// Passages between two reports of progress.
const REPORT: u64 = 1024;

/// Opens the index of a corpus.
pub fn open(out_dir: &Path) -> Result<Index> {
    Ok(Index::open(&StageFolder::new(out_dir, StageName::Index).join("data"))?)
}

pub(crate) struct IndexStage<'a> {
    pub(crate) config: &'a CorpusConfig,
    pub(crate) out: &'a Path,
}

impl IndexStage<'_> {
    fn inputs(&self) -> Result<Vec<Input>> {
        Ok(vec![Input::manifest(self.out, StageName::Index, StageName::Ingest)?])
    }
}

impl Stage for IndexStage<'_> {
    fn name(&self) -> StageName {
        StageName::Index
    }

    fn plan(&self) -> Result<Plan> {
        Ok(Plan::new(self.name(), VERSION, to_value(&self.config.index), self.inputs()?, vec![json!({})]))
    }

    fn fits(&self, stored: &Plan) -> Result<bool> {
        let same = stored.version == VERSION && stored.configuration == to_value(&self.config.index);
        Ok(same && stored.inputs == self.inputs()?)
    }

    fn open(&self) -> Result<Box<dyn ShardRunner + '_>> {
        Ok(Box::new(Runner { stage: self, folder: StageFolder::new(self.out, self.name()) }))
    }
}

struct Runner<'a> {
    stage: &'a IndexStage<'a>,
    folder: StageFolder,
}

impl ShardRunner for Runner<'_> {
    fn run(&self, shard: &PlannedShard, _: usize, progress: &dyn Progress) -> Result<ShardOutput> {
        let data = self.folder.join("data");
        if store::exists(&data) {
            store::remove_dir_all(&data)?;
        }
        store::create_dir_all(&data)?;
        let passages = Passages::open(self.stage.out, StageName::Index)?;
        let mut read = 0;
        let rows = passages.iter().map(|passage| {
            if read % REPORT == 0 && progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            read += 1;
            if read % REPORT == 0 {
                progress.advanced(StageName::Index, shard.index, REPORT);
            }
            passage
        });
        memtrain_index::build(rows, &data, &self.stage.config.index).map_err(own)?;
        let mut output = ShardOutput { volatile: true, ..ShardOutput::default() };
        output.rows.insert("passages".into(), passages.len());
        for path in files_below(&data)? {
            let relative =
                path.strip_prefix(self.folder.join("")).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            output.files.push(file_record(&self.folder, relative)?);
        }
        Ok(output)
    }
}

/// An error of our own that came through the index comes out as it went in.
fn own(error: IndexError) -> PipelineError {
    match error {
        IndexError::Passages(source) => match source.downcast::<PipelineError>() {
            Ok(own) => *own,
            Err(source) => IndexError::Passages(source).into(),
        },
        error => error.into(),
    }
}

fn files_below(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for path in store::list(folder)? {
        if store::is_dir(&path) { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}
