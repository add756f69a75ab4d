// Preprocessing of the backward: lse in base 2 and delta = dout . out for each row of each head.
//
// One warp a row and head, 2 D operations and 4 D + 4 bytes read, 8 written.
#pragma once
#include "shared_tiles.cuh"

namespace forest {

template <int D>
struct Preprocess {
    static constexpr int THREADS = 256, ROWS = THREADS / 32;

    static __device__ __forceinline__ void run(const PreprocessArguments& a) {
        const int lane = threadIdx.x % 32, heads = a.shape.heads;
        const long long number = (long long)(blockIdx.x) * ROWS + threadIdx.x / 32;
        const int row = int(number / heads), head = int(number % heads);
        if (row >= a.padded) return;
        float delta = 0, lse = 0;
        if (row < a.shape.rows) {
            const size_t at = (size_t(row) * heads + head) * D;
            auto out = reinterpret_cast<const uint32_t*>(a.out + at);
            auto dout = reinterpret_cast<const uint32_t*>(a.dout + at);
#pragma unroll
            for (int pair = 0; pair < D / 2; pair += 32) {
                if (pair + lane < D / 2) {
                    const uint32_t x = load_global(out + pair + lane), y = load_global(dout + pair + lane);
                    delta += low_bf16(x) * low_bf16(y) + high_bf16(x) * high_bf16(y);
                }
            }
            if (lane == 0) lse = load_global(a.lse + size_t(head) * a.shape.rows + row) * LOG2_E;
        }
        delta = warp_sum(delta);
        if (lane == 0) store_global(a.statistics + size_t(head) * a.padded + row, make_float2(lse, delta));
    }
};

}  // namespace forest
