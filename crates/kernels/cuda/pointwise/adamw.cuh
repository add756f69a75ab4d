// AdamW over a table of tensors, with f32 masters and moments of f32 or of bf16 that are rounded stochastically; the
// same bits as `optim/adamw.rs` gives on the CPU.
//
//     m = beta1 m + rest1 g      v = beta2 v + rest2 g^2      w = keep w - rate m / (sqrt(v) root_correction + eps)
//
// with rest = 1 - beta, keep = 1 - lr decay, rate = lr / (1 - beta1^t), root_correction = 1 / sqrt(1 - beta2^t) from
// the host. Every operation is rounded as there: f32 moments without, bf16 moments with one fused multiply-add. bf16
// moments are rounded before w uses them. The weights of the forward pass are w to the nearest bf16.
//
// A block has one chunk of a tensor, which is a task of the CPU's draws: two threads make the keys of its moments, then
// each warp makes the words of 1,024 elements at a time, a block of 16 a lane and moment, and passes them through
// shared memory to the lanes that hold the elements.
//
// Bytes an element: 4 of the gradient, 8 of the master, 2 of the rounded weight, 8 of bf16 or 16 of f32 moments: 22
// or 30. Operations: 15, and 25 integer ones for the draws. Limited by memory: 4 billion parameters take 26 or 36 ms
// of 3.35 TB/s.
#pragma once
#include "draws.cuh"
#include "gradients.cuh"

namespace pointwise {

struct AdamWTensor {
    float* weight;  // the master
    bf16* rounded;  // of the forward pass, null if that uses `weight`
    const float* gradient;
    void *first, *second;
    uint64_t count, parameter, decays;
};
static_assert(sizeof(AdamWTensor) == 64, "the host writes this table");

struct AdamWStep {
    float beta1, rest1, beta2, rest2, keep, rate, root_correction, eps;
};

// To one of the two neighbours in bf16: `draw`, uniform over 16 bits, decides so that the mean is `value`. The low half
// of the bits is the distance to the lower neighbour in 65,536ths.
__device__ __forceinline__ uint32_t round_stochastically(float value, uint32_t draw) {
    const uint32_t bits = __float_as_uint(value), magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return bits >> 16 | 0x40;  // a quiet NaN
    return (magnitude == 0x7F800000 ? bits : bits + draw) >> 16;
}

__device__ __forceinline__ float moved(const AdamWStep& s, float keep, float w, float m, float v) {
    const float root = add_rn(mul_rn(sqrt_rn(v), s.root_correction), s.eps);
    return sub_rn(mul_rn(keep, w), div_rn(mul_rn(s.rate, m), root));
}

// What a block updates, and how.
template <class Moment>
struct Chunk {
    float* weight;
    bf16* rounded;
    const float* gradient;
    Moment *first, *second;
    unsigned count;
    float keep, factor;

    __device__ __forceinline__ Chunk(const AdamWTensor* table, const ChunkPlace& place, float keep_decayed,
                                     float clip_factor) {
        const AdamWTensor* tensor = table + place.tensor;
        weight = of_global_memory(load_global(&tensor->weight)) + place.start;
        rounded = load_global(&tensor->rounded);
        if (rounded) rounded += place.start;
        gradient = of_global_memory(load_global(&tensor->gradient)) + place.start;
        first = static_cast<Moment*>(of_global_memory(load_global(&tensor->first))) + place.start;
        second = static_cast<Moment*>(of_global_memory(load_global(&tensor->second))) + place.start;
        count = place.count;
        keep = load_global(&tensor->decays) ? keep_decayed : 1.0f;
        factor = clip_factor;
    }

    // All that is read of four elements at once, so that the reads wait for each other in none.
    __device__ __forceinline__ void load(unsigned at, float (&g)[QUAD], float (&m)[QUAD], float (&v)[QUAD],
                                         float (&w)[QUAD]) const {
        const bool whole = whole_quad(at, count);
        load_packet(g, gradient, at, count, whole);
        load_packet(m, first, at, count, whole);
        load_packet(v, second, at, count, whole);
        load_packet(w, weight, at, count, whole);
#pragma unroll
        for (unsigned i = 0; i < QUAD; ++i) g[i] = scaled(g[i], factor);
    }

