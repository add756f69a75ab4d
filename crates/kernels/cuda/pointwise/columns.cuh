// A bias added to each row, and sums of columns: the gradient of a bias, and the second stage of every other sum over
// rows
// (`nn/ops/bias.rs`).
//
// Sums: a block takes 32 packets of columns, one a lane, and `rows_per_block` rows, dealt to its 8 warps in turn; the
// warps' sums are added in their order. Blocks along y write a row of `sums` each, which a second launch adds.
//
// Bytes an element (bf16): bias 4, sums 2. Operations: 1. Limited by memory.
#pragma once
#include "packet.cuh"

namespace pointwise {

template <class T>
__device__ __forceinline__ void add_bias(T* x, const T* bias, unsigned rows, unsigned width, unsigned stride) {
    constexpr unsigned P = PACKET<T>;
    const bool whole = width % P == 0 && stride % P == 0;
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        for (unsigned at = threadIdx.x * P; at < width; at += blockDim.x * P) {
            float a[P], b[P];
            load_packet(a, x + size_t(row) * stride, at, width, whole);
            load_packet(b, bias, at, width, whole);
#pragma unroll
            for (unsigned i = 0; i < P; ++i) a[i] += b[i];
            store_packet(x + size_t(row) * stride, at, width, whole, a);
        }
    }
}

// Adds the warps' sums of a packet each, in the order of the warps; the first warp has the result. Shared bytes: the
// warps of a block x 32 x P x 4. The elements of a lane lie 32 floats apart, free of bank conflicts.
template <unsigned P>
__device__ __forceinline__ void add_warps(float (&sum)[P]) {
    const uint32_t lane = shared_start() + threadIdx.x % 32 * 4;
#pragma unroll
    for (unsigned i = 0; i < P; ++i) store_shared(lane + (threadIdx.x / 32 * P + i) * 128, sum[i]);
    __syncthreads();
    if (threadIdx.x >= 32) return;
    for (unsigned warp = 1; warp < blockDim.x / 32; ++warp)
#pragma unroll
        for (unsigned i = 0; i < P; ++i) sum[i] += load_shared<float>(lane + (warp * P + i) * 128);
}

template <class T>
__device__ __forceinline__ void column_sums(const T* x, float* sums, unsigned rows, unsigned width, unsigned stride,
                                            unsigned rows_per_block, unsigned accumulate) {
    constexpr unsigned P = PACKET<T>;
    const bool whole = width % P == 0 && stride % P == 0;
    const unsigned at = (blockIdx.x * 32 + threadIdx.x % 32) * P;
    const unsigned first = blockIdx.y * rows_per_block, end = min(rows, first + rows_per_block);
    float sum[P] = {};
#pragma unroll 4
    for (unsigned row = first + threadIdx.x / 32; row < end; row += blockDim.x / 32) {
        float a[P];
        load_packet(a, x + size_t(row) * stride, at, width, whole);
#pragma unroll
        for (unsigned i = 0; i < P; ++i) sum[i] += a[i];
    }
    add_warps(sum);
    if (threadIdx.x >= 32) return;
    float* to = sums + size_t(blockIdx.y) * width;
    if (accumulate) {
        float before[P];
        load_packet(before, to, at, width, whole);
#pragma unroll
        for (unsigned i = 0; i < P; ++i) sum[i] += before[i];
    }
    store_packet(to, at, width, whole, sum);
}

}  // namespace pointwise

#define COLUMN_KERNELS(T, NAME)                                                                     \
    extern "C" __global__ void __launch_bounds__(256)                                               \
        add_bias_##NAME(T* x, const T* bias, unsigned rows, unsigned width, unsigned stride) {      \
        pointwise::add_bias<T>(x, bias, rows, width, stride);                                       \
    }                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                               \
        column_sums_##NAME(const T* x, float* sums, unsigned rows, unsigned width, unsigned stride, \
                           unsigned rows_per_block, unsigned accumulate) {                          \
        pointwise::column_sums<T>(x, sums, rows, width, stride, rows_per_block, accumulate);        \
    }
COLUMN_KERNELS(pointwise::bf16, bf16)
COLUMN_KERNELS(float, f32)
#undef COLUMN_KERNELS
