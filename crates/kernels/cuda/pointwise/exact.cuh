// Arithmetic that is rounded once an operation and never contracted to a fused multiply-add: results equal those of the
// CPU's code bit by bit, whatever the compiler and its flags.
#pragma once
#include "../emulator/device.h"

namespace pointwise {

#ifdef __CUDACC__
__device__ __forceinline__ float mul_rn(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float add_rn(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float sub_rn(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ float fma_rn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ float div_rn(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ float sqrt_rn(float a) { return __fsqrt_rn(a); }
__device__ __forceinline__ double mul_rn(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double add_rn(double a, double b) { return __dadd_rn(a, b); }
#else
// Out of line, or g++ would contract across them where the host has a fused multiply-add.
#define ALONE __attribute__((noipa)) inline
ALONE float mul_rn(float a, float b) { return a * b; }
ALONE float add_rn(float a, float b) { return a + b; }
ALONE float sub_rn(float a, float b) { return a - b; }
ALONE float fma_rn(float a, float b, float c) { return std::fma(a, b, c); }
ALONE float div_rn(float a, float b) { return a / b; }
ALONE float sqrt_rn(float a) { return std::sqrt(a); }
ALONE double mul_rn(double a, double b) { return a * b; }
ALONE double add_rn(double a, double b) { return a + b; }
#undef ALONE
#endif

}  // namespace pointwise
