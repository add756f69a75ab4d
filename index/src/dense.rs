//! Nearest neighbours by cosine: exact search through all vectors of a shard, or reranking of those whose binary
//! vectors are nearest by Hamming distance.

use std::cmp::Ordering;
use std::ops::Range;

use memtrain_kernels::vector::{dot_over, dots};
use rayon::prelude::*;

use crate::IndexError;
use crate::binary_vectors::{BinaryVectors, hamming_distance};
use crate::vectors::{Rows, Vectors};

/// Rows that are read and widened at a time: with 1,024 dimensions 256 KiB, inside a core's cache.
const BLOCK_ROWS: usize = 64;
/// Queries that a block is compared with before the next one is widened.
const BATCH: usize = 256;

/// Rows that are multiplied with a query together.
const GROUP: usize = 8;
/// Sums that a product is made of: an AVX register. Scores, and with them ties, depend on it.
const LANES: usize = 8;

/// Queries that go through a slab of codes together: their codes and a block's stay in a core's first cache.
const TOGETHER: usize = 16;
/// Codes that queries are compared with in turn.
const BLOCK_CODES: usize = 64;
/// Rows that are compared exactly for each hit that is asked for, at least.
const CANDIDATES_PER_HIT: usize = 4;

/// A row and how near it is: its cosine, or less the number of signs in which its code differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Near {
    pub(crate) row: usize,
    pub(crate) score: f32,
}

impl Near {
    fn best_first(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.row.cmp(&other.row))
    }
}

/// The rows of a shard, and their codes where it has some.
pub(crate) struct DenseShard {
    pub(crate) rows: Range<usize>,
    pub(crate) binary_vectors: Option<BinaryVectors>,
}

