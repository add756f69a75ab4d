// The cut of top-k and top-p and the draw among what is left, by thresholds on the logits: nothing is sorted.
//
// Tokens are ordered by logit, the greatest first, equal ones by id. With m(t) the number of tokens above a logit t, or
// their weight, each of the three questions is for the greatest t at which m passes a number: m counts up to `top_k`; m
// weighs `top_p` of what top-k left; m weighs more than the uniform number of what top-p left. The bits of t are found
// two at a time, the highest first, by sums over the tokens that agree in the bits found so far. Among equal logits,
// all of one weight, their number at the threshold is worked out and the ids are counted.
//
// Sums over the block are f64 in a fixed order, which is not that of the CPU's walk down the sorted tokens: a draw is
// the CPU's unless the uniform number is within some 1e-13 of the border of two tokens.
//
// A search reads the row 16 times (from the L2 cache, 0.6 MB for 151,936 tokens), and a draw takes three searches at
// most.
#pragma once
#include "row.cuh"

namespace sampling {

// Unsigned numbers in the order of the logits, and back. No logit here is NaN, so none is 0.
__device__ __forceinline__ unsigned order_of(float z) {
    const unsigned bits = __float_as_uint(z);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float logit_of(unsigned order) {
    return __uint_as_float(order & 0x80000000u ? order & 0x7FFFFFFFu : ~order);
}

// What is kept: all tokens above a logit, and of those with that logit the first `ties`. At first everything.
struct Cut {
    unsigned order, ties;
};

// Where a measure passes a number: the threshold, and the measure of what is above it.
struct Threshold {
    unsigned order;
    double above;
};

enum class Measure { Count, Weight };

template <Measure MEASURE>
__device__ __forceinline__ double measure(const Row& row, float z) {
    return MEASURE == Measure::Count ? 1.0 : double(row.weight(z));
}

// Measures of the kept tokens above thresholds of two bits, summed over the block: of digits 1, 2 and 3.
template <Measure MEASURE>
__device__ __forceinline__ void digits(const Row& row, Cut cut, unsigned prefix, unsigned shift, double (&sums)[3]) {
    double mine[3] = {};
    auto add = [&](unsigned order, double times) {
        if (order < prefix) return;
        const unsigned digit = (order - prefix) >> shift;
        if (digit == 0 || digit > 3) return;
        const double x = times * measure<MEASURE>(row, logit_of(order));
#pragma unroll
        for (unsigned d = 0; d < 3; ++d) mine[d] += digit == d + 1 ? x : 0.0;
    };
    for (unsigned id = threadIdx.x; id < row.allowed; id += blockDim.x) {
        const unsigned order = order_of(row.logit(id));
        if (order > cut.order) add(order, 1.0);
    }
    if (threadIdx.x == 0 && cut.ties > 0) add(cut.order, double(cut.ties));
#pragma unroll
    for (unsigned d = 0; d < 3; ++d) sums[d] = block_sum(mine[d], d & 1);
    __syncthreads();
}

// The greatest threshold at which the measure of kept tokens that are not below it reaches `wanted`, or exceeds it.
template <Measure MEASURE, bool EXCEEDS>
__device__ __forceinline__ Threshold search(const Row& row, Cut cut, double wanted) {
    Threshold found{0, 0.0};
    for (unsigned shift = 32; shift > 0;) {
        shift -= 2;
        double sums[3];
        digits<MEASURE>(row, cut, found.order, shift, sums);
        unsigned digit = 0;
#pragma unroll
        for (unsigned d = 3; d > 0; --d) {
            if (digit > 0) continue;
            const double with = add_rn(found.above, sums[d - 1]);
            if (EXCEEDS ? with > wanted : with >= wanted)
                digit = d;
            else
                found.above = with;
        }
        found.order += digit << shift;
    }
    return found;
}

// How many tokens have exactly this logit, by warp: each takes a part of the row. Counts stay in shared memory at `at`.
__device__ __forceinline__ unsigned equals(const Row& row, unsigned order, uint32_t at) {
    const unsigned warps = blockDim.x / 32, part = (row.allowed + 32 * warps - 1) / (32 * warps) * 32;
    const unsigned first = threadIdx.x / 32 * part, end = min(row.allowed, first + part);
    float mine = 0.0f;  // below 2^24
    for (unsigned id = first + threadIdx.x % 32; id < end; id += 32)
        mine += order_of(row.logit(id)) == order ? 1.0f : 0.0f;
    mine = warp_sum(mine);
    if (threadIdx.x % 32 == 0) store_shared(at + threadIdx.x / 32 * 4, mine);
    __syncthreads();
    float total = 0.0f;
    for (unsigned warp = 0; warp < warps; ++warp) total += load_shared<float>(at + warp * 4);
    return unsigned(total);
}

// The first warp, after `equals`: the id of the token with this logit that has `before` of them before it.
__device__ __forceinline__ unsigned id_of(const Row& row, unsigned order, unsigned before, uint32_t at) {
    const unsigned warps = blockDim.x / 32, part = (row.allowed + 32 * warps - 1) / (32 * warps) * 32;
    unsigned warp = 0;
    for (; warp + 1 < warps; ++warp) {
        const unsigned here = unsigned(load_shared<float>(at + warp * 4));
        if (before < here) break;
        before -= here;
    }
    auto is_it = [&](unsigned id) { return id < row.allowed && order_of(row.logit(id)) == order; };
    for (unsigned first = warp * part; first < row.allowed; first += 32) {
        const unsigned here = unsigned(warp_sum(is_it(first + threadIdx.x) ? 1.0f : 0.0f));
        if (before >= here) {
            before -= here;
            continue;
        }
        for (unsigned id = first; id < first + 32; ++id)
            if (is_it(id) && before-- == 0) return id;
    }
    return NO_TOKEN;
}

// The least number of tokens of one weight, 1 to `most`, with which a measure reaches `wanted`, or exceeds it.
template <bool EXCEEDS>
__device__ __forceinline__ unsigned ties_to(double above, double weight, unsigned most, double wanted) {
    auto passes = [&](unsigned ties) {
        const double with = add_rn(above, mul_rn(double(ties), weight));
        return EXCEEDS ? with > wanted : with >= wanted;
    };
    unsigned low = 0, high = most;  // passes(high) or high is the most
    while (low + 1 < high) {
        const unsigned middle = low + (high - low) / 2;
        (passes(middle) ? high : low) = middle;
    }
    return high;
}

// The token that `uniform` falls on among what top-k and top-p keep. All threads; the result is of thread 0.
__device__ __forceinline__ unsigned draw_of_kept(const Row& row, unsigned top_k, double top_p, double uniform,
                                                 uint32_t at) {
    Cut cut{0, 0};
    if (top_k < row.allowed) {
        const Threshold found = search<Measure::Count, false>(row, cut, double(top_k));
        cut = {found.order, top_k - unsigned(found.above)};
    }
    auto weight_of_all = [&] {
        double mine = 0.0;
        for (unsigned id = threadIdx.x; id < row.allowed; id += blockDim.x) {
            const float z = row.logit(id);
            if (order_of(z) > cut.order) mine += double(row.weight(z));
        }
        const double total =
            block_sum(mine) + (cut.ties ? double(cut.ties) * double(row.weight(logit_of(cut.order))) : 0.0);
        __syncthreads();
        return total;
    };
    double total = weight_of_all();
    if (top_p < 1.0) {
        const double wanted = mul_rn(top_p, total);
        const Threshold found = search<Measure::Weight, false>(row, cut, wanted);
        const unsigned there = found.order == cut.order ? cut.ties : equals(row, found.order, at);
        const double weight = double(row.weight(logit_of(found.order)));
        cut = {found.order, there ? ties_to<false>(found.above, weight, there, wanted) : 0};
        total = add_rn(found.above, cut.ties ? mul_rn(double(cut.ties), weight) : 0.0);
        __syncthreads();
    }
    const double target = mul_rn(uniform, total);
    const Threshold found = search<Measure::Weight, true>(row, cut, target);
    unsigned order = found.order, there = equals(row, order, at), nth = 0;
    if (order == cut.order) there = cut.ties;
    if (there > 0) {
        nth = ties_to<true>(found.above, double(row.weight(logit_of(order))), there, target) - 1;
    } else {
        // By the rounding of sums nothing exceeds the target: the last of the kept tokens that have a weight.
        float least = -INFINITY;
        for (unsigned id = threadIdx.x; id < row.allowed; id += blockDim.x) {
            const float z = row.logit(id);
            if (order_of(z) > cut.order && row.weight(z) > 0.0f && -z > least) least = -z;
        }
        __syncthreads();
        least = -block_max(least, at);
        order = order_of(least);
        if (cut.ties && row.weight(logit_of(cut.order)) > 0.0f) order = cut.order;
        __syncthreads();
        there = equals(row, order, at);
        if (there == 0) return NO_TOKEN;
        nth = (order == cut.order ? cut.ties : there) - 1;
    }
    return threadIdx.x < 32 ? id_of(row, order, nth, at) : NO_TOKEN;
}

}  // namespace sampling
