// Tiles of rows in shared memory, their fragments, and the two products of attention on `mma.m16n8k16`.
//
// A tile is `rows` rows of D bf16 in chunks of 16 bytes. The place of a chunk in its row is XORed with the row, so that
// the eight rows of an ldmatrix, eight rows of a store of fragments and the chunks of a copy fall on different banks.
//
// A band is 16 rows of a warp, the height of an mma: an accumulator `x[BANDS][N / 8][4]` of a warp holds BANDS * 16
// rows by N columns, and of each 16 x 8 block a lane holds rows lane / 4 and lane / 4 + 8 (`half`), columns lane % 4 *
// 2 and + 1.
#pragma once
#include "arguments.h"

namespace forest {

template <int D>
__device__ __forceinline__ int swizzle(int row) {
    static_assert(D % 64 == 0 || D == 96, "no swizzle without conflicts is known for this width");
    return D % 64 == 0 ? row & 7 : row >> 1 & 3;
}
// Bytes from the start of the tile.
template <int D>
__device__ __forceinline__ uint32_t chunk_offset(int row, int chunk) {
    return uint32_t(row * (D / 8) + (chunk ^ swizzle<D>(row))) * 16;
}

// ROWS rows of one head from row `first` on; rows past the end are zeros. `stride` is that of a row, in elements.
template <int D, int ROWS, int THREADS>
__device__ __forceinline__ void load_tile(uint32_t tile, const uint16_t* head, int first, int rows, int stride) {
    constexpr int CHUNKS = D / 8;
    static_assert(ROWS * CHUNKS % THREADS == 0, "every thread copies the same number of chunks");
    if constexpr (THREADS % (8 * CHUNKS) == 0) {  // a thread keeps its chunk and its swizzle from step to step
        const int thread = int(opaque(threadIdx.x)), row = thread / CHUNKS, chunk = thread % CHUNKS;
        const uint16_t* from = head + size_t(first + row) * stride + chunk * 8;
        const uint32_t to = tile + chunk_offset<D>(row, chunk);
#pragma unroll
        for (int step = 0; step < ROWS * CHUNKS / THREADS; ++step) {
            const bool valid = first + row + step * (THREADS / CHUNKS) < rows;
            copy_async(to + step * THREADS * 16, valid ? from + size_t(step * (THREADS / CHUNKS)) * stride : head,
                       valid);
        }
    } else {
#pragma unroll
        for (int step = 0; step < ROWS * CHUNKS / THREADS; ++step) {
            const int number = step * THREADS + int(threadIdx.x), row = number / CHUNKS, chunk = number % CHUNKS;
            const bool valid = first + row < rows;
            copy_async(tile + chunk_offset<D>(row, chunk),
                       head + (valid ? size_t(first + row) * stride + chunk * 8 : 0), valid);
        }
    }
}

// BYTES of a table that is padded to whole tiles.
template <int BYTES, int THREADS>
__device__ __forceinline__ void load_table(uint32_t to, const void* from) {
    static_assert(BYTES % 16 == 0 && BYTES / 16 <= THREADS, "one copy a thread at most");
    if (int(threadIdx.x) < BYTES / 16)
        copy_async(to + threadIdx.x * 16, static_cast<const uint4*>(from) + threadIdx.x, true);
}

// Where in a block of 16 rows a lane points an ldmatrix. Blocks lie 16 * D * 2 bytes apart and are swizzled alike, and
// the chunks of step s (columns from 16 s on) are those of step 0 with some bits flipped, so two numbers do for all
// fragments.
template <int D>
struct FragmentLanes {
    // Matrices 0 and 1 one above the other, 2 and 3 to their right: A[m][k], and transposed B[k][n] from rows of k.
    uint32_t down;
    // Matrices 0 and 1 side by side, 2 and 3 below: B[k][n] from rows of n.
    uint32_t across;

