// Log-probability of a target token and entropy of its distribution, from rows of logits, and their slopes
// (`nn/ops/log_prob.rs`).
//
//     s = z / temperature      log p_t = s_t - logsumexp(s)      H = logsumexp(s) - sum(p s)
//     dz_j = (([j = t] - p_j) dlog_prob - p_j (log p_j + H) dentropy) / temperature
//
// The forward reads a row once: each thread keeps the largest logit so far, sum e^(s - m) and sum e^(s - m) (s - m),
// and takes both sums to a new maximum when it meets one. The slopes come from the kept logsumexp and entropy, in a
// second reading. Logits are f32, as the matrix product accumulated them.
//
// Bytes a row of a vocabulary of 151,936: forward 608 KB, slopes 1.2 MB in place, 0.9 MB as bf16. Operations an
// element: 6 and 8, one of them an exponential each; an SM of an H100 makes 16 exponentials a cycle and gets bytes for
// 4 elements. Limited by memory.
#pragma once
#include "packet.cuh"

namespace pointwise {

constexpr float LOWEST = -3.402823466e38f, LOG2_E = 1.44269504f;

// Below it, e^x is 0 in f32. 0 times this is 0, where 0 times minus infinity would be NaN: a logit of minus infinity
// has probability 0 and adds nothing to the entropy. NaN stays NaN.
__device__ __forceinline__ float bounded(float x) { return x < -1e4f ? -1e4f : x; }
__device__ __forceinline__ float fast_exp(float x) { return fast_exp2(x * LOG2_E); }

// What is known of a part of a row: the largest s, sum e^(s - m), and sum e^(s - m) (s - m).
struct Softmax {
    float largest, total, weighted;

    // The same for a larger maximum.
    __device__ __forceinline__ void raise(float to) {
        const float shift = bounded(largest - to), factor = fast_exp(shift);
        weighted = factor * (weighted + total * shift);
        total *= factor;
        largest = to;
    }
    __device__ __forceinline__ void add(Softmax other) {
        const float to = fmaxf(largest, other.largest);
        raise(to);
        other.raise(to);
        total += other.total;
        weighted += other.weighted;
    }
};

__device__ __forceinline__ void log_prob_row(const float* logits, const unsigned* targets, float* log_probs,
                                             float* entropies, float* log_sums, unsigned vocabulary, unsigned stride,
                                             float inverse_temperature) {
    constexpr unsigned P = PACKET<float>, PACKETS = 4;
    const bool whole = vocabulary % P == 0 && stride % P == 0;
    const float* row = logits + size_t(blockIdx.x) * stride;
    Softmax mine{LOWEST, 0.0f, 0.0f};
    for (unsigned first = threadIdx.x * P; first < vocabulary; first += PACKETS * blockDim.x * P) {
        float z[PACKETS][P], largest = LOWEST;
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k)
            load_packet(z[k], row, first + k * blockDim.x * P, vocabulary, whole, -INFINITY);
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k)
#pragma unroll
            for (unsigned i = 0; i < P; ++i) largest = fmaxf(largest, z[k][i]);
        largest *= inverse_temperature;
        if (largest > mine.largest) mine.raise(largest);
#pragma unroll
        for (unsigned k = 0; k < PACKETS; ++k)
#pragma unroll
            for (unsigned i = 0; i < P; ++i) {
                const float shift = bounded(fmaf(z[k][i], inverse_temperature, -mine.largest)),
                            exponential = fast_exp(shift);
                mine.total += exponential;
                mine.weighted += exponential * shift;
            }
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        const Softmax other{shuffle_xor(mine.largest, mask), shuffle_xor(mine.total, mask),
                            shuffle_xor(mine.weighted, mask)};
        mine.add(other);
    }
    const uint32_t at = shared_start();
    if (threadIdx.x % 32 == 0) {
        const uint32_t warp = at + threadIdx.x / 32 * 12;
        store_shared(warp, mine.largest);
        store_shared(warp + 4, mine.total);
        store_shared(warp + 8, mine.weighted);
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (unsigned warp = 1; warp < blockDim.x / 32; ++warp)
        mine.add({load_shared<float>(at + warp * 12), load_shared<float>(at + warp * 12 + 4),
                  load_shared<float>(at + warp * 12 + 8)});
    const float log_total = logf(mine.total), log_sum = mine.largest + log_total;
    store_global(log_sums + blockIdx.x, log_sum);
    store_global(entropies + blockIdx.x, log_total - mine.weighted / mine.total);
    const float target = load_global(row + load_global(targets + blockIdx.x));
    store_global(log_probs + blockIdx.x, fmaf(target, inverse_temperature, -log_sum));
}

template <class T>
__device__ __forceinline__ void log_prob_slope_row(const float* logits, unsigned target, float dlog_prob,
                                                   float dentropy, float log_sum, float entropy, T* slopes,
                                                   unsigned vocabulary, bool whole, float inverse_temperature) {
    constexpr unsigned P = PACKET<float>;
#pragma unroll 2
    for (unsigned at = (blockIdx.y * blockDim.x + threadIdx.x) * P; at < vocabulary; at += gridDim.y * blockDim.x * P) {
        float z[P];
        load_packet(z, logits, at, vocabulary, whole);
#pragma unroll
        for (unsigned i = 0; i < P; ++i) {
            const float log_p = bounded(fmaf(z[i], inverse_temperature, -log_sum));
            const float slope = fast_exp(log_p) * (-dlog_prob - dentropy * (log_p + entropy));
            z[i] = (slope + (at + i == target ? dlog_prob : 0.0f)) * inverse_temperature;
        }
        store_packet(slopes, at, vocabulary, whole, z);
    }
}

}  // namespace pointwise

extern "C" __global__ void __launch_bounds__(1024)
    log_prob_rows(const float* logits, const unsigned* targets, float* log_probs, float* entropies, float* log_sums,
                  unsigned rows, unsigned vocabulary, unsigned stride, float inverse_temperature) {
    if (blockIdx.x >= rows) return;
    pointwise::log_prob_row(logits, targets, log_probs, entropies, log_sums, vocabulary, stride, inverse_temperature);
}

#define SLOPE_KERNEL(T, NAME)                                                                                \
    extern "C" __global__ void __launch_bounds__(512) log_prob_slopes_##NAME(                                \
        const float* logits, const unsigned* targets, const float* dlog_probs, const float* dentropies,      \
        const float* log_sums, const float* entropies, T* slopes, unsigned rows, unsigned vocabulary,        \
        unsigned logits_stride, unsigned slopes_stride, float inverse_temperature) {                         \
        const unsigned row = blockIdx.x, P = pointwise::PACKET<float>;                                       \
        if (row >= rows) return;                                                                             \
        const bool whole = vocabulary % P == 0 && logits_stride % P == 0 && slopes_stride % P == 0;          \
        pointwise::log_prob_slope_row<T>(                                                                    \
            logits + size_t(row) * logits_stride, load_global(targets + row), load_global(dlog_probs + row), \
            dentropies ? load_global(dentropies + row) : 0.0f, load_global(log_sums + row),                  \
            load_global(entropies + row), slopes + size_t(row) * slopes_stride, vocabulary, whole,           \
            inverse_temperature);                                                                            \
    }
SLOPE_KERNEL(pointwise::bf16, bf16)
SLOPE_KERNEL(float, f32)
#undef SLOPE_KERNEL
