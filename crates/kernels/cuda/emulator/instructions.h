// Tensor-core instructions and bf16 of the emulated device, after the PTX ISA, "Matrix fragments for mma.m16n8k16" and
// "Warp-level matrix load instruction: ldmatrix".
#pragma once
#include <cmath>

#include "shared_memory.h"

namespace emu {

inline float bf16_to_float(std::uint16_t x) {
    const std::uint32_t bits = std::uint32_t(x) << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

// To the nearest, ties to even; NaN becomes 0x7FFF, as cvt.rn.bf16x2.f32 gives it.
inline std::uint16_t float_to_bf16(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF;
    return std::uint16_t((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

struct MmaArguments {
    float* d;
    const std::uint32_t *a, *b;
};

// D[16][8] += A[16][16] B[16][8]. Products are added in f32 in the order of k, which no tensor core promises.
inline void execute_mma(Warp& warp) {
    alignas(64) float a[16][16], b[16][8], d[16][8];
    for (unsigned lane = 0; lane < LANES; ++lane) {
        auto& x = *static_cast<MmaArguments*>(warp.arguments[lane]);
        const unsigned group = lane / 4, in_group = lane % 4;
        for (unsigned i = 0; i < 8; ++i) {  // A: registers 0..3 of two elements each
            const unsigned row = (i < 2 || (i >= 4 && i < 6)) ? group : group + 8;
            const unsigned column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
            a[row][column] = bf16_to_float(std::uint16_t(x.a[i / 2] >> (16 * (i & 1))));
        }
        for (unsigned i = 0; i < 4; ++i) {
            const unsigned row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
            b[row][group] = bf16_to_float(std::uint16_t(x.b[i / 2] >> (16 * (i & 1))));
        }
        for (unsigned i = 0; i < 4; ++i) d[group + (i >= 2 ? 8 : 0)][in_group * 2 + (i & 1)] = x.d[i];
    }
    for (unsigned row = 0; row < 16; ++row)
        for (unsigned k = 0; k < 16; ++k)
            for (unsigned column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
    for (unsigned lane = 0; lane < LANES; ++lane) {
        auto& x = *static_cast<MmaArguments*>(warp.arguments[lane]);
        for (unsigned i = 0; i < 4; ++i) x.d[i] = d[lane / 4 + (i >= 2 ? 8 : 0)][lane % 4 * 2 + (i & 1)];
    }
}

struct LdmatrixArguments {
    std::uint32_t* out;
    const void* row;  // of lane l: row l % 8 of matrix l / 8
};

template <bool TRANSPOSED>
inline void execute_ldmatrix(Warp& warp) {
    std::uint16_t m[4][8][8];
    Access accesses[LANES];
    const Access* pointers[LANES];
    Thread* executing = machine.current;
    for (unsigned lane = 0; lane < LANES; ++lane) {
        auto& x = *static_cast<LdmatrixArguments*>(warp.arguments[lane]);
        machine.current = warp.lanes[lane];
        if (check_shared_read(*warp.lanes[lane], x.row, 16))
            std::memcpy(m[lane / 8][lane % 8], x.row, 16);
        else
            std::memset(m[lane / 8][lane % 8], 0xFF, 16);
        const auto offset = std::uintptr_t(static_cast<const char*>(x.row) - machine.shared);
        accesses[lane] = {offset, 16, Space::Shared, warp.kind};
        pointers[lane] = &accesses[lane];
    }
    machine.current = executing;
    if (machine.options.count_traffic) count_wavefronts(pointers, LANES, machine.report->banks[warp.kind]);
    for (unsigned lane = 0; lane < LANES; ++lane) {
        auto& x = *static_cast<LdmatrixArguments*>(warp.arguments[lane]);
        const unsigned row = lane / 4, column = lane % 4 * 2;
        for (unsigned i = 0; i < 4; ++i) {
            const std::uint32_t low = TRANSPOSED ? m[i][column][row] : m[i][row][column];
            const std::uint32_t high = TRANSPOSED ? m[i][column + 1][row] : m[i][row][column + 1];
            x.out[i] = low | high << 16;
        }
    }
}

}  // namespace emu
