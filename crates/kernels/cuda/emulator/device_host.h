// device.h for the emulator: the same functions, checked and counted.
#pragma once
#include <math.h>

#include <algorithm>
#include <cstdint>

#include "emulator.h"

#define __global__
#define __device__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define threadIdx (emu::machine.current->index)
#define blockIdx (emu::machine.block)
#define gridDim (emu::machine.grid)
#define blockDim (emu::machine.block_size)
#define __syncthreads() emu::barrier(__LINE__)

using std::max;
using std::min;

struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline float __uint_as_float(unsigned x) {
    float out;
    std::memcpy(&out, &x, 4);
    return out;
}
inline unsigned __float_as_uint(float x) {
    unsigned out;
    std::memcpy(&out, &x, 4);
    return out;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

inline void __syncwarp() {
    emu::warp_collective("syncwarp", nullptr, [](emu::Warp& warp) { ++warp.epoch; });
}

template <class T>
inline T load_global(const T* p) {
    T out;
    std::memset(static_cast<void*>(&out), 0xFF, sizeof out);
    if (emu::check_global(p, sizeof(T), false, "load")) std::memcpy(static_cast<void*>(&out), p, sizeof out);
    return out;
}
template <class T>
inline void store_global(T* p, const T& x) {
    if (emu::check_global(p, sizeof(T), true, "store")) std::memcpy(static_cast<void*>(p), &x, sizeof x);
}

inline uint32_t shared_start() { return 0; }
template <class T>
inline T load_shared(uint32_t at) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16, "shared memory is accessed by 4, 8 or 16 bytes");
    const char* p = emu::machine.shared + at;
    T out;
    std::memset(static_cast<void*>(&out), 0xFF, sizeof out);
    if (emu::check_shared_read(*emu::machine.current, p, sizeof(T)))
        std::memcpy(static_cast<void*>(&out), p, sizeof out);
    emu::log_shared(*emu::machine.current, p, sizeof(T), "load");
    return out;
}
template <class T>
inline void store_shared(uint32_t at, T value) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16, "shared memory is accessed by 4, 8 or 16 bytes");
    char* p = emu::machine.shared + at;
    if (emu::check_shared_write(*emu::machine.current, p, sizeof(T))) std::memcpy(p, &value, sizeof(T));
    emu::log_shared(*emu::machine.current, p, sizeof(T), "store");
}

inline void copy_async(uint32_t to, const void* global, bool valid) {
    emu::async_copy(emu::machine.shared + to, global, valid);
}
inline void copy_commit() { emu::async_commit(); }
template <int PENDING>
inline void copy_wait() {
    emu::async_wait(PENDING);
}

inline void ldmatrix(uint32_t (&r)[4], uint32_t row) {
    emu::LdmatrixArguments x{r, emu::machine.shared + row};
    emu::warp_collective("ldmatrix", &x, emu::execute_ldmatrix<false>);
}
inline void ldmatrix_trans(uint32_t (&r)[4], uint32_t row) {
    emu::LdmatrixArguments x{r, emu::machine.shared + row};
    emu::warp_collective("ldmatrix.trans", &x, emu::execute_ldmatrix<true>);
}
inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    const uint32_t b[2] = {b0, b1};
    emu::MmaArguments x{d, a, b};
    emu::warp_collective("mma", &x, emu::execute_mma);
}

inline uint32_t pack_bf16(float low, float high) {
    return emu::float_to_bf16(low) | uint32_t(emu::float_to_bf16(high)) << 16;
}
inline float low_bf16(uint32_t x) { return emu::bf16_to_float(uint16_t(x)); }
inline float high_bf16(uint32_t x) { return emu::bf16_to_float(uint16_t(x >> 16)); }
inline float fast_exp2(float x) { return std::exp2(x); }
inline uint32_t opaque(uint32_t x) { return x; }

template <class T>
inline T shuffle_xor(T x, int mask) {
    struct Arguments {
        T in, out;
        int mask;
    } mine{x, x, mask};
    emu::warp_collective("shuffle", &mine, [](emu::Warp& warp) {
        for (unsigned lane = 0; lane < warp.size; ++lane) {
            auto& a = *static_cast<Arguments*>(warp.arguments[lane]);
            const unsigned from = lane ^ unsigned(a.mask);
            if (from < warp.size)
                a.out = static_cast<Arguments*>(warp.arguments[from])->in;
            else
                emu::fault(emu::Fault::Divergence, "a shuffle from a lane that does not exist");
        }
    });
    return mine.out;
}
inline bool warp_any(bool x) {
    struct Arguments {
        bool in, out;
    } mine{x, false};
    emu::warp_collective("vote", &mine, [](emu::Warp& warp) {
        bool any = false;
        for (unsigned lane = 0; lane < warp.size; ++lane)
            any = any || static_cast<Arguments*>(warp.arguments[lane])->in;
        for (unsigned lane = 0; lane < warp.size; ++lane) static_cast<Arguments*>(warp.arguments[lane])->out = any;
    });
    return mine.out;
}
inline float atomic_add(float* p, float x) { return emu::atomic_add_float(p, x); }
