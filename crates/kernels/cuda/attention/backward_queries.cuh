// Backward of attention over a packed forest with respect to the queries.
//
//     P = exp(scale Q K^T - lse),  dP = dO V^T,  dS = P (dP - delta),  dQ = scale dS K,  delta = rowsum(dO O)
//
// dq has a kernel of its own instead of being added up by that of dk and dv: scores and dP are computed twice, 7
// products a pair of tiles instead of 5, in return for sums in a fixed order, no f32 workspace of the size of q and no
// memset.
//
// Work of one item and head: 6 D operations for each pair of a warp's rows and a tile of keys that is visible to the
// warp. Reads 2 D bf16 and 16 bytes for each row and 2 D bf16 and 8 bytes for each key of the listed tiles; writes D
// bf16 a row.
#pragma once
#include "shared_tiles.cuh"

namespace forest {

// WARPS warps of BANDS * 16 query rows each, KEYS keys at a time in two stages.
template <int D, int WARPS, int BANDS, int KEYS>
struct BackwardQueries {
    static constexpr int THREADS = WARPS * 32, WARP_ROWS = BANDS * 16, OWN = WARPS * WARP_ROWS, OTHER = KEYS;
    static constexpr int TILE = KEYS * D * 2, STAGE = 2 * TILE + KEYS * 8;  // bytes: k, v, table
    // q, dout, two stages, then table and statistics of the own rows.
    static constexpr int SHARED = 2 * OWN * D * 2 + 2 * STAGE + 2 * OWN * 8;

    static __device__ __forceinline__ void load_stage(uint32_t stage, const BackwardArguments& a, int kv_head,
                                                      int tile) {
        const int first = tile * KEYS, stride = a.shape.kv_heads * D;
        load_tile<D, KEYS, THREADS>(stage, a.k + kv_head * D, first, a.shape.rows, stride);
        load_tile<D, KEYS, THREADS>(stage + TILE, a.v + kv_head * D, first, a.shape.rows, stride);
        load_table<KEYS * 8, THREADS>(stage + 2 * TILE, a.table + first);
    }

    static __device__ __forceinline__ void run(const BackwardArguments& a) {
        const uint32_t q_tile = shared_start(), dout_tile = q_tile + OWN * D * 2, stages = dout_tile + OWN * D * 2,
                       own_table = stages + 2 * STAGE, own_statistics = own_table + OWN * 8;
        const int heads = a.shape.heads, head = blockIdx.x % heads, kv_head = head / (heads / a.shape.kv_heads);
        const Item item = load_global(a.items + blockIdx.x / heads);
        const int first = item.x * OWN;

        load_tile<D, OWN, THREADS>(q_tile, a.q + head * D, first, a.shape.rows, heads * D);
        load_tile<D, OWN, THREADS>(dout_tile, a.dout + head * D, first, a.shape.rows, heads * D);
        load_table<OWN * 8, THREADS>(own_table, a.table + first);
        load_table<OWN * 8, THREADS>(own_statistics, a.statistics + size_t(head) * a.padded + first);
        load_stage(stages + item.y % 2 * STAGE, a, kv_head, tile_of(load_global(a.list + item.y)));
        copy_commit();

        float dq[BANDS][D / 8][4];
        zero(dq);

        const FragmentLanes<D> lanes;
        for (int i = item.y; i < item.z; ++i) {
            const uint32_t entry = load_global(a.list + i);
            const uint32_t stage = stages + i % 2 * STAGE;
            copy_wait<0>();
            __syncthreads();  // this stage is here for all, and the other is read by nobody
            if (i + 1 < item.z)
                load_stage(stages + (i + 1) % 2 * STAGE, a, int(opaque(kv_head)), tile_of(load_global(a.list + i + 1)));
            copy_commit();
            // What is opaque is computed anew in each iteration: large tiles of 128 columns have no register to keep it
            // in.
            const int thread = int(opaque(threadIdx.x)), lane = thread % 32, warp = thread / 32;
            if (!visible_to(entry, warp)) continue;
            const float scale = __uint_as_float(opaque(__float_as_uint(a.shape.scale))) * LOG2_E;

            const uint32_t lane_row =
                (warp * WARP_ROWS + lane / 4) * 8;  // in both tables; the lane's others are 8 apart
            float p[BANDS][KEYS / 8][4], ds[BANDS][KEYS / 8][4];
            rows_times_rows<D, BANDS, KEYS>(p, lanes, q_tile + warp * WARP_ROWS * D * 2, stage);
#pragma unroll
            for (int m = 0; m < BANDS; ++m)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const float lse = load_shared<float>(own_statistics + lane_row + (m * 2 + half) * 64);
#pragma unroll
                    for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
                        for (int x = 2 * half; x < 2 * half + 2; ++x)
                            p[m][n][x] = fast_exp2(fmaf(p[m][n][x], scale, -lse));
                }
            if (masked_for(entry, warp)) mask(p, own_table + lane_row, stage + 2 * TILE + lane % 4 * 16);
            rows_times_rows<D, BANDS, KEYS>(ds, lanes, dout_tile + warp * WARP_ROWS * D * 2, stage + TILE);
#pragma unroll
            for (int m = 0; m < BANDS; ++m)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const float delta = load_shared<float>(own_statistics + lane_row + (m * 2 + half) * 64 + 4);
#pragma unroll
                    for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
                        for (int x = 2 * half; x < 2 * half + 2; ++x) ds[m][n][x] = p[m][n][x] * (ds[m][n][x] - delta);
                }
            weights_times_rows<D, BANDS, KEYS>(dq, ds, lanes, stage);
        }
        // Likewise, so that head and tile need no register in the loop.
        const int block = int(opaque(blockIdx.x)), out_head = block % heads;
        const int out_first = load_global(a.items + block / heads).x * OWN;
#pragma unroll
        for (int m = 0; m < BANDS; ++m)
            store_rows<D>(dq[m], a.shape.scale, a.shape.scale, q_tile, int(threadIdx.x) / 32 * WARP_ROWS + m * 16,
                          a.dq + out_head * D, out_first, a.shape.rows, heads * D);
    }

    static __device__ __forceinline__ void mask(float (&p)[BANDS][KEYS / 8][4], uint32_t lane_table,
                                                uint32_t lane_keys) {
#pragma unroll
        for (int m = 0; m < BANDS; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int position = load_shared<int>(lane_table + (m * 2 + half) * 64);
#pragma unroll
                for (int n = 0; n < KEYS / 8; ++n) {
                    const int4 keys = load_shared<int4>(lane_keys + n * 64);
                    if (!sees(position, keys.x, keys.y)) p[m][n][2 * half] = 0;
                    if (!sees(position, keys.z, keys.w)) p[m][n][2 * half + 1] = 0;
                }
            }
    }
};

}  // namespace forest
