// Attention of the rows of a pass over the blocks of a paged KV cache, where they lie: out = softmax(scale Q K^T) V.
//
// An item is some query rows and a range of keys of one block table. A query row is a token and one of the query heads
// that share the key/value head, so the heads of a group share a tile of keys (grouped queries); tokens of several
// sequences do where their tables begin with the same blocks (a family's shared prefix, or cascade: Ye et al. 2024,
// "FlashInfer"), and those of a piece of a prompt. Long ranges are cut into items of their own (Dao et al. 2023,
// "Flash-Decoding"); what belongs to one row is then put together by its log-sum-exp (merge.cuh).
//
// Narrow: one band of 16 query rows, each of the four warps takes 16 of a tile's 64 keys, and their sums are merged at
// the end. Wide: four bands, each warp takes all keys of a tile for its band.
//
// Work of an item and key/value head: 4 D operations for each query row (of 16 or 64) and key of a tile. Reads 4 D
// bytes a key and 2 D a query row, writes 2 D bytes a query row, or 4 D + 4 where it is a part. A decode of G query
// heads to a key/value head makes G operations a byte of the cache: bound by memory up to a G of some hundred, so the
// time of a pass is that of reading each block once a family, at the bandwidth of the card.
#pragma once
#include "../attention/forward.cuh"
#include "arguments.h"

namespace paged {

using forest::chunk_offset;
using forest::LOG2_E;

// D: width of a head; ROW_WARPS: bands of 16 query rows.
template <int D, int ROW_WARPS>
struct Tile {
    static constexpr int WARPS = 4, THREADS = WARPS * 32, KEY_WARPS = WARPS / ROW_WARPS;
    static constexpr int ROWS = ROW_WARPS * 16, WARP_KEYS = KEYS / KEY_WARPS;
    static constexpr int CHUNKS = D / 8, HALF = KEYS * D * 2, STAGE = 2 * HALF;  // bytes: keys, then values
    static constexpr int SHARED = ROWS * D * 2 + 2 * STAGE;
    // Sums in f32 at the end, a row padded so that eight rows of an accumulator fall on different banks.
    static constexpr int STRIDE = (D + 8) * 4, STATISTICS = WARPS * 16 * STRIDE;
    static_assert(STATISTICS + WARPS * 16 * 8 <= 2 * STAGE, "the sums lie in place of the stages");

    // The two blocks of a tile; past the last key its block once more, of which nothing is read.
    static __device__ __forceinline__ int2 load_blocks(const int* table, int begin, int end, int tile) {
        const int last = (end - 1) / BLOCK, block = begin / BLOCK + 2 * tile;
        return make_int2(load_global(table + min(block, last)), load_global(table + min(block + 1, last)));
    }

    // Keys and values of a tile, zeros past the end: what lies there belongs to nobody and may be NaN.
    static __device__ __forceinline__ void load_stage(uint32_t stage, const AttentionArguments& a, int kv_head,
                                                      int2 blocks, int valid_keys) {
        constexpr int STEPS = KEYS * CHUNKS / THREADS, BLOCK_CHUNKS = BLOCK * CHUNKS;
        static_assert(STEPS % 2 == 0 && STEPS / 2 * THREADS == BLOCK_CHUNKS, "a step is of one block");
        const int thread = int(opaque(threadIdx.x));
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            const int number = step * THREADS + thread, row = number / CHUNKS, chunk = number % CHUNKS;
            const bool valid = row < valid_keys;
            const size_t panel = size_t(step < STEPS / 2 ? blocks.x : blocks.y) * a.kv_heads + kv_head;
            const size_t from = (panel * BLOCK_CHUNKS + number % BLOCK_CHUNKS) * 8;
            const uint32_t to = stage + chunk_offset<D>(row, chunk);
            copy_async(to, a.keys + (valid ? from : 0), valid);
            copy_async(to + HALF, a.values + (valid ? from : 0), valid);
        }
    }

