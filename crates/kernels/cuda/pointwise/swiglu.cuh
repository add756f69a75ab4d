// Gated activation, forward and backward (`nn/ops/swiglu.rs`).
//
//     out = silu(gate) up, silu(g) = g s, s = sigmoid(g) = 1 / (1 + exp(-g))
//     dgate = dout up s (1 + gate (1 - s))      dup = dout gate s
//
// As in the composed operation, silu(gate) is rounded to T before it is multiplied. The backward can write the
// forward's result once more, for the gradient of the projection that follows, so that only gate and up need to be
// kept.
//
// Bytes an element (bf16): forward 6, backward 10, with the result 12. Operations: 6 and 14, one of them an exponential
// and one a division; an SM of an H100 makes 16 exponentials a cycle and gets bytes for 2 elements. Limited by memory.
#pragma once
#include "packet.cuh"

namespace pointwise {

// ex2.approx is within 2 units in the last place, as is the division; far below the rounding to bf16, and for f32
// within 1e-6 of the sigmoid.
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + fast_exp2(x * -1.44269504f)); }

template <class T>
__device__ __forceinline__ void swiglu(const T* gate, const T* up, T* out, unsigned rows, unsigned width,
                                       unsigned gate_stride, unsigned up_stride) {
    constexpr unsigned P = PACKET<T>;
    const bool whole = width % P == 0 && gate_stride % P == 0 && up_stride % P == 0;
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        for (unsigned at = threadIdx.x * P; at < width; at += blockDim.x * P) {
            float g[P], u[P];
            load_packet(g, gate + size_t(row) * gate_stride, at, width, whole);
            load_packet(u, up + size_t(row) * up_stride, at, width, whole);
#pragma unroll
            for (unsigned i = 0; i < P; ++i) u[i] *= rounded<T>(g[i] * sigmoid(g[i]));
            store_packet(out + size_t(row) * width, at, width, whole, u);
        }
    }
}

template <class T>
__device__ __forceinline__ void swiglu_backward(const T* gate, const T* up, const T* dout, T* dgate, T* dup, T* out,
                                                unsigned rows, unsigned width, unsigned gate_stride,
                                                unsigned up_stride) {
    constexpr unsigned P = PACKET<T>;
    const bool whole = width % P == 0 && gate_stride % P == 0 && up_stride % P == 0;
    for (unsigned row = blockIdx.x; row < rows; row += gridDim.x) {
        for (unsigned at = threadIdx.x * P; at < width; at += blockDim.x * P) {
            float g[P], u[P], slope[P], result[P];
            load_packet(g, gate + size_t(row) * gate_stride, at, width, whole);
            load_packet(u, up + size_t(row) * up_stride, at, width, whole);
            load_packet(slope, dout + size_t(row) * width, at, width, whole);
#pragma unroll
            for (unsigned i = 0; i < P; ++i) {
                const float s = sigmoid(g[i]), silu = g[i] * s;
                result[i] = rounded<T>(silu) * u[i];
                // g (1 - s) = g - silu, of which silu is at hand.
                g[i] = slope[i] * u[i] * s * (1.0f + (g[i] - silu));
                u[i] = slope[i] * silu;
            }
            store_packet(dgate + size_t(row) * gate_stride, at, width, whole, g);
            store_packet(dup + size_t(row) * up_stride, at, width, whole, u);
            if (out) store_packet(out + size_t(row) * width, at, width, whole, result);
        }
    }
}

}  // namespace pointwise

#define SWIGLU_KERNELS(T, NAME)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256) swiglu_##NAME(                                                   \
        const T* gate, const T* up, T* out, unsigned rows, unsigned width, unsigned gate_stride, unsigned up_stride) { \
        pointwise::swiglu<T>(gate, up, out, rows, width, gate_stride, up_stride);                                      \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        swiglu_backward_##NAME(const T* gate, const T* up, const T* dout, T* dgate, T* dup, T* out, unsigned rows,     \
                               unsigned width, unsigned gate_stride, unsigned up_stride) {                             \
        pointwise::swiglu_backward<T>(gate, up, dout, dgate, dup, out, rows, width, gate_stride, up_stride);           \
    }
SWIGLU_KERNELS(pointwise::bf16, bf16)
SWIGLU_KERNELS(float, f32)
#undef SWIGLU_KERNELS