    __device__ __forceinline__ FragmentLanes() {
        const int lane = threadIdx.x % 32;
        down = chunk_offset<D>(lane & 15, lane >> 4);
        across = chunk_offset<D>((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
    }
    // Keeps the compiler from holding the addresses of all steps in registers throughout a loop: without it the forward
    // of 128 takes 206 registers instead of 168, and dkv spills.
    __device__ __forceinline__ void forget() {
        down = opaque(down);
        across = opaque(across);
    }
    static __device__ __forceinline__ uint32_t at(uint32_t lane, int step) {
        return D % 64 == 0 ? lane ^ uint32_t(step * 32) : (lane ^ uint32_t(step % 2 * 32)) + step / 2 * 64;
    }
};

// A[16 rows of a block][16 columns of a step] of a tile of rows.
template <int D>
__device__ __forceinline__ void fragment_a(uint32_t (&a)[4], FragmentLanes<D> lanes, uint32_t tile, int block,
                                           int step) {
    ldmatrix(a, tile + block * 16 * D * 2 + FragmentLanes<D>::at(lanes.down, step));
}
// B[k][n] for 16 columns n, where the tile has a row for each n: rows times rows.
template <int D>
__device__ __forceinline__ void fragment_b(uint32_t (&b)[4], FragmentLanes<D> lanes, uint32_t tile, int block,
                                           int step) {
    ldmatrix(b, tile + block * 16 * D * 2 + FragmentLanes<D>::at(lanes.across, step));
}
// The same where the tile has a row for each k: weights times rows.
template <int D>
__device__ __forceinline__ void fragment_b_trans(uint32_t (&b)[4], FragmentLanes<D> lanes, uint32_t tile, int block,
                                                 int step) {
    ldmatrix_trans(b, tile + block * 16 * D * 2 + FragmentLanes<D>::at(lanes.down, step));
}

template <int BANDS, int BLOCKS>
__device__ __forceinline__ void zero(float (&x)[BANDS][BLOCKS][4]) {
#pragma unroll
    for (int m = 0; m < BANDS; ++m)
#pragma unroll
        for (int n = 0; n < BLOCKS; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) x[m][n][i] = 0;
}

// product[BANDS * 16][N] = A[BANDS * 16][D] B[N][D]^T, both tiles of rows. A fragment of B serves all bands.
// BANDS * (N / 8) * (D / 16) mma; (BANDS + N / 16) * (D / 16) ldmatrix.
template <int D, int BANDS, int N>
__device__ __forceinline__ void rows_times_rows(float (&product)[BANDS][N / 8][4], FragmentLanes<D> lanes,
                                                uint32_t a_tile, uint32_t b_tile) {
    lanes.forget();
    zero(product);
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
        uint32_t a[BANDS][4];
#pragma unroll
        for (int m = 0; m < BANDS; ++m) fragment_a<D>(a[m], lanes, a_tile, m, step);
#pragma unroll
        for (int n = 0; n < N / 16; ++n) {
            uint32_t b[4];
            fragment_b<D>(b, lanes, b_tile, n, step);
#pragma unroll
            for (int m = 0; m < BANDS; ++m) {
                mma(product[m][2 * n], a[m], b[0], b[1]);
                mma(product[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// sums[BANDS * 16][D] += weights[BANDS * 16][N] B[N][D]; the accumulators of the weights are, packed to bf16, A
// fragments. BANDS * (N / 16) * (D / 8) mma; (N / 16) * (D / 16) ldmatrix.
template <int D, int BANDS, int N>
__device__ __forceinline__ void weights_times_rows(float (&sums)[BANDS][D / 8][4],
                                                   const float (&weights)[BANDS][N / 8][4], FragmentLanes<D> lanes,
                                                   uint32_t b_tile) {
    lanes.forget();
#pragma unroll
    for (int k = 0; k < N / 16; ++k) {
        uint32_t a[BANDS][4];
#pragma unroll
        for (int m = 0; m < BANDS; ++m)
#pragma unroll
            for (int x = 0; x < 4; ++x)
                a[m][x] = pack_bf16(weights[m][2 * k + x / 2][x % 2 * 2], weights[m][2 * k + x / 2][x % 2 * 2 + 1]);
#pragma unroll
        for (int step = 0; step < D / 16; ++step) {
            uint32_t b[4];
            fragment_b_trans<D>(b, lanes, b_tile, k, step);
#pragma unroll
            for (int m = 0; m < BANDS; ++m) {
                mma(sums[m][2 * step], a[m], b[0], b[1]);
                mma(sums[m][2 * step + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Writes 16 rows of a warp as bf16, `row` their first in the tile, by way of the same 16 rows of a tile in shared
// memory that no other warp reads any more. `scale_low` and `scale_high` are those of a lane's two rows.
template <int D>
__device__ __forceinline__ void store_rows(const float (&sums)[D / 8][4], float scale_low, float scale_high,
                                           uint32_t tile, int row, uint16_t* head, int first, int rows, int stride) {
    const int lane = threadIdx.x % 32;
    __syncwarp();  // the warp's own reads of these rows
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
        const uint32_t column = lane % 4 * 4;
        store_shared(tile + chunk_offset<D>(row + lane / 4, n) + column,
                     pack_bf16(sums[n][0] * scale_low, sums[n][1] * scale_low));
        store_shared(tile + chunk_offset<D>(row + lane / 4 + 8, n) + column,
                     pack_bf16(sums[n][2] * scale_high, sums[n][3] * scale_high));
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * (D / 8); i += 32) {
        const int r = i / (D / 8), chunk = i % (D / 8);
        if (first + row + r < rows)
            store_global(reinterpret_cast<uint4*>(head + size_t(first + row + r) * stride + chunk * 8),
                         load_shared<uint4>(tile + chunk_offset<D>(row + r, chunk)));
    }
}

}  // namespace forest
