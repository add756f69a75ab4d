//! Which directions do vectors point in?
//!
//! Spherical k-means, in which the centroids lie in groups of their own: a vector is compared with all groups and with the
//! centroids of the nearest groups alone, so that n vectors in 4·√n clusters cost much less than n·4·√n products. The groups
//! are formed anew in each round, so that their borders are no borders of clusters.
//!
//! Learned from vectors at even distances, with vectors at even distances for first centroids: no chance is involved and
//! every sum has an order, so the same vectors give the same clusters whatever the number of threads.

use half::f16;
use rayon::prelude::*;

use crate::IndexError;
use crate::passages::Watch;
use crate::products::{GROUP, dot, dots, normalise};
use crate::vectors::{VectorsReader, widen};

/// Rows that are widened and compared at a time: with 1,024 dimensions 1 MiB, beside which eight centroids stay in the
/// first cache of a core.
pub(crate) const BLOCK_ROWS: usize = 256;
/// Rows a cluster that are learned from.
const SAMPLE_PER_CLUSTER: usize = 24;
/// Rounds of k-means; more move hardly any row.
const ROUNDS: usize = 4;
/// Groups whose centroids a row is compared with. `docs/lab/retrieval.md` has the recall of others.
const NEAREST_GROUPS: usize = 12;

/// Directions in groups.
pub(crate) struct Clusters {
    dimensions: usize,
    /// The direction of each group.
    groups: Vec<f32>,
    /// Where the clusters of each group begin, and the last one's end.
    starts: Vec<usize>,
    centroids: Vec<f32>,
}

/// Some rows as they are stored.
struct Sample {
    dimensions: usize,
    bytes: Vec<u8>,
}

impl Sample {
    fn read(reader: &VectorsReader, num_rows: usize, dimensions: usize, wanted: usize) -> Result<Self, IndexError> {
        let count = num_rows.min(wanted);
        let mut bytes = vec![0; count * 2 * dimensions];
        bytes.par_chunks_mut(BLOCK_ROWS * 2 * dimensions).enumerate().try_for_each(|(block, place)| {
            let first = block * BLOCK_ROWS;
            let last = first + place.len() / (2 * dimensions);
            let rows: Vec<usize> = (first..last).map(|number| number * num_rows / count).collect();
            reader.read(&rows, place)
        })?;
        Ok(Self { dimensions, bytes })
    }

    fn of(rows: &[f32], dimensions: usize) -> Self {
        Self { dimensions, bytes: rows.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect() }
    }

    /// The number of each row.
    fn all(&self) -> Vec<u32> {
        (0..(self.bytes.len() / (2 * self.dimensions)) as u32).collect()
    }

    /// So many rows at even distances.
    fn spread(&self, count: usize) -> Vec<f32> {
        let all = self.all();
        let some: Vec<u32> = (0..count).map(|number| all[number * all.len() / count]).collect();
        self.wide(&some)
    }

    fn wide(&self, members: &[u32]) -> Vec<f32> {
        let mut wide = vec![0.0; members.len() * self.dimensions];
        for (&member, place) in members.iter().zip(wide.chunks_exact_mut(self.dimensions)) {
            self.widen(member, place);
        }
        wide
    }

    fn widen(&self, member: u32, place: &mut [f32]) {
        widen(&self.bytes[member as usize * 2 * self.dimensions..][..2 * self.dimensions], place);
    }

    /// What `nearest` says of each row.
    fn assigned(&self, nearest: impl Fn(&[f32]) -> Vec<u32> + Sync) -> Vec<u32> {
        let blocks: Vec<Vec<u32>> =
            self.all().par_chunks(BLOCK_ROWS).map(|members| nearest(&self.wide(members))).collect();
        blocks.concat()
    }

    /// Moves each centroid to the middle of the rows that chose it; one that none chose stays where it is.
    fn middles(&self, chosen: &[u32], centroids: &mut [f32]) {
        let mut choosing: Vec<Vec<u32>> = vec![Vec::new(); centroids.len() / self.dimensions];
        (0..).zip(chosen).for_each(|(row, &cluster)| choosing[cluster as usize].push(row));
        centroids.par_chunks_exact_mut(self.dimensions).zip(&choosing).for_each(|(centroid, choosing)| {
            if choosing.is_empty() {
                return;
            }
            let mut wide = vec![0.0; self.dimensions];
            centroid.fill(0.0);
            for &row in choosing {
                self.widen(row, &mut wide);
                centroid.iter_mut().zip(&wide).for_each(|(sum, value)| *sum += value);
            }
            normalise(centroid);
        });
    }
}

impl Clusters {
    /// Learns so many clusters, at most as many as there are rows.
    pub(crate) fn learn(
        reader: &VectorsReader,
        num_rows: usize,
        dimensions: usize,
        num_clusters: usize,
        watch: &dyn Watch,
    ) -> Result<Self, IndexError> {
        let sample = Sample::read(reader, num_rows, dimensions, num_clusters * SAMPLE_PER_CLUSTER)?;
        let mut clusters = Self::grouped(&sample.spread(num_clusters), dimensions);
        for _ in 0..ROUNDS {
            if watch.stopping() {
                return Err(IndexError::Stopped);
            }
            let chosen = sample.assigned(|rows| clusters.nearest_of_each(rows));
            sample.middles(&chosen, &mut clusters.centroids);
            clusters = Self::grouped(&clusters.centroids, dimensions);
        }
        Ok(clusters)
    }