/// The vectors of all passages and how they are searched.
pub(crate) struct Dense {
    pub(crate) vectors: Vectors,
    pub(crate) shards: Vec<DenseShard>,
    /// Rows that a query is compared with of all shards with codes, at least.
    pub(crate) candidates: usize,
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
        let candidates = self.candidates.max(num_hits.saturating_mul(CANDIDATES_PER_HIT));
        self.search(queries, num_hits, skip, Some(candidates).filter(|&some| some < self.vectors.num_rows()))
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
        candidates: Option<usize>,
    ) -> Result<Vec<Vec<Near>>, IndexError> {
        let mut answers = Vec::with_capacity(queries.len());
        for (number, batch) in queries.chunks(BATCH).enumerate() {
            let skip = |query: usize, row: usize| skip(number * BATCH + query, row);
            let likely = candidates.map(|candidates| self.likely(batch, candidates, &skip)).transpose()?;
            let mut best = empty(batch.len(), num_hits);
            for shard in &self.shards {
                let reader = self.vectors.reader(&shard.rows)?;
                let found = match &likely {
                    Some(likely) if shard.binary_vectors.is_some() => {
                        let everyone: Vec<u32> = (0..batch.len() as u32).collect();
                        let of_shard = |rows: &[usize]| {
                            let place = |bound: usize| rows.partition_point(|&row| row < bound);
                            rows[place(shard.rows.start)..place(shard.rows.end)].to_vec()
                        };
                        let work = likely.par_iter().zip(everyone.par_chunks(1));
                        let work = work.map(|(rows, query)| (Ok(of_shard(rows)), query));
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

    /// The rows whose codes are nearest to each query's, of all shards with codes, in order of rows.
    fn likely(
        &self,
        queries: &[Vec<f32>],
        candidates: usize,
        skip: &(impl Fn(usize, usize) -> bool + Sync),
    ) -> Result<Vec<Vec<usize>>, IndexError> {
        let mut best = empty(queries.len(), candidates);
        for shard in &self.shards {
            let Some(binary_vectors) = &shard.binary_vectors else { continue };
            let asked: Vec<Vec<u64>> = queries.par_iter().map(|query| binary_vectors.of(query)).collect();
            let row_bytes = binary_vectors.row_bytes();
            binary_vectors.each_slab(|first, slab| {
                let together = best.par_chunks_mut(TOGETHER).zip(asked.par_chunks(TOGETHER)).enumerate();
                together.for_each(|(group, (best, asked))| {
                    for (number, block) in slab.chunks(BLOCK_CODES * row_bytes).enumerate() {
                        let first = shard.rows.start + first + number * BLOCK_CODES;
                        for (query, (best, asked)) in (group * TOGETHER..).zip(best.iter_mut().zip(asked)) {
                            for (row, code) in (first..).zip(block.chunks_exact(row_bytes)) {
                                let score = -(hamming_distance(asked, code) as f32);
                                if score >= best.least && !skip(query, row) {
                                    best.push(Near { row, score });
                                }
                            }
                        }
                    }
                });
            })?;
        }
        let rows = |best: Best| {
            let mut rows: Vec<usize> = best.sorted().iter().map(|near| near.row).collect();
            rows.sort_unstable();
            rows
        };
        Ok(best.into_par_iter().map(rows).collect())
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
                        let mut see = |row: usize, score: f32| {
                            if score >= best.least && !skip(query as usize, row) {
                                best.push(Near { row, score });
                            }
                        };
                        if rows.len() == GROUP {
                            rows.iter()
                                .zip(dots::<f32, LANES, GROUP>(vector, values))
                                .for_each(|(&row, score)| see(row, score));
                        } else {
                            let values = values.chunks_exact(dimensions);
                            rows.iter()
                                .zip(values)
                                .for_each(|(&row, value)| see(row, dot_over::<f32, LANES>(vector, value)));
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
            self.least = worst.score;
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
    use memtrain_corpora::rng::keyed;
    use memtrain_kernels::vector::normalise;
    use proptest::prelude::*;
    use rand::Rng;

    use super::*;
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
        let shards = [0..middle, middle..vectors.num_rows()].map(|rows| DenseShard { rows, binary_vectors: None });
        Dense { vectors, shards: shards.into(), candidates: 1 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn blocked_search_is_its_naive_twin(seed: u64, rows in 1_usize..500, dimensions in 1_usize..50, num_hits in 0_usize..40, rows_per_file in 1_usize..300) {
            let mut rng = keyed("test/dense", seed, &[]);
            let mut draw = || -> Vec<f32> { (0..dimensions).map(|_| rng.random_range(-1.0..1.0)).collect() };
            let (rows, queries): (Vec<_>, Vec<_>) = ((0..rows).map(|_| draw()).collect(), (0..270).map(|_| draw()).collect());
            let dir = tempfile::tempdir().unwrap();
            let dense = scanned(vectors(dir.path(), &rows, rows_per_file));
            let found = dense.nearest(&queries, num_hits, |query, row| (row + query) % 7 == 0).unwrap();
            for (number, (query, found)) in queries.iter().zip(&found).enumerate().step_by(9) {
                let expected = naive(&dense.vectors, query, |row| (row + number) % 7 == 0);
                prop_assert_eq!(found.len(), num_hits.min(expected.len()));
                for (near, (_, cosine)) in found.iter().zip(&expected) {
                    prop_assert!((f64::from(near.score) - cosine).abs() < 1e-4);
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

    /// Rows in clusters, as texts form them, all within a cone; those of two shards with codes and of one without.
    fn with_codes(dir: &std::path::Path, dimensions: usize, candidates: usize) -> Dense {
        let mut rng = keyed("test/codes", 1, &[]);
        let mut draw = |width: f32| -> Vec<f32> { (0..dimensions).map(|_| rng.random_range(-width..width)).collect() };
        let (cone, centres) = (draw(2.0), (0..60).map(|_| draw(1.0)).collect::<Vec<_>>());
        let rows: Vec<Vec<f32>> = (0..6_000)
            .map(|row| {
                let parts = cone.iter().zip(&centres[row % 60]).zip(draw(0.9));
                let mut vector: Vec<f32> = parts.map(|((cone, centre), own)| cone + centre + own).collect();
                normalise(&mut vector);
                vector
            })
            .collect();
        let shards = [0..3_500, 3_500..5_900, 5_900..6_000].map(|range: Range<usize>| {
            let folder = dir.join(range.start.to_string());
            memtrain_corpora::store::create_dir_all(&folder).unwrap();
            let path = folder.join("codes.bin");
            BinaryVectors::build(&vectors(&folder, &rows[range.clone()], 1_000), &path, &()).unwrap();
            let binary_vectors =
                (range.len() > 100).then(|| BinaryVectors::open(&path, dimensions, range.len()).unwrap());
            DenseShard { binary_vectors, rows: range }
        });
        Dense { vectors: vectors(dir, &rows, 700), shards: shards.into(), candidates }
    }

    fn common(exact: &[Vec<Near>], found: &[Vec<Near>]) -> f64 {
        let of_query =
            |(exact, found): (&Vec<Near>, &Vec<Near>)| found.iter().filter(|near| exact.contains(near)).count();
        let common: usize = exact.iter().zip(found).map(of_query).sum();
        common as f64 / exact.iter().map(Vec::len).sum::<usize>() as f64
    }

    #[test]
    fn codes_find_what_the_exact_search_finds() {
        for dimensions in [64, 384, 1_024] {
            let dir = tempfile::tempdir().unwrap();
            let dense = with_codes(dir.path(), dimensions, 300);
            let queries: Vec<Vec<f32>> = (0..6_000).step_by(60).map(|row| dense.vectors.row(row).unwrap()).collect();
            let own = |query: usize, row: usize| row == query * 60;
            let (exact, found) = (dense.exact(&queries, 29, own).unwrap(), dense.nearest(&queries, 29, own).unwrap());
            let recall = common(&exact, &found);
            assert!(recall >= 0.97, "{recall} of {dimensions} values");
            assert!(found.iter().enumerate().all(|(query, found)| found.iter().all(|near| !own(query, near.row))));
            let fewest = common(&exact, &dense.search(&queries, 29, own, Some(29)).unwrap());
            assert!((0.3..0.97).contains(&fewest), "{fewest} of the 29 nearest codes alone, which are no exact search");
            let all = Dense { candidates: usize::MAX, ..dense };
            assert_eq!(all.nearest(&queries, 29, own).unwrap(), exact, "all rows are everything");
            let nearly_all = Dense { candidates: 5_999, ..all };
            assert_eq!(nearly_all.nearest(&queries, 29, own).unwrap(), exact, "all codes but one are everything");
        }
    }

    #[test]
    fn an_answer_by_codes_depends_neither_on_other_queries_nor_on_threads() {
        let dir = tempfile::tempdir().unwrap();
        let dense = with_codes(dir.path(), 64, 120);
        // More than a batch.
        let queries: Vec<Vec<f32>> = (0..6_000).step_by(20).map(|row| dense.vectors.row(row).unwrap()).collect();
        let ask = |num_threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
            pool.install(|| dense.nearest(&queries, 29, |query, row| row == query * 20).unwrap())
        };
        let together = ask(1);
        assert_eq!(together, ask(5));
        for (number, query) in queries.iter().enumerate().step_by(7) {
            let alone = dense.nearest(std::slice::from_ref(query), 29, |_, row| row == number * 20).unwrap();
            assert_eq!(together[number], alone[0]);
        }
    }

    #[test]
    fn the_likely_rows_are_those_of_the_naive_twin() {
        let dir = tempfile::tempdir().unwrap();
        let dense = with_codes(dir.path(), 100, 50);
        let queries: Vec<Vec<f32>> = (0..6_000).step_by(400).map(|row| dense.vectors.row(row).unwrap()).collect();
        let skip = |query: usize, row: usize| (query + row).is_multiple_of(3);
        let found = dense.likely(&queries, 50, &skip).unwrap();
        for (number, (query, found)) in queries.iter().zip(found).enumerate() {
            let mut all = Vec::new();
            for shard in &dense.shards {
                let Some(binary_vectors) = &shard.binary_vectors else { continue };
                let code = binary_vectors.of(query);
                for row in shard.rows.clone().filter(|&row| !skip(number, row)) {
                    // What was written is what the vector gives now.
                    let other = binary_vectors.of(&dense.vectors.row(row).unwrap());
                    let signs =
                        (0..64 * code.len()).filter(|&at| (code[at / 64] ^ other[at / 64]) >> (at % 64) & 1 == 1);
                    all.push((signs.count(), row));
                }
            }
            all.sort_unstable();
            let mut expected: Vec<usize> = all[..50].iter().map(|&(_, row)| row).collect();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}
