// Sums over a block: xor shuffles within warps, then the warps in their order. Every thread gets the same bits.
#pragma once
#include "../emulator/device.h"

namespace pointwise {

using ::warp_sum;
__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
    return x;
}

// Shared bytes: 32 values for each slot. One barrier a call; calls that follow each other without another barrier take
// turns with two slots, so that no warp overwrites what a slower one still reads.
template <class Real>
__device__ __forceinline__ Real block_sum(Real x, unsigned slot = 0) {
    x = warp_sum(x);
    const uint32_t at = shared_start() + slot * 32 * uint32_t(sizeof(Real));
    if (threadIdx.x % 32 == 0) store_shared(at + threadIdx.x / 32 * uint32_t(sizeof(Real)), x);
    __syncthreads();
    Real total = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp)
        total += load_shared<Real>(at + warp * uint32_t(sizeof(Real)));
    return total;
}

}  // namespace pointwise
