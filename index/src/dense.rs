//! Nearest neighbours by cosine: through all vectors of a shard, or through those lists of it that lie nearest.

use std::cmp::Ordering;
use std::ops::Range;

use rayon::prelude::*;

use crate::IndexError;
use crate::lists::Lists;
use crate::products::{GROUP, dot, dots};
use crate::vectors::{Rows, Vectors};

/// Rows that are read and widened at a time: with 1,024 dimensions 256 KiB, inside a core's cache.
const BLOCK_ROWS: usize = 64;
/// Queries that a block is compared with before the next one is widened.
const BATCH: usize = 256;

/// Vectors up to which a question is compared with all of them: 4 GB of 1,024 dimensions, a second on two cores.
const ALL_FOR_QUESTIONS: usize = 2_000_000;
/// How many times the lists of a passage a question looks into where there are more vectors.
const QUESTION_PROBES: usize = 4;

/// Rows of a shard up to which the configured number of lists is looked into. Beyond, lists are more and longer, and what is near lies in
/// more of them: √ times as many are looked into, which keeps their share of a shard.
const ROWS_OF_PROBES: f64 = 100_000.0;

/// A row and its cosine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Near {
    pub(crate) row: usize,
    pub(crate) cosine: f32,
}

impl Near {
    fn best_first(&self, other: &Self) -> Ordering {
        other.cosine.total_cmp(&self.cosine).then(self.row.cmp(&other.row))
    }
}

/// The rows of a shard, and its lists where it has some.
pub(crate) struct DenseShard {
    pub(crate) rows: Range<usize>,
    pub(crate) lists: Option<Lists>,
}

/// The vectors of all passages and how they are searched.
pub(crate) struct Dense {
    pub(crate) vectors: Vectors,
    pub(crate) shards: Vec<DenseShard>,
    /// Lists that a query looks into where one shard of up to [`ROWS_OF_PROBES`] has some; see [`scaled`] for more.
    pub(crate) probes: usize,
}

/// A list, as shard and number, and the queries that look into it.
struct Asked {
    shard: usize,
    list: usize,
    queries: Vec<u32>,
}

