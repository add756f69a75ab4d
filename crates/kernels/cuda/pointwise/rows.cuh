// Rows of a table by number, and the gradient of such a table (`nn/ops/gather.rs`).
//
// The gradient's rows are sorted by the host: a segment is the rows of one id, in their order. One warp of a block
// takes 32 packets of every fourth row of the segment, and the warps' sums are added in their order to what the
// gradient holds; nobody else writes that row.
//
// Bytes an element (bf16): gather 4; gradient 2, and 8 for each element of a distinct id. Limited by memory; a token
// that comes in most rows is added up by `width / 256` blocks, 2,000 rows in about 0.1 ms.
#pragma once
#include "columns.cuh"
#include "packet.cuh"

namespace pointwise {

constexpr unsigned NO_ROW = 0xFFFFFFFF;

template <class T>
__device__ __forceinline__ void gather_rows(const T* table, const unsigned* indices, T* out, unsigned rows,
                                            unsigned width) {
    constexpr unsigned P = PACKET<T>;
    const bool whole = width % P == 0;
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        const unsigned index = load_global(indices + row);
        for (unsigned at = threadIdx.x * P; at < width; at += blockDim.x * P) {
            float a[P];
            load_packet(a, table + (index == NO_ROW ? 0 : size_t(index) * width), at, index == NO_ROW ? 0 : width,
                        whole);
            store_packet(out + size_t(row) * width, at, width, whole, a);
        }
    }
}

template <class T>
__device__ __forceinline__ void embedding_gradient(const T* dout, const unsigned* order, const unsigned* starts,
                                                   const unsigned* ids, float* gradient, unsigned width) {
    constexpr unsigned P = PACKET<T>;
    const bool whole = width % P == 0;
    const unsigned at = (blockIdx.y * 32 + threadIdx.x % 32) * P, warps = blockDim.x / 32;
    const unsigned first = load_global(starts + blockIdx.x), end = load_global(starts + blockIdx.x + 1);
    float sum[P] = {};
#pragma unroll 4
    for (unsigned i = first + threadIdx.x / 32; i < end; i += warps) {
        float a[P];
        load_packet(a, dout + size_t(load_global(order + i)) * width, at, width, whole);
#pragma unroll
        for (unsigned j = 0; j < P; ++j) sum[j] += a[j];
    }
    add_warps(sum);
    if (threadIdx.x >= 32) return;
    float before[P], *row = gradient + size_t(load_global(ids + blockIdx.x)) * width;
    load_packet(before, row, at, width, whole);
#pragma unroll
    for (unsigned j = 0; j < P; ++j) sum[j] += before[j];
    store_packet(row, at, width, whole, sum);
}

}  // namespace pointwise

#define ROW_KERNELS(T, NAME)                                                                                         \
    extern "C" __global__ void __launch_bounds__(128)                                                                \
        gather_rows_##NAME(const T* table, const unsigned* indices, T* out, unsigned rows, unsigned width) {         \
        pointwise::gather_rows<T>(table, indices, out, rows, width);                                                 \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(128)                                                                \
        embedding_gradient_##NAME(const T* dout, const unsigned* order, const unsigned* starts, const unsigned* ids, \
                                  float* gradient, unsigned segments, unsigned width) {                              \
        if (blockIdx.x >= segments) return;                                                                          \
        pointwise::embedding_gradient<T>(dout, order, starts, ids, gradient, width);                                 \
    }
ROW_KERNELS(pointwise::bf16, bf16)
ROW_KERNELS(float, f32)
#undef ROW_KERNELS
