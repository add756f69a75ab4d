// Root-mean-square norm, alone and after a residual sum, forward and backward (`nn/ops/rms_norm.rs`).
//
//     y = x + residual      r = 1 / sqrt(mean(y^2) + eps)      out = y r gain
//     dx = r (gain dout - y r^2 mean(gain dout y)) + dresidual      dgain = sum over rows of dout y r
//
// One block a row, 16 elements a thread, so that a row is read once and stays in registers. As in the composed
// operation, the sum is rounded to T before it is squared, and y r before it is multiplied by the gain.
//
// Bytes a row (bf16, width n; gains stay in the cache): forward 4 n + 4, with the residual 8 n + 4, backward 6 n + 4,
// with the residual 8 n + 4, plus 4 n for the parts of each block of rows. Operations a row: 4 n (5 n), 10 n (11 n).
// All are limited by memory: 5,120 bytes of a row of 2,560 take 1.5 ns of 3.35 TB/s, its operations 0.2 ns of 67
// TFLOP/s.
#pragma once
#include "exact.cuh"
#include "packet.cuh"
#include "reduce.cuh"

namespace pointwise {

constexpr unsigned NORM_ELEMENTS = 16, NORM_THREADS = 512;

template <class T, bool ADD>
__device__ __forceinline__ void rms_norm(const T* x, const T* residual, const T* gain, T* sum, T* out,
                                         float* inverse_rms, unsigned rows, unsigned width, float eps) {
    constexpr unsigned P = PACKET<T>, PACKETS = NORM_ELEMENTS / P;
    const bool whole = width % P == 0;
    unsigned slot = 0;
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x, slot ^= 1) {
        const size_t start = size_t(row) * width;
        float y[PACKETS][P], squares = 0.0f;
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k)
            load_packet(y[k], x + start, (k * blockDim.x + threadIdx.x) * P, width, whole);
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k) {
            const unsigned at = (k * blockDim.x + threadIdx.x) * P;
            if (ADD) {
                float other[P];
                load_packet(other, residual + start, at, width, whole);
#pragma unroll
                for (unsigned i = 0; i < P; ++i) y[k][i] = rounded<T>(y[k][i] + other[i]);
                store_packet(sum + start, at, width, whole, y[k]);
            }
#pragma unroll
            for (unsigned i = 0; i < P; ++i) squares += y[k][i] * y[k][i];
        }
        const float mean = div_rn(block_sum(squares, slot), float(width));
        const float inverse = div_rn(1.0f, sqrt_rn(mean + eps));
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k) {
            const unsigned at = (k * blockDim.x + threadIdx.x) * P;
            float scale[P];
            load_packet(scale, gain, at, width, whole);
#pragma unroll
            for (unsigned i = 0; i < P; ++i) y[k][i] = rounded<T>(y[k][i] * inverse) * scale[i];
            store_packet(out + start, at, width, whole, y[k]);
        }
        if (inverse_rms && threadIdx.x == 0) store_global(inverse_rms + row, inverse);
    }
}

// Each block takes `rows_per_block` rows, and each of its threads adds up the gain's gradient for its own columns: the
// parts of the blocks are added by a second launch.
template <class T>
__device__ __forceinline__ void rms_norm_backward(const T* x, const T* gain, const T* dout, const float* inverse_rms,
                                                  const T* dresidual, T* dx, float* dgain_parts, unsigned rows,
                                                  unsigned width, unsigned rows_per_block) {
    constexpr unsigned P = PACKET<T>, PACKETS = NORM_ELEMENTS / P;
    const bool whole = width % P == 0;
    const unsigned first = blockIdx.x * rows_per_block, end = min(rows, first + rows_per_block);
    float dgain[PACKETS][P] = {};
    for (unsigned row = first; row < end; ++row) {
        const size_t start = size_t(row) * width;
        const float inverse = load_global(inverse_rms + row);
        float y[PACKETS][P], slope[PACKETS][P], pull = 0.0f;
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k) {
            const unsigned at = (k * blockDim.x + threadIdx.x) * P;
            load_packet(y[k], x + start, at, width, whole);
            load_packet(slope[k], dout + start, at, width, whole);
        }
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k) {
            float scale[P];
            load_packet(scale, gain, (k * blockDim.x + threadIdx.x) * P, width, whole);
#pragma unroll
            for (unsigned i = 0; i < P; ++i) {
                dgain[k][i] += slope[k][i] * (y[k][i] * inverse);
                slope[k][i] *= scale[i];
                pull += slope[k][i] * y[k][i];
            }
        }
        pull = div_rn(block_sum(pull, row & 1), float(width)) * inverse * inverse;
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k) {
            const unsigned at = (k * blockDim.x + threadIdx.x) * P;
            float add[P] = {};
            if (dresidual) load_packet(add, dresidual + start, at, width, whole);
#pragma unroll
            for (unsigned i = 0; i < P; ++i) add[i] += inverse * (slope[k][i] - y[k][i] * pull);
            store_packet(dx + start, at, width, whole, add);
        }
    }
    if (!dgain_parts) return;
#pragma unroll
    for (unsigned k = 0; k < PACKETS; ++k)
        store_packet(dgain_parts + size_t(blockIdx.x) * width, (k * blockDim.x + threadIdx.x) * P, width, whole,
                     dgain[k]);
}

}  // namespace pointwise

#define NORM_KERNELS(T, NAME)                                                                                 \
    extern "C" __global__ void __launch_bounds__(pointwise::NORM_THREADS) rms_norm_##NAME(                    \
        const T* x, const T* gain, T* out, float* inverse_rms, unsigned rows, unsigned width, float eps) {    \
        pointwise::rms_norm<T, false>(x, nullptr, gain, nullptr, out, inverse_rms, rows, width, eps);         \
    }                                                                                                         \
    extern "C" __global__ void __launch_bounds__(pointwise::NORM_THREADS)                                     \
        add_rms_norm_##NAME(const T* x, const T* residual, const T* gain, T* sum, T* out, float* inverse_rms, \
                            unsigned rows, unsigned width, float eps) {                                       \
        pointwise::rms_norm<T, true>(x, residual, gain, sum, out, inverse_rms, rows, width, eps);             \
    }                                                                                                         \
    extern "C" __global__ void __launch_bounds__(pointwise::NORM_THREADS) rms_norm_backward_##NAME(           \
        const T* x, const T* gain, const T* dout, const float* inverse_rms, const T* dresidual, T* dx,        \
        float* dgain_parts, unsigned rows, unsigned width, unsigned rows_per_block) {                         \
        pointwise::rms_norm_backward<T>(x, gain, dout, inverse_rms, dresidual, dx, dgain_parts, rows, width,  \
                                        rows_per_block);                                                      \
    }
NORM_KERNELS(pointwise::bf16, bf16)
NORM_KERNELS(float, f32)
#undef NORM_KERNELS