    static __device__ __forceinline__ void load_queries(uint32_t q_tile, const AttentionArguments& a, const Item& item,
                                                        int kv_head, int group) {
#pragma unroll
        for (int number = threadIdx.x; number < ROWS * CHUNKS; number += THREADS) {
            const int row = number / CHUNKS, chunk = number % CHUNKS, token = row / group;
            const bool valid = token < item.count;
            size_t from = 0;
            if (valid) {
                const Entry entry = load_global(a.entries + item.first + token);
                from = (size_t(entry.row) * a.heads + kv_head * group + row % group) * D + chunk * 8;
            }
            copy_async(q_tile + chunk_offset<D>(row, chunk), a.q + from, valid);
        }
    }

    static __device__ __forceinline__ void run(const AttentionArguments& a, const Item& item, int kv_head) {
        const uint32_t q_tile = shared_start(), stages = q_tile + ROWS * D * 2;
        const int group = a.heads / a.kv_heads, lane = threadIdx.x % 32, warp = int(threadIdx.x) / 32;
        const int* table = a.block_tables + size_t(item.sequence) * a.max_blocks;
        const int tiles = (item.end - item.begin + KEYS - 1) / KEYS;
        const float scale = a.scale * LOG2_E;

        load_queries(q_tile, a, item, kv_head, group);
        load_stage(stages, a, kv_head, load_blocks(table, item.begin, item.end, 0), item.end - item.begin);
        copy_commit();
        int2 blocks = load_blocks(table, item.begin, item.end, 1);

        // Keys from `limit` on are not seen by a row of this lane, and from `warp_end` on by none of the warp.
        int limit[2], warp_end = 0;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int token = (warp / KEY_WARPS * 16 + lane / 4 + half * 8) / group;
            limit[half] = 0;
            if (token < item.count) {
                const Entry entry = load_global(a.entries + item.first + token);
                limit[half] = min(load_global(a.positions + entry.row) + 1, item.end);
            }
            warp_end = max(warp_end, limit[half]);
        }
#pragma unroll
        for (int far = 4; far < 32; far *= 2) warp_end = max(warp_end, shuffle_xor(warp_end, far));

