// Forest attention kernels under the names that PLAN.md lists: forest_{forward,dq,dkv,reduce}_{small,large}_D and
// forest_preprocess_D. Threads, shared bytes and tile sizes of each: kernels.tsv.
#include <cmath>

#include "configurations.h"

#define FOREST_CONFIGURATION(NAME, TILES, D)                                                    \
    extern "C" __global__ void __launch_bounds__(forest::TILES<D>::Forward::THREADS)            \
        forest_forward_##NAME##_##D(const __grid_constant__ forest::ForwardArguments a) {       \
        forest::TILES<D>::Forward::run(a);                                                      \
    }                                                                                           \
    extern "C" __global__ void __launch_bounds__(forest::TILES<D>::BackwardQueries::THREADS)    \
        forest_dq_##NAME##_##D(const __grid_constant__ forest::BackwardArguments a) {           \
        forest::TILES<D>::BackwardQueries::run(a);                                              \
    }                                                                                           \
    extern "C" __global__ void __launch_bounds__(forest::TILES<D>::BackwardKeys::THREADS)       \
        forest_dkv_##NAME##_##D(const __grid_constant__ forest::BackwardArguments a) {          \
        forest::TILES<D>::BackwardKeys::run(a);                                                 \
    }                                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                           \
        forest_reduce_##NAME##_##D(const __grid_constant__ forest::ReduceArguments a) {         \
        forest::Reduce<D, forest::TILES<D>::BackwardKeys::OWN>::run(a);                         \
    }
#define FOREST_WIDTH(D)                                                                \
    FOREST_CONFIGURATION(small, Small, D)                                              \
    FOREST_CONFIGURATION(large, Large, D)                                              \
    extern "C" __global__ void __launch_bounds__(forest::Preprocess<D>::THREADS)       \
        forest_preprocess_##D(const __grid_constant__ forest::PreprocessArguments a) { \
        forest::Preprocess<D>::run(a);                                                 \
    }

FOREST_WIDTH(64)
FOREST_WIDTH(96)
FOREST_WIDTH(128)