    // Moves the weights by moments that are those of this step, and writes both.
    __device__ __forceinline__ void move(const AdamWStep& step, unsigned at, const float (&m)[QUAD],
                                         const float (&v)[QUAD], float (&w)[QUAD]) const {
        const bool whole = whole_quad(at, count);
#pragma unroll
        for (unsigned i = 0; i < QUAD; ++i) w[i] = moved(step, keep, w[i], m[i], v[i]);
        store_packet(first, at, count, whole, m);
        store_packet(second, at, count, whole, v);
        store_packet(weight, at, count, whole, w);
        if (rounded) store_packet(of_global_memory(rounded), at, count, whole, w);
    }
};

// Whether there is a step at all, and what gradients are multiplied by.
__device__ __forceinline__ bool read_clip(const Clip* clip, float& factor) {
    factor = 1.0f;
    if (!clip) return true;
    factor = load_global(&clip->factor);
    return load_global(&clip->finite) != 0;
}

__device__ __forceinline__ void adamw_f32(const AdamWTensor* table, const uint2* chunks, const Clip* clip,
                                          const AdamWStep& step) {
    float factor;
    if (!read_clip(clip, factor)) return;
    Chunk<float> chunk(table, ChunkPlace(table, chunks), step.keep, factor);
#pragma unroll 2
    for (unsigned at = threadIdx.x * QUAD; at < chunk.count; at += blockDim.x * QUAD) {
        float g[QUAD], m[QUAD], v[QUAD], w[QUAD];
        chunk.load(at, g, m, v, w);
#pragma unroll
        for (unsigned i = 0; i < QUAD; ++i) {
            m[i] = add_rn(mul_rn(step.beta1, m[i]), mul_rn(step.rest1, g[i]));
            v[i] = add_rn(mul_rn(step.beta2, v[i]), mul_rn(mul_rn(step.rest2, g[i]), g[i]));
        }
        chunk.move(step, at, m, v, w);
    }
}

// Shared bytes: the words of 1,024 elements and two moments for each of 8 warps, then the two keys.
constexpr unsigned ADAMW_THREADS = 256, WARP_ELEMENTS = 1024, WORD_BYTES = WARP_ELEMENTS * 2;
constexpr unsigned ADAMW_KEYS = ADAMW_THREADS / 32 * 2 * WORD_BYTES, ADAMW_SHARED = ADAMW_KEYS + 128;

// Where a packet of four words lies. A lane writes four packets one after the other, and reads half of every 16th;
// turned like this, both are free of bank conflicts.
__device__ __forceinline__ uint32_t words_at(uint32_t packet) { return (packet ^ (packet >> 3 & 7)) * 16; }

__device__ __forceinline__ void draw_words(uint32_t to, uint32_t key_at, uint32_t number) {
    const uint4 low = load_shared<uint4>(key_at), high = load_shared<uint4>(key_at + 16);
    const uint32_t key[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    uint32_t x[16];
    chacha_block(x, key, number);
#pragma unroll
    for (int i = 0; i < 4; ++i)
        store_shared(to + words_at(threadIdx.x % 32 * 4 + i),
                     make_uint4(x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]));
}

// The two words of four elements.
__device__ __forceinline__ uint2 words_of(uint32_t words, uint32_t quad) {
    return load_shared<uint2>(words + words_at(quad / 2) + quad % 2 * 8);
}

// A moment of four elements, rounded with the draws in `words`.
__device__ __forceinline__ void update_moment(float (&state)[QUAD], const float (&terms)[QUAD], float beta, float rest,
                                              uint2 words) {
    const uint32_t draws[QUAD] = {words.x & 0xFFFF, words.x >> 16, words.y & 0xFFFF, words.y >> 16};
#pragma unroll
    for (unsigned i = 0; i < QUAD; ++i)
        state[i] = low_bf16(round_stochastically(fma_rn(beta, state[i], mul_rn(rest, terms[i])), draws[i]));
}

__device__ __forceinline__ void adamw_bf16(const AdamWTensor* table, const uint2* chunks, const Clip* clip,
                                           uint64_t number, const AdamWStep& step) {
    float factor;
    if (!read_clip(clip, factor)) return;
    const ChunkPlace place(table, chunks);
    const uint32_t keys = shared_start() + ADAMW_KEYS, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (lane == 0 && warp < 2) {  // of two warps, for the first and the second moment
        uint32_t key[8];
        draw_key(key, number, load_global(&table[place.tensor].parameter), warp, place.chunk);
        store_shared(keys + warp * 32, make_uint4(key[0], key[1], key[2], key[3]));
        store_shared(keys + warp * 32 + 16, make_uint4(key[4], key[5], key[6], key[7]));
    }
    __syncthreads();
    Chunk<bf16> chunk(table, place, step.keep, factor);
    const uint32_t first_words = shared_start() + warp * 2 * WORD_BYTES, second_words = first_words + WORD_BYTES;
    for (unsigned start = warp * WARP_ELEMENTS; start < chunk.count; start += ADAMW_THREADS / 32 * WARP_ELEMENTS) {
        draw_words(first_words, keys, start / 32 + lane);
        draw_words(second_words, keys + 32, start / 32 + lane);
        __syncwarp();
        for (unsigned quad = lane; quad < WARP_ELEMENTS / QUAD && start + quad * QUAD < chunk.count; quad += 32) {
            const unsigned at = start + quad * QUAD;
            float g[QUAD], m[QUAD], v[QUAD], w[QUAD];
            chunk.load(at, g, m, v, w);
            update_moment(m, g, step.beta1, step.rest1, words_of(first_words, quad));
#pragma unroll
            for (unsigned i = 0; i < QUAD; ++i) g[i] = mul_rn(g[i], g[i]);
            update_moment(v, g, step.beta2, step.rest2, words_of(second_words, quad));
            chunk.move(step, at, m, v, w);
        }
        __syncwarp();
    }
}

}  // namespace pointwise

extern "C" __global__ void __launch_bounds__(256)
    adamw_f32_moments(const pointwise::AdamWTensor* table, const uint2* chunks, const pointwise::Clip* clip,
                      uint64_t /* as adamw_bf16_moments */, float beta1, float rest1, float beta2, float rest2,
                      float keep, float rate, float root_correction, float eps) {
    pointwise::adamw_f32(table, chunks, clip, {beta1, rest1, beta2, rest2, keep, rate, root_correction, eps});
}
extern "C" __global__ void __launch_bounds__(pointwise::ADAMW_THREADS)
    adamw_bf16_moments(const pointwise::AdamWTensor* table, const uint2* chunks, const pointwise::Clip* clip,
                       uint64_t step, float beta1, float rest1, float beta2, float rest2, float keep, float rate,
                       float root_correction, float eps) {
    pointwise::adamw_bf16(table, chunks, clip, step, {beta1, rest1, beta2, rest2, keep, rate, root_correction, eps});
}