        float sums[1][D / 8][4], row_max[1][2] = {{-INFINITY, -INFINITY}}, row_sum[1][2] = {{0, 0}};
        forest::zero(sums);
        const forest::FragmentLanes<D> lanes;
        for (int t = 0; t < tiles; ++t) {
            const uint32_t stage = stages + t % 2 * STAGE;
            copy_wait<0>();
            __syncthreads();  // this stage is here for all, and the other is read by nobody
            if (t + 1 < tiles) {
                const int first = item.begin + (t + 1) * KEYS;
                load_stage(stages + (t + 1) % 2 * STAGE, a, kv_head, blocks, item.end - first);
                blocks = load_blocks(table, item.begin, item.end, t + 2);
            }
            copy_commit();
            const int warp = int(opaque(threadIdx.x)) / 32, key_warp = warp % KEY_WARPS;
            const int first_key = item.begin + t * KEYS + key_warp * WARP_KEYS;
            if (first_key >= warp_end) continue;

            const uint32_t own = stage + key_warp * WARP_KEYS * D * 2;
            float p[1][WARP_KEYS / 8][4];
            forest::rows_times_rows<D, 1, WARP_KEYS>(p, lanes, q_tile + warp / KEY_WARPS * 16 * D * 2, own);
            if (first_key + WARP_KEYS > item.unmasked) mask(p, limit, first_key + lane % 4 * 2);
            forest::Forward<D, WARPS, 1, WARP_KEYS>::softmax_step(p, sums, row_max, row_sum, scale);
            forest::weights_times_rows<D, 1, WARP_KEYS>(sums, p, lanes, own + HALF);
        }
        __syncthreads();  // nobody reads the stages any more
        store_sums(stages, sums, row_max, row_sum, scale);
        __syncthreads();
        merge_warps(stages, a, item, kv_head, group);
    }

    static __device__ __forceinline__ void mask(float (&scores)[1][WARP_KEYS / 8][4], const int (&limit)[2], int key) {
#pragma unroll
        for (int n = 0; n < WARP_KEYS / 8; ++n)
#pragma unroll
            for (int x = 0; x < 4; ++x)
                if (key + n * 8 + x % 2 >= limit[x / 2]) scores[0][n][x] = -INFINITY;
    }

    // Row `warp % KEY_WARPS * ROWS + row of the tile` of shared memory: sums, maximum in base 2 and total of one warp.
    static __device__ __forceinline__ void store_sums(uint32_t to, const float (&sums)[1][D / 8][4],
                                                      const float (&row_max)[1][2], const float (&row_sum)[1][2],
                                                      float scale) {
        const int lane = threadIdx.x % 32, warp = int(threadIdx.x) / 32;
        const int row = warp % KEY_WARPS * ROWS + warp / KEY_WARPS * 16 + lane / 4;
        float2 statistics[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint32_t at = to + (row + half * 8) * STRIDE + lane % 4 * 8;
#pragma unroll
            for (int n = 0; n < D / 8; ++n)
                store_shared(at + n * 32, make_float2(sums[0][n][2 * half], sums[0][n][2 * half + 1]));
            float total = row_sum[0][half];
            total += shuffle_xor(total, 1);
            total += shuffle_xor(total, 2);
            statistics[half] = make_float2(row_max[0][half] * scale, total);
        }
        if (lane % 4 == 0)
#pragma unroll
            for (int half = 0; half < 2; ++half) store_shared(to + STATISTICS + (row + half * 8) * 8, statistics[half]);
    }

    // Log-sum-exp of a row's scores over the item's keys, in base 2.
    static __device__ __forceinline__ float row_lse(uint32_t from, int row) {
        float largest = -INFINITY, total = 0;
        float2 statistics[KEY_WARPS];
#pragma unroll
        for (int w = 0; w < KEY_WARPS; ++w) {
            statistics[w] = load_shared<float2>(from + STATISTICS + (w * ROWS + row) * 8);
            largest = fmaxf(largest, statistics[w].x);
        }
#pragma unroll
        for (int w = 0; w < KEY_WARPS; ++w) total += statistics[w].y * fast_exp2(statistics[w].x - largest);
        return largest + log2f(total);
    }

    // Four columns of a row a thread: the warps' sums in their order.
    static __device__ __forceinline__ void merge_warps(uint32_t from, const AttentionArguments& a, const Item& item,
                                                       int kv_head, int group) {
        for (int number = threadIdx.x; number < item.count * group * (D / 4); number += THREADS) {
            const int row = number / (D / 4), column = number % (D / 4) * 4;
            const float lse = row_lse(from, row);
            float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
            for (int w = 0; w < KEY_WARPS; ++w) {
                const float weight = fast_exp2(load_shared<float2>(from + STATISTICS + (w * ROWS + row) * 8).x - lse);
                const float4 x = load_shared<float4>(from + (w * ROWS + row) * STRIDE + column * 4);
                sum.x += x.x * weight, sum.y += x.y * weight, sum.z += x.z * weight, sum.w += x.w * weight;
            }
            const Entry entry = load_global(a.entries + item.first + row / group);
            const int head = kv_head * group + row % group;
            if (entry.part < 0) {
                store_global(reinterpret_cast<uint2*>(a.out + (size_t(entry.row) * a.heads + head) * D + column),
                             make_uint2(pack_bf16(sum.x, sum.y), pack_bf16(sum.z, sum.w)));
            } else {
                store_global(reinterpret_cast<float4*>(a.partial + (size_t(entry.part) * a.heads + head) * D + column),
                             sum);
            }
        }
        __syncwarp();  // some lanes had one row less
        for (int row = threadIdx.x; row < item.count * group; row += THREADS) {
            const float lse = row_lse(from, row);
            const int part = load_global(a.entries + item.first + row / group).part;
            if (part >= 0) store_global(a.lse + size_t(part) * a.heads + kv_head * group + row % group, lse);
        }
    }
};

template <int D>
struct Attention {
    static constexpr int THREADS = 128, SHARED = Tile<D, 4>::SHARED;

    static __device__ __forceinline__ void run(const AttentionArguments& a) {
        const Item item = load_global(a.items + blockIdx.x / a.kv_heads);
        const int kv_head = blockIdx.x % a.kv_heads;
        if (item.count == 0) return;
        if (item.wide)
            Tile<D, 4>::run(a, item, kv_head);
        else
            Tile<D, 1>::run(a, item, kv_head);
    }
};

}  // namespace paged
