// Kernels of a paged KV cache under the names that PLAN.md lists: paged_{attention,merge}_D, paged_write, paged_copy.
// Threads and shared bytes of each: kernels.tsv.
#include <cmath>

#include "attend.cuh"
#include "blocks.cuh"
#include "merge.cuh"

#define PAGED_WIDTH(D)                                                                  \
    extern "C" __global__ void __launch_bounds__(paged::Attention<D>::THREADS)          \
        paged_attention_##D(const __grid_constant__ paged::AttentionArguments a) {      \
        paged::Attention<D>::run(a);                                                    \
    }                                                                                   \
    extern "C" __global__ void __launch_bounds__(paged::MergeParts<D>::THREADS)         \
        paged_merge_##D(const __grid_constant__ paged::MergeArguments a) {              \
        paged::MergeParts<D>::run(a);                                                   \
    }

PAGED_WIDTH(64)
PAGED_WIDTH(96)
PAGED_WIDTH(128)

extern "C" __global__ void __launch_bounds__(paged::Write::THREADS)
    paged_write(const __grid_constant__ paged::WriteArguments a) {
    paged::Write::run(a);
}

extern "C" __global__ void __launch_bounds__(paged::Copy::THREADS)
    paged_copy(const __grid_constant__ paged::CopyArguments a) {
    paged::Copy::run(a);
}