impl Dense {
    /// The nearest `num_hits` rows of each query by cosine, best first, equals by row; `skip(query, row)` leaves rows
    /// out. A row's cosine depends on the row and the query alone, and equals have an order, so the answer depends
    /// neither on the number of threads nor on what else is asked.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn nearest(
        &self,
        queries: &[Vec<f32>],
        num_hits: usize,
        skip: impl Fn(usize, usize) -> bool + Sync,
    ) -> Result<Vec<Vec<Near>>, IndexError> {
        self.search(queries, num_hits, skip, Some(self.probes))
    }

    /// [`Self::nearest`] for vectors that are no passages'. The few words of a question lie between the lists, and lists
    /// that hold .98 of what is nearest to a passage hold far less of what is nearest to a question
    /// (`docs/lab/retrieval.md`): all vectors are looked at where that is affordable, else more lists.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn nearest_to_question(
        &self,
        queries: &[Vec<f32>],
        num_hits: usize,
    ) -> Result<Vec<Vec<Near>>, IndexError> {
        let all = self.vectors.num_rows() <= ALL_FOR_QUESTIONS;
        let probes = if all { None } else { Some(self.probes.saturating_mul(QUESTION_PROBES)) };
        self.search(queries, num_hits, |_, _| false, probes)
    }

    /// [`Self::nearest`] through all vectors.
    pub(crate) fn exact(
        &self,
        queries: &[Vec<f32>],
        num_hits: usize,
        skip: impl Fn(usize, usize) -> bool + Sync,
    ) -> Result<Vec<Vec<Near>>, IndexError> {
        self.search(queries, num_hits, skip, None)
    }

    fn search(
        &self,
        queries: &[Vec<f32>],
        num_hits: usize,
        skip: impl Fn(usize, usize) -> bool + Sync,
        probes: Option<usize>,
    ) -> Result<Vec<Vec<Near>>, IndexError> {
        let mut answers = Vec::with_capacity(queries.len());
        for (number, batch) in queries.chunks(BATCH).enumerate() {
            let skip = |query: usize, row: usize| skip(number * BATCH + query, row);
            let asked = probes.map_or(Ok(Vec::new()), |probes| self.nearest_lists(batch, probes))?;
            let mut best = empty(batch.len(), num_hits);
            for (number, shard) in self.shards.iter().enumerate() {
                let reader = self.vectors.reader(&shard.rows)?;
                let found = match &shard.lists {
                    Some(lists) if probes.is_some() => {
                        let lists = lists.reader()?;
                        let in_shard = asked.partition_point(|asked| asked.shard < number)
                            ..asked.partition_point(|asked| asked.shard <= number);
                        let rows = |asked: &Asked| -> Result<Vec<usize>, IndexError> {
                            Ok(lists.rows(asked.list)?.into_iter().map(|row| shard.rows.start + row).collect())
                        };
                        let work = asked[in_shard].par_iter().map(|asked| (rows(asked), asked.queries.as_slice()));
                        self.compare(&reader, work, batch, num_hits, &skip)?
                    }
                    _ => self.scan(&reader, shard.rows.clone(), batch, num_hits, &skip)?,
                };
                best = merge(best, found);
            }
            answers.extend(best.into_iter().map(Best::sorted));
        }
        Ok(answers)
    }

    /// The lists of all shards that lie nearest to each query, with those that look into them, by shard and list. What
    /// is near lies in few lists whatever shard they are of, so the nearest of all are better than some of each shard.
    fn nearest_lists(&self, queries: &[Vec<f32>], probes: usize) -> Result<Vec<Asked>, IndexError> {
        let with_lists = || self.shards.iter().enumerate().filter_map(|(at, shard)| Some((at, shard.lists.as_ref()?)));
        let probes =
            scaled(probes, self.shards.iter().filter(|shard| shard.lists.is_some()).map(|shard| shard.rows.len()));
        let mut best = empty(queries.len(), probes);
        // Lists are numbered through all shards.
        let mut starts = vec![0];
        for (_, lists) in with_lists() {
            let first = starts[starts.len() - 1];
            let mut found = self.scan(&lists.reader()?, 0..lists.len(), queries, probes, &|_, _| false)?;
            found.iter_mut().flat_map(|best| &mut best.found).for_each(|near| near.row += first);
            best = merge(best, found);
            starts.push(first + lists.len());
        }
        let of_query = |(query, best): (u32, Best)| best.sorted().into_iter().map(move |near| (near.row, query));
        let mut pairs: Vec<(usize, u32)> = (0..).zip(best).flat_map(of_query).collect();
        pairs.par_sort_unstable();
        let shards: Vec<usize> = with_lists().map(|(at, _)| at).collect();
        let asked = |group: &[(usize, u32)]| {
            let place = starts.partition_point(|&start| start <= group[0].0) - 1;
            let queries = group.iter().map(|pair| pair.1).collect();
            Asked { shard: shards[place], list: group[0].0 - starts[place], queries }
        };
        Ok(pairs.chunk_by(|a, b| a.0 == b.0).map(asked).collect())
    }

    /// Compares a range of rows with all queries.
    fn scan(
        &self,
        reader: &impl Rows,
        rows: Range<usize>,
        queries: &[Vec<f32>],
        num_hits: usize,
        skip: &(impl Fn(usize, usize) -> bool + Sync),
    ) -> Result<Vec<Best>, IndexError> {
        let everyone: Vec<u32> = (0..queries.len() as u32).collect();
        let blocks: Vec<usize> = rows.clone().step_by(BLOCK_ROWS).collect();
        let rows = |&start: &usize| Ok((start..rows.end.min(start + BLOCK_ROWS)).collect());
        let work = blocks.par_iter().map(|block| (rows(block), everyone.as_slice()));
        self.compare(reader, work, queries, num_hits, skip)
    }

    /// Compares rows with the queries that ask for them.
    fn compare<'q>(
        &self,
        reader: &impl Rows,
        work: impl ParallelIterator<Item = (Result<Vec<usize>, IndexError>, &'q [u32])>,
        queries: &[Vec<f32>],
        num_hits: usize,
        skip: &(impl Fn(usize, usize) -> bool + Sync),
    ) -> Result<Vec<Best>, IndexError> {
        let dimensions = self.vectors.dimensions();
        let fold = |(mut best, mut room, mut wide): (Vec<Best>, Vec<u8>, Vec<f32>),
                    (rows, asking): (Result<Vec<usize>, IndexError>, &[u32])| {
            for rows in rows?.chunks(BLOCK_ROWS) {
                reader.gather(rows, &mut room, &mut wide)?;
                for (rows, values) in rows.chunks(GROUP).zip(wide.chunks(GROUP * dimensions)) {
                    for &query in asking {
                        let (vector, best) = (&queries[query as usize], &mut best[query as usize]);
                        let mut see = |row: usize, cosine: f32| {
                            if cosine >= best.least && !skip(query as usize, row) {
                                best.push(Near { row, cosine });
                            }
                        };
                        if rows.len() == GROUP {
                            rows.iter().zip(dots(vector, values)).for_each(|(&row, cosine)| see(row, cosine));
                        } else {
                            let values = values.chunks_exact(dimensions);
                            rows.iter().zip(values).for_each(|(&row, value)| see(row, dot(vector, value)));
                        }
                    }
                }
            }
            Ok((best, room, wide))
        };
        let start = || (empty(queries.len(), num_hits), Vec::new(), vec![0.0; BLOCK_ROWS * dimensions]);
        let found = work.try_fold(start, fold).map(|part| part.map(|(best, ..)| best));
        found.try_reduce(|| empty(queries.len(), num_hits), |left, right| Ok(merge(left, right)))
    }
}

