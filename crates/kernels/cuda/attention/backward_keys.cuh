// Backward of attention over a packed forest with respect to keys and values.
//
//     P = exp(scale Q K^T - lse),  dP = dO V^T,  dS = P (dP - delta),  dV = P^T dO,  dK = scale dS^T Q
//
// A block owns keys and works on the transposed scores (rows are keys), so that nothing is transposed by way of shared
// memory. Lists that are long, of a prompt under many responses, are cut into pieces whose f32 sums `Reduce` adds in
// their order.
//
// Work of one item and key/value head: 8 D operations for each pair of a warp's keys and a tile of queries that is
// visible to the warp, for each head of the group. Reads 2 D bf16 and 8 bytes for each key and 2 D bf16 and 16 bytes
// for each query row of the listed tiles and each head; writes 2 D bf16 a key, or 2 D f32 a key of a piece. Reduce adds
// 2 D numbers a key and piece, reads 8 D bytes for each and writes 4 D a key.
#pragma once
#include "shared_tiles.cuh"

namespace forest {

// WARPS warps of BANDS * 16 keys each, QUERIES query rows of one head at a time in two stages.
template <int D, int WARPS, int BANDS, int QUERIES>
struct BackwardKeys {
    static constexpr int THREADS = WARPS * 32, WARP_ROWS = BANDS * 16, OWN = WARPS * WARP_ROWS, OTHER = QUERIES;
    static constexpr int TILE = QUERIES * D * 2, STAGE = 2 * TILE + 2 * QUERIES * 8;  // q, dout, table, statistics
    static constexpr int SHARED = 2 * OWN * D * 2 + 2 * STAGE + OWN * 8;              // the last: table of the own rows

    static __device__ __forceinline__ void load_stage(uint32_t stage, const BackwardArguments& a, int head, int tile) {
        const int first = tile * QUERIES, stride = a.shape.heads * D;
        load_tile<D, QUERIES, THREADS>(stage, a.q + head * D, first, a.shape.rows, stride);
        load_tile<D, QUERIES, THREADS>(stage + TILE, a.dout + head * D, first, a.shape.rows, stride);
        load_table<QUERIES * 8, THREADS>(stage + 2 * TILE, a.table + first);
        load_table<QUERIES * 8, THREADS>(stage + 2 * TILE + QUERIES * 8,
                                         a.statistics + size_t(head) * a.padded + first);
    }

