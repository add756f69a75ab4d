// One token from each row of logits (`sampler/token_sampler.rs`): temperature, top-k, top-p, inverse of the cumulative
// distribution at a given uniform number. Arguments, grid and shared bytes: README.md.
#include "threshold.cuh"

namespace sampling {

// What is drawn and how; the host's `Draw`.
struct Draw {
    double uniform, top_p;
    unsigned row;     // of the logits
    unsigned top_k;   // not above `allowed`
    float scale;      // 1 / temperature, or 1
    unsigned greedy;  // 1: the first of the greatest
};

// What comes back; the host's `DrawnToken`. Without a token the logits are not finite.
struct DrawnToken {
    unsigned id;
    float log_prob;
};

// The first of the greatest logits that may be drawn, in thread 0. Shared bytes: 32 floats and 32 numbers at `at`.
__device__ __forceinline__ unsigned first_of_greatest(const Row& row, uint32_t at) {
    unsigned id = NO_TOKEN;
    float most = -INFINITY;
    auto meet = [&](float z, unsigned other) {
        if (other != NO_TOKEN && (z > most || (z == most && other < id))) most = z, id = other;
    };
    for (unsigned i = threadIdx.x; i < row.allowed; i += blockDim.x) meet(row.logit(i), i);
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        const float z = shuffle_xor(most, mask);
        meet(z, shuffle_xor(id, mask));
    }
    if (threadIdx.x % 32 == 0) {
        store_shared(at + threadIdx.x / 32 * 4, most);
        store_shared(at + 128 + threadIdx.x / 32 * 4, id);
    }
    __syncthreads();
    if (threadIdx.x == 0)
        for (unsigned warp = 1; warp < blockDim.x / 32; ++warp)
            meet(load_shared<float>(at + warp * 4), load_shared<unsigned>(at + 128 + warp * 4));
    return id;
}

// Shared memory: sums over the block, 512 bytes; then 256 bytes for maxima, ties and the total; then the weights of the
// blocks.
__device__ __forceinline__ void draw_row(const float* logits, const Draw* draws, DrawnToken* drawn, unsigned vocabulary,
                                         unsigned stride, unsigned allowed) {
    const uint32_t scratch = shared_start() + 512, weights = shared_start() + 768;
    const Draw* draw = draws + blockIdx.x;
    Row row{logits + size_t(load_global(&draw->row)) * stride, vocabulary, allowed, 0.0f, load_global(&draw->scale)};
    row.highest = largest(row.logits, vocabulary, scratch);
    block_weights(row, weights);
    __syncthreads();
    const unsigned blocks = (vocabulary + BLOCK - 1) / BLOCK, top_k = load_global(&draw->top_k);
    const double uniform = load_global(&draw->uniform), top_p = load_global(&draw->top_p);
    const bool greedy = load_global(&draw->greedy) != 0, plain = top_k >= allowed && top_p >= 1.0;
    // One warp adds up all weights while another draws.
    unsigned id = NO_TOKEN;
    if (threadIdx.x == 32) store_shared(scratch, in_order(weights, blocks));
    if (threadIdx.x == 0 && plain && !greedy) id = inverse_cdf(row, weights, uniform);
    __syncthreads();
    const double total = load_shared<double>(scratch);
    __syncthreads();
    const bool finite = total > 0.0 && total < INFINITY;
    if (finite && greedy) id = first_of_greatest(row, scratch);
    if (finite && !greedy && !plain) id = draw_of_kept(row, top_k, top_p, uniform, scratch);
    if (threadIdx.x > 0) return;
    if (!finite) id = NO_TOKEN;
    const float log_prob = id == NO_TOKEN ? 0.0f : float(double(row.exponent(row.logit(id))) - log(total));
    store_global(&drawn[blockIdx.x].id, id);
    store_global(&drawn[blockIdx.x].log_prob, log_prob);
}

// The ids of tokens that were drawn, to the rows of a pass that reads them: pairs of a row, and the place of its token.
__device__ __forceinline__ void feed_token(const DrawnToken* drawn, const unsigned* pair, unsigned* ids) {
    store_global(ids + load_global(pair), load_global(&drawn[load_global(pair + 1)].id));
}

}  // namespace sampling

extern "C" __global__ void __launch_bounds__(sampling::THREADS, 2)
    draw_tokens(const float* logits, const sampling::Draw* draws, sampling::DrawnToken* drawn, unsigned count,
                unsigned vocabulary, unsigned stride, unsigned allowed) {
    if (blockIdx.x < count) sampling::draw_row(logits, draws, drawn, vocabulary, stride, allowed);
}

extern "C" __global__ void __launch_bounds__(128)
    feed_tokens(const sampling::DrawnToken* drawn, const unsigned* pairs, unsigned* ids, unsigned count) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) sampling::feed_token(drawn, pairs + 2 * i, ids);
}
