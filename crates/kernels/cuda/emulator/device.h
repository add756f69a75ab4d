// Device functions that kernels are written with: one source for nvcc and for the emulator. A kernel includes this
// alone.
//
// All memory goes through load_global, store_global, load_shared, store_shared, ldmatrix and copy_async; the emulator
// sees only those. Shared memory is dynamic and addressed by 32 bits from shared_start() on: half the registers of a
// pointer, and no address of shared memory is taken for another.
#pragma once

#ifdef __CUDACC__
#include "device_cuda.h"
#else
#include "device_host.h"
#endif

// Sum and maximum over the lanes of a warp, in all lanes; the order of additions is fixed.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
    return x;
}