    static __device__ __forceinline__ void run(const BackwardArguments& a) {
        const uint32_t k_tile = shared_start(), v_tile = k_tile + OWN * D * 2, stages = v_tile + OWN * D * 2,
                       own_table = stages + 2 * STAGE;
        const int kv_heads = a.shape.kv_heads, kv_head = blockIdx.x % kv_heads, group = a.shape.heads / kv_heads;
        const Item item = load_global(a.items + blockIdx.x / kv_heads);
        const int warp_row = int(threadIdx.x) / 32 * WARP_ROWS;
        const int first = item.x * OWN;
        const float scale = a.shape.scale * LOG2_E;

        load_tile<D, OWN, THREADS>(k_tile, a.k + kv_head * D, first, a.shape.rows, kv_heads * D);
        load_tile<D, OWN, THREADS>(v_tile, a.v + kv_head * D, first, a.shape.rows, kv_heads * D);
        load_table<OWN * 8, THREADS>(own_table, a.table + first);
        int at = item.y / group, member = item.y % group;
        load_stage(stages + item.y % 2 * STAGE, a, kv_head * group + member, tile_of(load_global(a.list + at)));
        copy_commit();

        float dk[BANDS][D / 8][4], dv[BANDS][D / 8][4];
        zero(dk);
        zero(dv);

        const FragmentLanes<D> lanes;
        for (int i = item.y; i < item.z; ++i) {
            const uint32_t entry = load_global(a.list + at);
            const uint32_t q_tile = stages + i % 2 * STAGE, dout_tile = q_tile + TILE;
            copy_wait<0>();
            __syncthreads();  // this stage is here for all, and the other is read by nobody
            if (i + 1 < item.z) {
                if (++member == group) {
                    member = 0;
                    ++at;
                }
                load_stage(stages + (i + 1) % 2 * STAGE, a, kv_head * group + member,
                           tile_of(load_global(a.list + at)));
            }
            copy_commit();
            // Computed anew in each iteration, so that it takes no register in the loop.
            const int thread = int(opaque(threadIdx.x)), lane = thread % 32, warp = thread / 32;
            if (!visible_to(entry, warp)) continue;

            // A lane's two query rows of each block of 8 columns.
            const uint32_t queries = q_tile + 2 * TILE + lane % 4 * 16, statistics = queries + QUERIES * 8;
            float p[BANDS][QUERIES / 8][4], ds[BANDS][QUERIES / 8][4];
            rows_times_rows<D, BANDS, QUERIES>(p, lanes, k_tile + warp * WARP_ROWS * D * 2, q_tile);
#pragma unroll
            for (int n = 0; n < QUERIES / 8; ++n) {
                const float4 two = load_shared<float4>(statistics + n * 64);  // lse and delta of two query rows
#pragma unroll
                for (int m = 0; m < BANDS; ++m)
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        p[m][n][2 * half] = fast_exp2(fmaf(p[m][n][2 * half], scale, -two.x));
                        p[m][n][2 * half + 1] = fast_exp2(fmaf(p[m][n][2 * half + 1], scale, -two.z));
                    }
            }
            if (masked_for(entry, warp)) mask(p, own_table + (warp * WARP_ROWS + lane / 4) * 8, queries);
            weights_times_rows<D, BANDS, QUERIES>(dv, p, lanes, dout_tile);
            rows_times_rows<D, BANDS, QUERIES>(ds, lanes, v_tile + warp * WARP_ROWS * D * 2, dout_tile);
#pragma unroll
            for (int n = 0; n < QUERIES / 8; ++n) {
                const float4 two = load_shared<float4>(statistics + n * 64);
#pragma unroll
                for (int m = 0; m < BANDS; ++m)
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        ds[m][n][2 * half] = p[m][n][2 * half] * (ds[m][n][2 * half] - two.y);
                        ds[m][n][2 * half + 1] = p[m][n][2 * half + 1] * (ds[m][n][2 * half + 1] - two.w);
                    }
            }
            weights_times_rows<D, BANDS, QUERIES>(dk, ds, lanes, q_tile);
        }

#pragma unroll
        for (int m = 0; m < BANDS; ++m) {
            const int row = warp_row + m * 16;
            if (item.w < 0) {
                store_rows<D>(dk[m], a.shape.scale, a.shape.scale, k_tile, row, a.dk + kv_head * D, first, a.shape.rows,
                              kv_heads * D);
                store_rows<D>(dv[m], 1.0f, 1.0f, v_tile, row, a.dv + kv_head * D, first, a.shape.rows, kv_heads * D);
            } else {
                float* to = a.partial + (size_t(item.w) * kv_heads + kv_head) * 2 * OWN * D;
                store_partial(dk[m], a.shape.scale, to, row);
                store_partial(dv[m], 1.0f, to + OWN * D, row);
            }
        }
    }

    static __device__ __forceinline__ void mask(float (&p)[BANDS][QUERIES / 8][4], uint32_t lane_table,
                                                uint32_t query_table) {
#pragma unroll
        for (int m = 0; m < BANDS; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int2 key = load_shared<int2>(lane_table + (m * 2 + half) * 64);
#pragma unroll
                for (int n = 0; n < QUERIES / 8; ++n) {
                    const int4 two = load_shared<int4>(query_table + n * 64);
                    if (!sees(two.x, key.x, key.y)) p[m][n][2 * half] = 0;
                    if (!sees(two.z, key.x, key.y)) p[m][n][2 * half + 1] = 0;
                }
            }
    }

    static __device__ __forceinline__ void store_partial(const float (&sums)[D / 8][4], float scale, float* to,
                                                         int row) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                store_global(reinterpret_cast<float2*>(to + (row + lane / 4 + half * 8) * D + n * 8 + lane % 4 * 2),
                             make_float2(sums[n][2 * half] * scale, sums[n][2 * half + 1] * scale));
    }
};

// Adds the pieces of tiles of OWN keys that were cut, in their order.
template <int D, int OWN>
struct Reduce {
    static constexpr int THREADS = 256;

    static __device__ __forceinline__ void run(const ReduceArguments& a) {
        const int kv_heads = a.shape.kv_heads, kv_head = blockIdx.x % kv_heads;
        const int4 item = load_global(a.items + blockIdx.x / kv_heads);
        for (int i = threadIdx.x; i < 2 * OWN * D / 4; i += THREADS) {
            const int which = i / (OWN * D / 4), row = i / (D / 4) % OWN, column = i % (D / 4) * 4;
            if (item.x * OWN + row >= a.shape.rows) continue;
            float4 sum = {0, 0, 0, 0};
            for (int slot = item.y; slot < item.y + item.z; ++slot) {
                const size_t at = ((size_t(slot) * kv_heads + kv_head) * 2 + which) * OWN * D + row * D + column;
                const float4 x = load_global(reinterpret_cast<const float4*>(a.partial + at));
                sum.x += x.x;
                sum.y += x.y;
                sum.z += x.z;
                sum.w += x.w;
            }
            uint16_t* to = (which ? a.dv : a.dk) + (size_t(item.x * OWN + row) * kv_heads + kv_head) * D + column;
            store_global(reinterpret_cast<uint2*>(to), make_uint2(pack_bf16(sum.x, sum.y), pack_bf16(sum.z, sum.w)));
        }
    }
};

}  // namespace forest