/// The best rows seen so far, in any order, and some more.
#[derive(Clone)]
struct Best {
    num_hits: usize,
    found: Vec<Near>,
    /// What a row must have to come in.
    least: f32,
}

/// Lists to look into of shards with so many rows each, where `probes` are looked into of one of 100,000: of `n` shards √n times as many in
/// all, of shards with `m` times as many rows √m times as many.
fn scaled(probes: usize, rows: impl Iterator<Item = usize>) -> usize {
    let (shards, rows) = rows.fold((0.0, 0.0), |(shards, all), rows| (shards + 1.0, all + rows as f64));
    let longer = (rows / f64::max(shards, 1.0) / ROWS_OF_PROBES).max(1.0);
    (probes as f64 * (shards * longer).sqrt()).ceil() as usize
}

fn empty(num_queries: usize, num_hits: usize) -> Vec<Best> {
    // Nothing is at least NaN: of no hits none comes in.
    let least = if num_hits == 0 { f32::NAN } else { f32::NEG_INFINITY };
    vec![Best { num_hits, found: Vec::new(), least }; num_queries]
}

fn merge(mut left: Vec<Best>, right: Vec<Best>) -> Vec<Best> {
    for (left, right) in left.iter_mut().zip(right) {
        left.found.extend(right.found);
        left.prune();
    }
    left
}

impl Best {
    fn push(&mut self, near: Near) {
        self.found.push(near);
        if self.found.len() >= 2 * self.num_hits {
            self.prune();
        }
    }

    fn prune(&mut self) {
        if self.num_hits > 0 && self.found.len() >= self.num_hits {
            let (_, worst, _) = self.found.select_nth_unstable_by(self.num_hits - 1, Near::best_first);
            self.least = worst.cosine;
            self.found.truncate(self.num_hits);
        }
    }

