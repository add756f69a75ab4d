// Rows of bf16 or f32 elements in packets of 16 bytes: load, store, and the conversions between them and f32.
//
// A packet lies at an element that is a multiple of PACKET<T>. `whole` says that packets are aligned and no row ends
// within one; it is the same for all threads. If it does not hold, the same elements go one at a time, those past the
// end being `fill` or dropped: every width is right, and the widths of real models are fast.
#pragma once
#include "../emulator/device.h"

namespace pointwise {

using bf16 = uint16_t;

template <class T>
constexpr unsigned PACKET = 16 / sizeof(T);

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return low_bf16(x); }

// To the nearest, ties to even.
template <class T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) {
    return bf16(pack_bf16(x, 0.0f));
}

// The value that a tensor of T would hold: where the unfused operations write an intermediate, the fused ones round
// too.
template <class T>
__device__ __forceinline__ float rounded(float x) {
    return widen(narrow<T>(x));
}

// A pointer that was read from a table. Told that it is one of global memory, the compiler does without generic
// accesses.
template <class T>
__device__ __forceinline__ T* of_global_memory(T* pointer) {
#ifdef __CUDACC__
    __builtin_assume(__isGlobal(pointer));
#endif
    return pointer;
}

// Elements [at, at + N) of a row of `width`. N is PACKET<T>, or what another tensor's packet has: 8 elements of f32 go
// in two parts, 4 of bf16 in 8 bytes.
template <class T, unsigned N>
__device__ __forceinline__ void load_packet(float (&x)[N], const T* row, unsigned at, unsigned width, bool whole,
                                            float fill = 0.0f) {
    if (whole && at < width) {
        if constexpr (sizeof(T) == 4) {
#pragma unroll
            for (unsigned i = 0; i < N; i += 4) {
                const float4 part = load_global(reinterpret_cast<const float4*>(row + at + i));
                x[i] = part.x, x[i + 1] = part.y, x[i + 2] = part.z, x[i + 3] = part.w;
            }
        } else if constexpr (N == 8) {
            const uint4 part = load_global(reinterpret_cast<const uint4*>(row + at));
            x[0] = low_bf16(part.x), x[1] = high_bf16(part.x), x[2] = low_bf16(part.y), x[3] = high_bf16(part.y);
            x[4] = low_bf16(part.z), x[5] = high_bf16(part.z), x[6] = low_bf16(part.w), x[7] = high_bf16(part.w);
        } else {
            const uint2 part = load_global(reinterpret_cast<const uint2*>(row + at));
            x[0] = low_bf16(part.x), x[1] = high_bf16(part.x), x[2] = low_bf16(part.y), x[3] = high_bf16(part.y);
        }
    } else {
#pragma unroll
        for (unsigned i = 0; i < N; ++i) x[i] = at + i < width ? widen(load_global(row + at + i)) : fill;
    }
}

template <class T, unsigned N>
__device__ __forceinline__ void store_packet(T* row, unsigned at, unsigned width, bool whole, const float (&x)[N]) {
    if (!whole) {
#pragma unroll
        for (unsigned i = 0; i < N; ++i)
            if (at + i < width) store_global(row + at + i, narrow<T>(x[i]));
        return;
    }
    if (at >= width) return;
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (unsigned i = 0; i < N; i += 4)
            store_global(reinterpret_cast<float4*>(row + at + i), make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]));
    } else if constexpr (N == 8) {
        store_global(reinterpret_cast<uint4*>(row + at), make_uint4(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]),
                                                                    pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])));
    } else {
        store_global(reinterpret_cast<uint2*>(row + at), make_uint2(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3])));
    }
}

}  // namespace pointwise
