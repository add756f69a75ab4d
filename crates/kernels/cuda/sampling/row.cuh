// A row of logits as weights: what `sampler/token_sampler.rs` computes of it, with the same bits.
//
//     w_i = exp((z_i - max z) scale) in f32      total = sum of w in f64
//
// The order of every sum is the CPU's: blocks of 64 tokens, in each of them eight sums of every eighth token, then
// those eight, then the blocks one after the other. So a total, and the token at which the cumulative weight passes a
// number, have the CPU's bits.
#pragma once
#include <cmath>

#include "../pointwise/exact.cuh"
#include "../pointwise/packet.cuh"
#include "../pointwise/reduce.cuh"

namespace sampling {

using pointwise::add_rn;
using pointwise::block_sum;
using pointwise::fma_rn;
using pointwise::mul_rn;
using pointwise::sub_rn;

constexpr unsigned THREADS = 512, BLOCK = 64, LANES = 8, NO_TOKEN = 0xFFFFFFFF;

// `Real::exp` of nn/ops/real.rs.
__device__ __forceinline__ float exponential(float x) {
    constexpr float ROUND = 12582912.0f;
    if (!(x == x)) return x;
    if (x < -87.0f) return 0.0f;
    if (x > 88.37f) return INFINITY;
    const float shifted = fma_rn(x, 1.44269504f, ROUND), n = sub_rn(shifted, ROUND);
    const float r = fma_rn(n, 2.1219444e-4f, fma_rn(n, -0.6933594f, x));
    float p = fma_rn(r, 1.0f / 5040.0f, 1.0f / 720.0f);
    p = fma_rn(r, p, 1.0f / 120.0f);
    p = fma_rn(r, p, 1.0f / 24.0f);
    p = fma_rn(r, p, 1.0f / 6.0f);
    p = fma_rn(r, p, 0.5f);
    p = fma_rn(r, p, 1.0f);
    p = fma_rn(r, p, 1.0f);
    return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

struct Row {
    const float* logits;
    unsigned vocabulary, allowed;  // ids below `allowed` may be drawn
    float highest, scale;

    __device__ __forceinline__ float logit(unsigned id) const { return load_global(logits + id); }
    __device__ __forceinline__ float exponent(float z) const { return mul_rn(sub_rn(z, highest), scale); }
    __device__ __forceinline__ float weight(float z) const { return exponential(exponent(z)); }
};

// The largest value over the block, in all threads. Shared bytes: 32 floats at `at`; a barrier follows before they are
// used again.
__device__ __forceinline__ float block_max(float x, uint32_t at) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        const float other = shuffle_xor(x, mask);
        x = other > x ? other : x;
    }
    if (threadIdx.x % 32 == 0) store_shared(at + threadIdx.x / 32 * 4, x);
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) {
        const float other = load_shared<float>(at + warp * 4);
        x = other > x ? other : x;
    }
    return x;
}

// The largest logit of the first `end` tokens. NaN is passed over, and found by the sum.
__device__ __forceinline__ float largest(const float* logits, unsigned end, uint32_t at) {
    float most = -INFINITY;
    for (unsigned id = threadIdx.x; id < end; id += blockDim.x) {
        const float z = load_global(logits + id);
        most = z > most ? z : most;
    }
    return block_max(most, at);
}

// The weight of a block of tokens of which `count` are there, in the first of the eight lanes that work on it. All
// lanes of a warp call it.
__device__ __forceinline__ double block_weight(const Row& row, unsigned first, unsigned count) {
    const unsigned lane = threadIdx.x % LANES, whole = count / LANES;
    double sum = 0.0, rest = 0.0;
    for (unsigned chunk = 0; chunk < whole; ++chunk)
        sum = add_rn(sum, double(row.weight(row.logit(first + chunk * LANES + lane))));
    if (whole * LANES + lane < count) rest = double(row.weight(row.logit(first + whole * LANES + lane)));
    double all = sum, tail = rest;
#pragma unroll
    for (int other = 1; other < int(LANES); ++other) {
        all = add_rn(all, shuffle_xor(sum, other));
        tail = add_rn(tail, shuffle_xor(rest, other));
    }
    return add_rn(all, tail);
}

// Weights of all blocks, at `at` in shared memory, and after them that of the last block with ids that may be drawn, of
// those alone.
__device__ __forceinline__ void block_weights(const Row& row, uint32_t at) {
    const unsigned blocks = (row.vocabulary + BLOCK - 1) / BLOCK, per_pass = blockDim.x / LANES;
    for (unsigned base = 0; base <= blocks; base += per_pass) {
        const unsigned block = base + threadIdx.x / LANES;
        unsigned first = block * BLOCK, end = row.vocabulary;
        if (block == blocks) first = (row.allowed - 1) / BLOCK * BLOCK, end = row.allowed;
        const unsigned count = block <= blocks && first < end ? min(BLOCK, end - first) : 0;
        const double weight = block_weight(row, count ? first : 0, count);
        if (block <= blocks && threadIdx.x % LANES == 0) store_shared(at + block * 8, weight);
    }
}

// The blocks of tokens that may be drawn.
struct AllowedBlocks {
    uint32_t at;
    unsigned count, last;  // `last` is where the weight of the last one lies

    __device__ __forceinline__ AllowedBlocks(const Row& row, uint32_t at)
        : at(at), count((row.allowed + BLOCK - 1) / BLOCK), last((row.vocabulary + BLOCK - 1) / BLOCK) {}
    __device__ __forceinline__ double weight(unsigned block) const {
        return load_shared<double>(at + (block + 1 == count ? last : block) * 8);
    }
};

// One thread: the sum of numbers in shared memory, in their order.
__device__ __forceinline__ double in_order(uint32_t at, unsigned count) {
    double total = 0.0;
    for (unsigned i = 0; i < count; ++i) total = add_rn(total, load_shared<double>(at + i * 8));
    return total;
}

// One thread: the place among `count` tokens from `first` on at which the cumulative weight passes the target, or the
// last place of positive weight before.
__device__ __forceinline__ unsigned place_in_block(const Row& row, unsigned first, unsigned count, double target) {
    double passed = 0.0;
    unsigned last = NO_TOKEN;
    for (unsigned id = first; id < first + count; ++id) {
        const float weight = row.weight(row.logit(id));
        passed = add_rn(passed, double(weight));
        if (weight > 0.0f) last = id;
        if (passed > target) break;
    }
    return last;
}

// One thread: the first token that may be drawn at which the cumulative weight passes `uniform` of the whole.
__device__ __forceinline__ unsigned inverse_cdf(const Row& row, uint32_t at, double uniform) {
    const AllowedBlocks blocks(row, at);
    double total = 0.0;
    for (unsigned block = 0; block < blocks.count; ++block) total = add_rn(total, blocks.weight(block));
    const double target = mul_rn(uniform, total);
    double passed = 0.0;
    for (unsigned block = 0; block < blocks.count; ++block) {
        const double weight = blocks.weight(block), after = add_rn(passed, weight);
        if (after <= target || weight <= 0.0) {
            passed = after;
            continue;
        }
        const unsigned first = block * BLOCK, count = min(BLOCK, row.allowed - first);
        return place_in_block(row, first, count, add_rn(target, -passed));
    }
    // A uniform next to 1 may fall off the end: the last token of positive weight.
    for (unsigned block = blocks.count; block-- > 0;)
        if (blocks.weight(block) > 0.0) {
            const unsigned first = block * BLOCK;
            return place_in_block(row, first, min(BLOCK, row.allowed - first), INFINITY);
        }
    return NO_TOKEN;
}

}  // namespace sampling
