// Forward of attention over a packed forest: out = softmax(scale Q K^T) V and its log-sum-exp, row by row.
//
// Online softmax in base 2 over the tiles of keys of an item (Milakov and Gimelshein 2018; Dao et al. 2022,
// "FlashAttention"). Scores stay in registers: packed to bf16 they are the A fragments of the second product.
//
// Work of one item and head: 4 D operations for each pair of a warp's rows and a tile of keys that is visible to the
// warp, in (KEYS / 8) (D / 16) * 2 mma a band. Reads D bf16 of q for each row and 2 D bf16 and 8 bytes of table for
// each key of the listed tiles; writes D bf16 and one f32 a row.
#pragma once
#include "shared_tiles.cuh"

namespace forest {

// WARPS warps of BANDS * 16 query rows each, KEYS keys at a time in two stages.
template <int D, int WARPS, int BANDS, int KEYS>
struct Forward {
    static constexpr int THREADS = WARPS * 32, WARP_ROWS = BANDS * 16, OWN = WARPS * WARP_ROWS, OTHER = KEYS;
    static constexpr int TILE = KEYS * D * 2, STAGE = 2 * TILE + KEYS * 8;  // bytes: k, v, table
    static constexpr int SHARED = OWN * D * 2 + 2 * STAGE;

    static __device__ __forceinline__ void load_stage(uint32_t stage, const ForwardArguments& a, int kv_head,
                                                      int tile) {
        const int first = tile * KEYS, stride = a.shape.kv_heads * D;
        load_tile<D, KEYS, THREADS>(stage, a.k + kv_head * D, first, a.shape.rows, stride);
        load_tile<D, KEYS, THREADS>(stage + TILE, a.v + kv_head * D, first, a.shape.rows, stride);
        load_table<KEYS * 8, THREADS>(stage + 2 * TILE, a.table + first);
    }

    static __device__ __forceinline__ void run(const ForwardArguments& a) {
        const uint32_t q_tile = shared_start(), stages = q_tile + OWN * D * 2;
        const int heads = a.shape.heads, head = blockIdx.x % heads, kv_head = head / (heads / a.shape.kv_heads);
        const Item item = load_global(a.items + blockIdx.x / heads);
        const int lane = threadIdx.x % 32, warp_row = int(threadIdx.x) / 32 * WARP_ROWS;
        const int first = item.x * OWN;
        const float scale = a.shape.scale * LOG2_E;

        load_tile<D, OWN, THREADS>(q_tile, a.q + head * D, first, a.shape.rows, heads * D);
        load_stage(stages + item.y % 2 * STAGE, a, kv_head, tile_of(load_global(a.list + item.y)));
        copy_commit();

        int position[BANDS][2];
        float sums[BANDS][D / 8][4], row_max[BANDS][2], row_sum[BANDS][2];
#pragma unroll
        for (int m = 0; m < BANDS; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                position[m][half] = load_global(a.table + first + warp_row + m * 16 + lane / 4 + half * 8).x;
                row_max[m][half] = -INFINITY;
                row_sum[m][half] = 0;
            }
        zero(sums);

        const FragmentLanes<D> lanes;
        for (int i = item.y; i < item.z; ++i) {
            const uint32_t entry = load_global(a.list + i);
            const uint32_t stage = stages + i % 2 * STAGE;
            copy_wait<0>();
            __syncthreads();  // this stage is here for all, and the other is read by nobody
            if (i + 1 < item.z)
                load_stage(stages + (i + 1) % 2 * STAGE, a, kv_head, tile_of(load_global(a.list + i + 1)));
            copy_commit();
            // Computed anew in each iteration, so that it takes no register in the loop.
            const int thread = int(opaque(threadIdx.x)), lane = thread % 32, warp = thread / 32;
            if (!visible_to(entry, warp)) continue;

            float p[BANDS][KEYS / 8][4];
            rows_times_rows<D, BANDS, KEYS>(p, lanes, q_tile + warp * WARP_ROWS * D * 2, stage);
            if (masked_for(entry, warp)) mask(p, position, stage + 2 * TILE + lane % 4 * 16);
            softmax_step(p, sums, row_max, row_sum, scale);
            weights_times_rows<D, BANDS, KEYS>(sums, p, lanes, stage + TILE);
        }

#pragma unroll
        for (int m = 0; m < BANDS; ++m) {
            float inverse[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float total = row_sum[m][half];
                total += shuffle_xor(total, 1);
                total += shuffle_xor(total, 2);
                inverse[half] = total > 0 ? 1.0f / total : 0.0f;
                const int row = first + warp_row + m * 16 + lane / 4 + half * 8;
                if (lane % 4 == 0 && row < a.shape.rows)
                    store_global(a.lse + size_t(head) * a.shape.rows + row,
                                 row_max[m][half] * a.shape.scale + logf(total));
            }
            store_rows<D>(sums[m], inverse[0], inverse[1], q_tile, warp_row + m * 16, a.out + head * D, first,
                          a.shape.rows, heads * D);
        }
    }

    static __device__ __forceinline__ void mask(float (&scores)[BANDS][KEYS / 8][4], const int (&position)[BANDS][2],
                                                uint32_t lane_keys) {
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) {
            const int4 keys = load_shared<int4>(lane_keys + n * 64);  // position and reach of two
#pragma unroll
            for (int m = 0; m < BANDS; ++m)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    if (!sees(position[m][half], keys.x, keys.y)) scores[m][n][2 * half] = -INFINITY;
                    if (!sees(position[m][half], keys.z, keys.w)) scores[m][n][2 * half + 1] = -INFINITY;
                }
        }
    }

    // Turns scores into weights relative to the new maximum and scales what was summed so far. A lane's `row_sum` is
    // that of its own columns.
    static __device__ __forceinline__ void softmax_step(float (&p)[BANDS][KEYS / 8][4], float (&sums)[BANDS][D / 8][4],
                                                        float (&row_max)[BANDS][2], float (&row_sum)[BANDS][2],
                                                        float scale) {
#pragma unroll
        for (int m = 0; m < BANDS; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float largest = row_max[m][half];
#pragma unroll
                for (int n = 0; n < KEYS / 8; ++n)
                    largest = fmaxf(largest, fmaxf(p[m][n][2 * half], p[m][n][2 * half + 1]));
                largest = fmaxf(largest, shuffle_xor(largest, 1));
                largest = fmaxf(largest, shuffle_xor(largest, 2));
                const float offset = largest == -INFINITY ? 0.0f : largest * scale;  // a row that has seen nothing yet
                const float keep = fast_exp2(row_max[m][half] * scale - offset);
                float sum = 0;
                row_max[m][half] = largest;
#pragma unroll
                for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
                    for (int x = 2 * half; x < 2 * half + 2; ++x) {
                        p[m][n][x] = fast_exp2(fmaf(p[m][n][x], scale, -offset));
                        sum += p[m][n][x];
                    }
                row_sum[m][half] = row_sum[m][half] * keep + sum;
#pragma unroll
                for (int n = 0; n < D / 8; ++n) {
                    sums[m][n][2 * half] *= keep;
                    sums[m][n][2 * half + 1] *= keep;
                }
            }
    }
};

}  // namespace forest
