// Rows whose keys were attended to in several parts: out = sum of w_p out_p, w_p = exp(lse_p - lse), lse that of all.
//
// One warp a row and head. Reads 4 D + 4 bytes a part, writes 2 D. With a part every 4,096 bytes of the cache or more,
// it is some percent of the attention.
#pragma once
#include "arguments.h"

namespace paged {

template <int D>
struct MergeParts {
    static constexpr int THREADS = 256, WARPS = THREADS / 32;

    static __device__ __forceinline__ void run(const MergeArguments& a) {
        const long long number = (long long)(blockIdx.x) * WARPS + threadIdx.x / 32;
        const int lane = threadIdx.x % 32, head = int(number % a.heads);
        if (number >= (long long)(a.count) * a.heads) return;
        const Merge merge = load_global(a.merges + number / a.heads);
        if (merge.row < 0) return;
        const size_t first = size_t(merge.first) * a.heads + head;
        float largest = -INFINITY, total = 0;
        for (int p = 0; p < merge.count; ++p)
            largest = fmaxf(largest, load_global(a.lse + first + size_t(p) * a.heads));
        for (int p = 0; p < merge.count; ++p)
            total += fast_exp2(load_global(a.lse + first + size_t(p) * a.heads) - largest);
        const float lse = largest + log2f(total);
        for (int pair = lane; pair < D / 2; pair += 32) {
            float2 sum = make_float2(0, 0);
            for (int p = 0; p < merge.count; ++p) {
                const size_t part = first + size_t(p) * a.heads;
                const float weight = fast_exp2(load_global(a.lse + part) - lse);
                const float2 x = load_global(reinterpret_cast<const float2*>(a.partial + part * D) + pair);
                sum.x += x.x * weight, sum.y += x.y * weight;
            }
            store_global(reinterpret_cast<uint32_t*>(a.out + (size_t(merge.row) * a.heads + head) * D) + pair,
                         pack_bf16(sum.x, sum.y));
        }
    }
};

}  // namespace paged
