// device.h for nvcc: PTX of compute capability 8.0 and later.
#pragma once
#include <cstdint>

__device__ __forceinline__ uint32_t shared_start() {
    extern __shared__ __align__(128) unsigned char dynamic_shared[];
    return uint32_t(__cvta_generic_to_shared(dynamic_shared));
}

template <class T>
__device__ __forceinline__ T load_global(const T* p) {
    return *p;
}
template <class T>
__device__ __forceinline__ void store_global(T* p, const T& x) {
    *p = x;
}

__device__ __forceinline__ void load_words(uint32_t at, uint32_t (&x)[1]) {
    asm volatile("ld.shared.b32 %0, [%1];\n" : "=r"(x[0]) : "r"(at) : "memory");
}
__device__ __forceinline__ void load_words(uint32_t at, uint32_t (&x)[2]) {
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];\n" : "=r"(x[0]), "=r"(x[1]) : "r"(at) : "memory");
}
__device__ __forceinline__ void load_words(uint32_t at, uint32_t (&x)[4]) {
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(at)
                 : "memory");
}
__device__ __forceinline__ void store_words(uint32_t at, const uint32_t (&x)[1]) {
    asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(at), "r"(x[0]) : "memory");
}
__device__ __forceinline__ void store_words(uint32_t at, const uint32_t (&x)[2]) {
    asm volatile("st.shared.v2.b32 [%0], {%1, %2};\n" ::"r"(at), "r"(x[0]), "r"(x[1]) : "memory");
}
__device__ __forceinline__ void store_words(uint32_t at, const uint32_t (&x)[4]) {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};\n" ::"r"(at), "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3])
                 : "memory");
}
template <class T>
union Words {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16, "shared memory is accessed by 4, 8 or 16 bytes");
    uint32_t words[sizeof(T) / 4];
    T value;
};
template <class T>
__device__ __forceinline__ T load_shared(uint32_t at) {
    Words<T> x;
    load_words(at, x.words);
    return x.value;
}
template <class T>
__device__ __forceinline__ void store_shared(uint32_t at, T value) {
    Words<T> x;
    x.value = value;
    store_words(at, x.words);
}

// 16 bytes; zeros where `valid` is false, and then `global` is not read.
__device__ __forceinline__ void copy_async(uint32_t to, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int PENDING>
__device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(PENDING) : "memory");
}

// Four 8 x 8 matrices of bf16; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_trans(uint32_t (&r)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}
// d[16][8] += a[16][16] b[16][8] in f32.
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two floats as bf16, `low` in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    uint32_t out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(out) : "f"(high), "f"(low));
    return out;
}
__device__ __forceinline__ float low_bf16(uint32_t x) { return __uint_as_float(x << 16); }
__device__ __forceinline__ float high_bf16(uint32_t x) { return __uint_as_float(x & 0xFFFF0000u); }

__device__ __forceinline__ float fast_exp2(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(out) : "f"(x));
    return out;
}

// The same value, of which the compiler knows nothing: what a loop computes from it is not kept across iterations.
__device__ __forceinline__ uint32_t opaque(uint32_t x) {
    asm volatile("" : "+r"(x));
    return x;
}

// Of full warps.
template <class T>
__device__ __forceinline__ T shuffle_xor(T x, int mask) {
    return __shfl_xor_sync(0xFFFFFFFFu, x, mask);
}
__device__ __forceinline__ bool warp_any(bool x) { return __any_sync(0xFFFFFFFFu, x); }
__device__ __forceinline__ float atomic_add(float* p, float x) { return atomicAdd(p, x); }
