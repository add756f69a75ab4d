// Gradient accumulation in f32, the global norm and its clipping, over tables of tensors (`optim/gradients.rs`).
//
//     sum += term      norm = sqrt(sum over all tensors of sum^2)      factor = max_norm / norm where norm > max_norm,
//     else 1
//
// A block has one chunk of 16,384 elements. Squares are exact in f64 and added in f64, by thread, block, and over the
// blocks in one last block: the order follows from the table alone.
//
// Bytes an element: add 10 for bf16 terms, 12 for f32 (6 and 8 where it overwrites), norm 4, scale 8. Operations: 1, 2
// in f64, 1. Limited by memory, but for the norm where f64 is 1/64 of f32 (sm_89): a conversion and a multiply-add an
// element are then about as slow as its 4 bytes.
#pragma once
#include "exact.cuh"
#include "packet.cuh"
#include "reduce.cuh"

namespace pointwise {

// Elements of a block, and those that share a key of stochastic rounding.
constexpr unsigned CHUNK = 16384;

struct GradientTensor {
    float* sum;
    const void* term;
    uint64_t count;
};
static_assert(sizeof(GradientTensor) == 24, "the host writes this table");

struct Clip {
    double norm;
    float factor;
    uint32_t finite;
};
static_assert(sizeof(Clip) == 16, "the host reads this");

// The chunk of a block: the number of its tensor, where it starts in it, and how many elements it has.
struct ChunkPlace {
    unsigned tensor, chunk, count;
    size_t start;

    template <class Tensor>
    __device__ __forceinline__ ChunkPlace(const Tensor* table, const uint2* chunks) {
        const uint2 place = load_global(chunks + blockIdx.x);
        tensor = place.x, chunk = place.y, start = size_t(chunk) * CHUNK;
        const uint64_t left = load_global(&table[tensor].count) - start;
        count = left < CHUNK ? unsigned(left) : CHUNK;
    }
};

// Elements a thread works on at a time: a packet of f32, to which 8 bytes of bf16 belong, so that a warp's accesses to
// both are contiguous. Chunks start at multiples of 16 bytes; only a tensor's last elements may be fewer.
constexpr unsigned QUAD = PACKET<float>;
__device__ __forceinline__ bool whole_quad(unsigned at, unsigned count) { return at + QUAD <= count; }

template <class T>
__device__ __forceinline__ void add_gradients(const GradientTensor* table, const uint2* chunks, unsigned overwrite) {
    const ChunkPlace place(table, chunks);
    float* sum = of_global_memory(load_global(&table[place.tensor].sum)) + place.start;
    const T* term = static_cast<const T*>(of_global_memory(load_global(&table[place.tensor].term))) + place.start;
#pragma unroll 4
    for (unsigned at = threadIdx.x * QUAD; at < place.count; at += blockDim.x * QUAD) {
        const bool whole = whole_quad(at, place.count);
        float a[QUAD], b[QUAD] = {};
        load_packet(a, term, at, place.count, whole);
        if (!overwrite) {
            load_packet(b, sum, at, place.count, whole);
#pragma unroll
            for (unsigned i = 0; i < QUAD; ++i) a[i] = add_rn(b[i], a[i]);
        }
        store_packet(sum, at, place.count, whole, a);
    }
}

__device__ __forceinline__ void sum_of_squares(const GradientTensor* table, const uint2* chunks, double* parts) {
    const ChunkPlace place(table, chunks);
    const float* sum = of_global_memory(load_global(&table[place.tensor].sum)) + place.start;
    double total = 0.0;
#pragma unroll 4
    for (unsigned at = threadIdx.x * QUAD; at < place.count; at += blockDim.x * QUAD) {
        float a[QUAD];
        load_packet(a, sum, at, place.count, whole_quad(at, place.count));
#pragma unroll
        for (unsigned i = 0; i < QUAD; ++i) total += double(a[i]) * double(a[i]);
    }
    total = block_sum(total);
    if (threadIdx.x == 0) store_global(parts + blockIdx.x, total);
}

__device__ __forceinline__ void clip_norm(const double* parts, unsigned num_parts, double max_norm, Clip* clip) {
    double total = 0.0;
    for (unsigned i = threadIdx.x; i < num_parts; i += blockDim.x) total += load_global(parts + i);
    total = block_sum(total);
    if (threadIdx.x > 0) return;
    const double norm = sqrt(total);
    const bool finite = norm <= 1.7976931348623157e308;  // false for NaN
    store_global(&clip->norm, norm);
    store_global(&clip->factor, finite && norm > max_norm ? float(max_norm / norm) : 1.0f);
    store_global(&clip->finite, uint32_t(finite));
}

// The added zero is that of the CPU's `affine`: it makes -0 a 0.
__device__ __forceinline__ float scaled(float x, float factor) {
    return factor == 1.0f ? x : add_rn(mul_rn(x, factor), 0.0f);
}

__device__ __forceinline__ void scale_gradients_by(const GradientTensor* table, const uint2* chunks, const Clip* clip) {
    const float factor = load_global(&clip->factor);
    if (factor == 1.0f) return;
    const ChunkPlace place(table, chunks);
    float* sum = of_global_memory(load_global(&table[place.tensor].sum)) + place.start;
#pragma unroll 4
    for (unsigned at = threadIdx.x * QUAD; at < place.count; at += blockDim.x * QUAD) {
        const bool whole = whole_quad(at, place.count);
        float a[QUAD];
        load_packet(a, sum, at, place.count, whole);
#pragma unroll
        for (unsigned i = 0; i < QUAD; ++i) a[i] = scaled(a[i], factor);
        store_packet(sum, at, place.count, whole, a);
    }
}

}  // namespace pointwise

extern "C" __global__ void __launch_bounds__(256)
    add_gradients_bf16(const pointwise::GradientTensor* table, const uint2* chunks, unsigned overwrite) {
    pointwise::add_gradients<pointwise::bf16>(table, chunks, overwrite);
}
extern "C" __global__ void __launch_bounds__(256)
    add_gradients_f32(const pointwise::GradientTensor* table, const uint2* chunks, unsigned overwrite) {
    pointwise::add_gradients<float>(table, chunks, overwrite);
}
extern "C" __global__ void __launch_bounds__(256)
    gradient_squares(const pointwise::GradientTensor* table, const uint2* chunks, double* parts) {
    pointwise::sum_of_squares(table, chunks, parts);
}
extern "C" __global__ void __launch_bounds__(1024)
    gradient_clip(const double* parts, unsigned num_parts, double max_norm, pointwise::Clip* clip) {
    pointwise::clip_norm(parts, num_parts, max_norm, clip);
}
extern "C" __global__ void __launch_bounds__(256)
    scale_gradients(const pointwise::GradientTensor* table, const uint2* chunks, const pointwise::Clip* clip) {
    pointwise::scale_gradients_by(table, chunks, clip);
}