    fn sorted(mut self) -> Vec<Near> {
        self.prune();
        self.found.sort_unstable_by(Near::best_first);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::rng::addressed;
    use proptest::prelude::*;
    use rand::Rng;

    use super::*;
    use crate::AnnConfig;
    use crate::products::normalise;
    use crate::vectors::VectorsWriter;

    /// One row after another, f64, all sorted.
    fn naive(vectors: &Vectors, query: &[f32], skip: impl Fn(usize) -> bool) -> Vec<(usize, f64)> {
        let mut all: Vec<(usize, f64)> = (0..vectors.num_rows())
            .filter(|&row| !skip(row))
            .map(|row| {
                let cosine =
                    vectors.row(row).unwrap().iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                (row, cosine)
            })
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    #[test]
    fn more_and_longer_shards_have_more_lists_looked_into() {
        let of = |rows: &[usize]| scaled(64, rows.iter().copied());
        assert_eq!([of(&[]), of(&[60_000]), of(&[100_000]), of(&[400_000])], [0, 64, 64, 128]);
        assert_eq!(of(&[8_000; 4]), 128);
        // Of a million passages in shards of full length 64·√10.
        assert_eq!(of(&[500_000; 2]), 203);
    }

    /// Rows spread over files of `rows_per_file`.
    fn vectors(dir: &std::path::Path, rows: &[Vec<f32>], rows_per_file: usize) -> Vectors {
        let paths: Vec<_> = rows
            .chunks(rows_per_file)
            .enumerate()
            .map(|(number, rows)| {
                let path = dir.join(format!("{number}.bin"));
                let mut writer = VectorsWriter::create(&path, rows[0].len(), rows.len() as u64).unwrap();
                writer.push(rows).unwrap();
                writer.finish().unwrap();
                path
            })
            .collect();
        Vectors::open(paths).unwrap()
    }

    fn scanned(vectors: Vectors) -> Dense {
        let middle = vectors.num_rows() / 3;
        let shards = [0..middle, middle..vectors.num_rows()].map(|rows| DenseShard { rows, lists: None });
        Dense { vectors, shards: shards.into(), probes: 1 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn blocked_search_is_its_naive_twin(seed: u64, rows in 1_usize..500, dimensions in 1_usize..50, num_hits in 0_usize..40, rows_per_file in 1_usize..300) {
            let mut rng = addressed("test/dense", seed, &[]);
            let mut draw = || -> Vec<f32> { (0..dimensions).map(|_| rng.random_range(-1.0..1.0)).collect() };
            let (rows, queries): (Vec<_>, Vec<_>) = ((0..rows).map(|_| draw()).collect(), (0..270).map(|_| draw()).collect());
            let dir = tempfile::tempdir().unwrap();
            let dense = scanned(vectors(dir.path(), &rows, rows_per_file));
            let found = dense.nearest(&queries, num_hits, |query, row| (row + query) % 7 == 0).unwrap();
            for (number, (query, found)) in queries.iter().zip(&found).enumerate().step_by(9) {
                let expected = naive(&dense.vectors, query, |row| (row + number) % 7 == 0);
                prop_assert_eq!(found.len(), num_hits.min(expected.len()));
                for (near, (_, cosine)) in found.iter().zip(&expected) {
                    prop_assert!((f64::from(near.cosine) - cosine).abs() < 1e-4);
                    prop_assert!((near.row + number) % 7 != 0);
                }
                let alone = dense.nearest(std::slice::from_ref(query), num_hits, |_, row| (row + number) % 7 == 0).unwrap();
                prop_assert_eq!(found, &alone[0], "alone and among others");
            }
        }
    }

    #[test]
    fn equals_are_ordered_by_row() {
        let dir = tempfile::tempdir().unwrap();
        let dense = scanned(vectors(dir.path(), &vec![vec![0.5; 8]; 1_000], 300));
        let found = dense.nearest(&[vec![1.0; 8]], 5, |_, row| row == 1).unwrap();
        assert_eq!(found[0].iter().map(|near| near.row).collect::<Vec<_>>(), [0, 2, 3, 4, 5]);
    }

    #[test]
    fn lists_find_what_the_exact_search_finds() {
        let mut rng = addressed("test/lists", 1, &[]);
        // Clusters, as texts form them.
        let centres: Vec<Vec<f32>> = (0..60).map(|_| (0..64).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let rows: Vec<Vec<f32>> = (0..6_000)
            .map(|row| {
                let mut vector: Vec<f32> = centres[row % 60].iter().map(|c| c + rng.random_range(-0.9..0.9)).collect();
                normalise(&mut vector);
                vector
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let config = AnnConfig::default();
        let shards = [0..3_500, 3_500..6_000].map(|range: Range<usize>| {
            let folder = dir.path().join(range.start.to_string());
            memtrain_corpora::store::create_dir_all(&folder).unwrap();
            let path = folder.join("lists.bin");
            Lists::build(&vectors(&folder, &rows[range.clone()], 1_000), &path, &config, &()).unwrap();
            DenseShard { lists: Some(Lists::open(&path, 64, range.len()).unwrap()), rows: range }
        });
        // A tenth of the lists.
        let dense = Dense { vectors: vectors(dir.path(), &rows, 700), shards: shards.into(), probes: 22 };
        let queries: Vec<Vec<f32>> = (0..6_000).step_by(60).map(|row| dense.vectors.row(row).unwrap()).collect();
        let own = |query: usize, row: usize| row == query * 60;
        let (exact, found) = (dense.exact(&queries, 29, own).unwrap(), dense.nearest(&queries, 29, own).unwrap());
        let common = |found: &[Vec<Near>]| -> usize {
            exact.iter().zip(found).map(|(e, f)| f.iter().filter(|near| e.contains(near)).count()).sum()
        };
        assert!(common(&found) as f64 >= 0.95 * 2_900.0, "{} of 2900", common(&found));
        assert!(found.iter().enumerate().all(|(query, found)| found.iter().all(|near| !own(query, near.row))));
        let once = Dense { probes: 1, ..dense };
        assert!(
            (common(&once.nearest(&queries, 29, own).unwrap()) as f64) < 0.9 * 2_900.0,
            "lists leave something out"
        );
        let everywhere = Dense { probes: usize::MAX, ..once };
        assert_eq!(everywhere.nearest(&queries, 29, own).unwrap(), exact, "all lists together are everything");
    }
}