    /// Puts centroids into groups of those that lie near each other, √n of n.
    fn grouped(centroids: &[f32], dimensions: usize) -> Self {
        let rows = Sample::of(centroids, dimensions);
        let num_groups = ((centroids.len() / dimensions) as f64).sqrt().ceil() as usize;
        let mut groups = rows.spread(num_groups);
        let choose = |groups: &[f32]| rows.assigned(|rows| nearest_of_each(rows, groups, dimensions));
        for _ in 0..ROUNDS {
            rows.middles(&choose(&groups), &mut groups);
        }
        let mut order: Vec<(u32, u32)> = choose(&groups).into_iter().zip(rows.all()).collect();
        order.sort_unstable();
        let (mut kept, mut starts) = (Vec::new(), vec![0]);
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            kept.extend_from_slice(&groups[group[0].0 as usize * dimensions..][..dimensions]);
            starts.push(starts[starts.len() - 1] + group.len());
        }
        let ordered = order.iter().flat_map(|&(_, at)| &centroids[at as usize * dimensions..][..dimensions]);
        Self { dimensions, groups: kept, starts, centroids: ordered.copied().collect() }
    }

    /// The directions, cluster after cluster.
    pub(crate) fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// The nearest cluster of each row, the first of equals, among those of the groups that are nearest to it.
    pub(crate) fn nearest_of_each(&self, rows: &[f32]) -> Vec<u32> {
        let (dimensions, num_groups) = (self.dimensions, self.starts.len() - 1);
        let num_rows = rows.len() / dimensions;
        let mut scores = vec![0.0; num_rows * num_groups];
        let every: Vec<u32> = (0..num_rows as u32).collect();
        products(rows, &every, &self.groups, dimensions, |row, group, product| {
            scores[row * num_groups + group] = product;
        });
        let mut asking: Vec<Vec<u32>> = vec![Vec::new(); num_groups];
        for (row, scores) in scores.chunks_exact(num_groups).enumerate() {
            let mut order: Vec<usize> = (0..num_groups).collect();
            if num_groups > NEAREST_GROUPS {
                order.select_nth_unstable_by(NEAREST_GROUPS, |&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
                order.truncate(NEAREST_GROUPS);
            }
            order.into_iter().for_each(|group| asking[group].push(row as u32));
        }
        let mut best = vec![(f32::NEG_INFINITY, 0_u32); num_rows];
        for (group, asking) in asking.iter().enumerate() {
            let (start, end) = (self.starts[group], self.starts[group + 1]);
            let centroids = &self.centroids[start * dimensions..end * dimensions];
            products(rows, asking, centroids, dimensions, |row, cluster, product| {
                if product > best[row].0 {
                    best[row] = (product, (start + cluster) as u32);
                }
            });
        }
        best.into_iter().map(|(_, cluster)| cluster).collect()
    }
}

/// Gives the products of some rows with all centroids: row, centroid, product; centroids in order for each row.
fn products(
    rows: &[f32],
    asking: &[u32],
    centroids: &[f32],
    dimensions: usize,
    mut give: impl FnMut(usize, usize, f32),
) {
    for (tile, centroids) in centroids.chunks(GROUP * dimensions).enumerate() {
        let first = tile * GROUP;
        for &row in asking {
            let row = row as usize;
            let values = &rows[row * dimensions..][..dimensions];
            if centroids.len() == GROUP * dimensions {
                (first..).zip(dots(values, centroids)).for_each(|(at, product)| give(row, at, product));
            } else {
                let each = (first..).zip(centroids.chunks_exact(dimensions));
                each.for_each(|(at, centroid)| give(row, at, dot(values, centroid)));
            }
        }
    }
}

/// The nearest centroid of each row, the first of equals.
fn nearest_of_each(rows: &[f32], centroids: &[f32], dimensions: usize) -> Vec<u32> {
    let every: Vec<u32> = (0..(rows.len() / dimensions) as u32).collect();
    let mut best = vec![(f32::NEG_INFINITY, 0_u32); every.len()];
    products(rows, &every, centroids, dimensions, |row, at, product| {
        if product > best[row].0 {
            best[row] = (product, at as u32);
        }
    });
    best.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nearest_is_that_of_the_naive_twin(values in proptest::collection::vec(-1.0_f32..1.0, 200..900), dimensions in 1_usize..20) {
            let rows = &values[..100 / dimensions * dimensions];
            let centroids = &values[100..100 + (values.len() - 100) / dimensions * dimensions];
            for (row, found) in rows.chunks_exact(dimensions).zip(nearest_of_each(rows, centroids, dimensions)) {
                let product = |at: usize| dot(row, &centroids[at * dimensions..][..dimensions]);
                let best = (0..centroids.len() / dimensions).rev().max_by(|&a, &b| product(a).total_cmp(&product(b)));
                prop_assert_eq!(best, Some(found as usize));
            }
        }
    }
}
