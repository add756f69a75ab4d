// Rotary embedding of queries and keys in one launch, after a norm of each head (Qwen3) or a bias (Qwen2.5), forward
// and backward (`nn/ops/rope.rs`, `nn/ops/rms_norm.rs`, `nn/ops/bias.rs`).
//
//     n = x r gain, r = 1 / sqrt(mean(x^2) + eps)   or   n = x + bias   or   n = x
//     out_i = n_i cos_i - n_{i + D/2} sin_i      out_{i + D/2} = n_{i + D/2} cos_i + n_i sin_i      for i < D/2
//
// The backward turns by the opposite angle, then takes the norm's slope; r is computed again, since the head is at
// hand.
//
// A head of D elements is held by D / 2 / P lanes (8 for 128 in bf16), each with a packet of the first half and the
// packet that is turned with it. blockIdx.y chooses queries or keys. n is rounded to T as the composed operations round
// it.
//
// Bytes a row of H + K heads (bf16): forward 4 (H + K) D, backward 6 (H + K) D with the norm and 4 (H + K) D without,
// plus the tables, 4 D, which all heads of a row share. Operations: 3 of 2 elements for the rotation, 4 to 10 an
// element for the norm. Limited by memory.
#pragma once
#include "exact.cuh"
#include "packet.cuh"

namespace pointwise {

#ifdef __CUDACC__
__device__ __forceinline__ void sine_and_cosine_of_pi(double x, double& sine, double& cosine) {
    sincospi(x, &sine, &cosine);
}
__device__ __forceinline__ double nearest_integer(double x) { return rint(x); }
#else
inline void sine_and_cosine_of_pi(double x, double& sine, double& cosine) {
    sine = std::sin(3.14159265358979323846 * x);
    cosine = std::cos(3.14159265358979323846 * x);
}
inline double nearest_integer(double x) { return std::nearbyint(x); }
#endif

// Cosines and sines of position times frequency, made once a batch. The angle is taken modulo a turn in f64: an f32
// product would be off by 0.002 rad at position 32,768. (In half turns the sine needs no reduction of its own, whose
// slow path costs every thread local memory.)
__device__ __forceinline__ void rotary_tables(const unsigned* positions, const double* frequencies, float* cos,
                                              float* sin, unsigned rows, unsigned half) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= size_t(rows) * half) return;
    const unsigned row = unsigned(at / half), i = unsigned(at % half);
    const double half_turns =
        double(load_global(positions + row)) * load_global(frequencies + i) * 0.31830988618379067154;
    double sine, cosine;
    sine_and_cosine_of_pi(half_turns - 2.0 * nearest_integer(0.5 * half_turns), sine, cosine);
    store_global(cos + at, float(cosine));
    store_global(sin + at, float(sine));
}

// Queries or keys: the tensor that a block works on.
template <class T>
struct Heads {
    const T *x, *per_head;  // the gain of the norm, or the bias or null
    unsigned heads, stride;
};

template <class T>
struct HeadShape {
    unsigned half, lanes;
    bool whole;

    __device__ __forceinline__ HeadShape(unsigned head_dim, unsigned stride) {
        half = head_dim / 2;
        whole = half % PACKET<T> == 0 && stride % PACKET<T> == 0;
        lanes = 1;
        while (lanes * PACKET<T> < half) lanes *= 2;
    }
    __device__ __forceinline__ float sum(float x) const {
        for (unsigned mask = lanes / 2; mask > 0; mask /= 2) x += shuffle_xor(x, int(mask));
        return x;
    }
};

// The packet of the first half at `at` and the one that is turned with it; zeros for lanes without a head.
template <class T>
__device__ __forceinline__ void load_halves(float (&a)[PACKET<T>], float (&b)[PACKET<T>], const T* head, unsigned at,
                                            unsigned half, bool whole) {
    load_packet(a, head, at, half, whole);
    load_packet(b, head + half, at, half, whole);
}

enum class Before { Bias, Norm };

template <class T, Before BEFORE>
__device__ __forceinline__ void rope(Heads<T> t, const float* cos, const float* sin, T* out, unsigned rows,
                                     unsigned head_dim, float eps) {
    constexpr unsigned P = PACKET<T>;
    const HeadShape<T> shape(head_dim, t.stride);
    const unsigned half = shape.half, per_block = blockDim.x / shape.lanes, items = rows * t.heads;
    const unsigned at = threadIdx.x % shape.lanes * P;
    for (unsigned first = blockIdx.x * per_block; first < items; first += gridDim.x * per_block) {
        const unsigned item = first + threadIdx.x / shape.lanes;
        const bool active = item < items;
        const unsigned row = active ? item / t.heads : 0, head = active ? item % t.heads : 0, end = active ? half : 0;
        float a[P], b[P], cosine[P], sine[P];
        load_halves(a, b, t.x + size_t(row) * t.stride + head * head_dim, at, end, shape.whole);
        load_packet(cosine, cos + size_t(row) * half, at, end, shape.whole);
        load_packet(sine, sin + size_t(row) * half, at, end, shape.whole);
        if (BEFORE == Before::Norm) {
            float squares = 0.0f, gain_a[P], gain_b[P];
#pragma unroll
            for (unsigned i = 0; i < P; ++i) squares += a[i] * a[i] + b[i] * b[i];
            const float mean = div_rn(shape.sum(squares), float(head_dim));
            const float inverse = div_rn(1.0f, sqrt_rn(mean + eps));
            load_halves(gain_a, gain_b, t.per_head, at, end, shape.whole);
#pragma unroll
            for (unsigned i = 0; i < P; ++i) {
                a[i] = rounded<T>(rounded<T>(a[i] * inverse) * gain_a[i]);
                b[i] = rounded<T>(rounded<T>(b[i] * inverse) * gain_b[i]);
            }
        }
        if (BEFORE == Before::Bias && t.per_head) {
            float bias_a[P], bias_b[P];
            load_halves(bias_a, bias_b, t.per_head + head * head_dim, at, end, shape.whole);
#pragma unroll
            for (unsigned i = 0; i < P; ++i) a[i] = rounded<T>(a[i] + bias_a[i]), b[i] = rounded<T>(b[i] + bias_b[i]);
        }
#pragma unroll
        for (unsigned i = 0; i < P; ++i) {
            const float turned = a[i] * cosine[i] - b[i] * sine[i];
            b[i] = b[i] * cosine[i] + a[i] * sine[i];
            a[i] = turned;
        }
        T* to = out + size_t(item) * head_dim;
        store_packet(to, at, end, shape.whole, a);
        store_packet(to + half, at, end, shape.whole, b);
    }
}

// Back through the rotation alone. `t.x` is the gradient of the output, contiguous; `dx` has rows of `stride`.
template <class T>
__device__ __forceinline__ void rope_backward(Heads<T> t, const float* cos, const float* sin, T* dx, unsigned stride,
                                              unsigned rows, unsigned head_dim) {
    constexpr unsigned P = PACKET<T>;
    const HeadShape<T> shape(head_dim, stride);
    const unsigned half = shape.half, per_block = blockDim.x / shape.lanes, items = rows * t.heads;
    const unsigned at = threadIdx.x % shape.lanes * P;
    for (unsigned item = blockIdx.x * per_block + threadIdx.x / shape.lanes; item < items;
         item += gridDim.x * per_block) {
        const unsigned row = item / t.heads, head = item % t.heads;
        float a[P], b[P], cosine[P], sine[P];
        load_halves(a, b, t.x + size_t(item) * head_dim, at, half, shape.whole);
        load_packet(cosine, cos + size_t(row) * half, at, half, shape.whole);
        load_packet(sine, sin + size_t(row) * half, at, half, shape.whole);
#pragma unroll
        for (unsigned i = 0; i < P; ++i) {
            const float turned = a[i] * cosine[i] + b[i] * sine[i];
            b[i] = b[i] * cosine[i] - a[i] * sine[i];
            a[i] = turned;
        }
        T* to = dx + size_t(row) * stride + head * head_dim;
        store_packet(to, at, half, shape.whole, a);
        store_packet(to + half, at, half, shape.whole, b);
    }
}

// Back through rotation and norm, for the rows of this block. The gain's gradient is added up by each lane for its own
// elements, then over the lanes of a warp that hold the same ones, then over warps in shared memory.
template <class T>
__device__ __forceinline__ void norm_rope_backward(Heads<T> t, const float* cos, const float* sin, const T* dout, T* dx,
                                                   float* dgain, unsigned rows, unsigned head_dim,
                                                   unsigned rows_per_block, float eps) {
    constexpr unsigned P = PACKET<T>;
    const HeadShape<T> shape(head_dim, t.stride);
    const unsigned half = shape.half, per_block = blockDim.x / shape.lanes, at = threadIdx.x % shape.lanes * P;
    const unsigned first_row = blockIdx.x * rows_per_block, end_row = min(rows, first_row + rows_per_block);
    const unsigned end_item = end_row * t.heads;
    float gain_a[P], gain_b[P], sum_a[P] = {}, sum_b[P] = {};
    load_halves(gain_a, gain_b, t.per_head, at, half, shape.whole);
    for (unsigned first = first_row * t.heads; first < end_item; first += per_block) {
        const unsigned item = first + threadIdx.x / shape.lanes;
        const bool active = item < end_item;
        const unsigned row = active ? item / t.heads : 0, head = active ? item % t.heads : 0, end = active ? half : 0;
        const size_t place = size_t(row) * t.stride + head * head_dim;
        float a[P], b[P], slope_a[P], slope_b[P], cosine[P], sine[P];
        load_halves(a, b, t.x + place, at, end, shape.whole);
        load_halves(slope_a, slope_b, dout + (active ? size_t(item) * head_dim : 0), at, end, shape.whole);
        load_packet(cosine, cos + size_t(row) * half, at, end, shape.whole);
        load_packet(sine, sin + size_t(row) * half, at, end, shape.whole);
        float squares = 0.0f, pull = 0.0f;
#pragma unroll
        for (unsigned i = 0; i < P; ++i) squares += a[i] * a[i] + b[i] * b[i];
        const float mean = div_rn(shape.sum(squares), float(head_dim));
        const float inverse = div_rn(1.0f, sqrt_rn(mean + eps));
#pragma unroll
        for (unsigned i = 0; i < P; ++i) {
            const float turned_a = slope_a[i] * cosine[i] + slope_b[i] * sine[i];
            const float turned_b = slope_b[i] * cosine[i] - slope_a[i] * sine[i];
            sum_a[i] += turned_a * (a[i] * inverse);
            sum_b[i] += turned_b * (b[i] * inverse);
            slope_a[i] = turned_a * gain_a[i];
            slope_b[i] = turned_b * gain_b[i];
            pull += slope_a[i] * a[i] + slope_b[i] * b[i];
        }
        pull = div_rn(shape.sum(pull), float(head_dim)) * inverse * inverse;
#pragma unroll
        for (unsigned i = 0; i < P; ++i) {
            a[i] = inverse * (slope_a[i] - a[i] * pull);
            b[i] = inverse * (slope_b[i] - b[i] * pull);
        }
        store_packet(dx + place, at, end, shape.whole, a);
        store_packet(dx + place + half, at, end, shape.whole, b);
    }
    if (!dgain) return;
    // Of each warp: first and second half, element of the packet, lane; free of bank conflicts.
    const unsigned values = 2 * P * shape.lanes;
    const uint32_t mine = shared_start() + (threadIdx.x / 32 * values + threadIdx.x % shape.lanes) * 4;
#pragma unroll
    for (unsigned i = 0; i < P; ++i) {
        for (unsigned mask = shape.lanes; mask < 32; mask *= 2) {
            sum_a[i] += shuffle_xor(sum_a[i], int(mask));
            sum_b[i] += shuffle_xor(sum_b[i], int(mask));
        }
        if (threadIdx.x % 32 < shape.lanes) {
            store_shared(mine + i * shape.lanes * 4, sum_a[i]);
            store_shared(mine + (P + i) * shape.lanes * 4, sum_b[i]);
        }
    }
    __syncthreads();
    for (unsigned value = threadIdx.x; value < values; value += blockDim.x) {
        const unsigned column = value % shape.lanes * P + value / shape.lanes % P;
        if (column >= half) continue;
        float total = 0.0f;
        for (unsigned warp = 0; warp < blockDim.x / 32; ++warp)
            total += load_shared<float>(shared_start() + (warp * values + value) * 4);
        store_global(dgain + size_t(blockIdx.x) * head_dim + value / (P * shape.lanes) * half + column, total);
    }
}

}  // namespace pointwise

extern "C" __global__ void __launch_bounds__(256) rotary_table(const unsigned* positions, const double* frequencies,
                                                               float* cos, float* sin, unsigned rows, unsigned half) {
    pointwise::rotary_tables(positions, frequencies, cos, sin, rows, half);
}

#define ROPE_KERNELS(T, NAME)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        qk_norm_rope_##NAME(const T* q, const T* k, const T* q_gain, const T* k_gain, const float* cos,                \
                            const float* sin, T* q_out, T* k_out, unsigned rows, unsigned heads, unsigned kv_heads,    \
                            unsigned head_dim, unsigned q_stride, unsigned k_stride, float eps) {                      \
        const bool keys = blockIdx.y == 1;                                                                             \
        pointwise::Heads<T> t{keys ? k : q, keys ? k_gain : q_gain, keys ? kv_heads : heads,                           \
                              keys ? k_stride : q_stride};                                                             \
        pointwise::rope<T, pointwise::Before::Norm>(t, cos, sin, keys ? k_out : q_out, rows, head_dim, eps);           \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        rope_##NAME(const T* q, const T* k, const T* q_bias, const T* k_bias, const float* cos, const float* sin,      \
                    T* q_out, T* k_out, unsigned rows, unsigned heads, unsigned kv_heads, unsigned head_dim,           \
                    unsigned q_stride, unsigned k_stride) {                                                            \
        const bool keys = blockIdx.y == 1;                                                                             \
        pointwise::Heads<T> t{keys ? k : q, keys ? k_bias : q_bias, keys ? kv_heads : heads,                           \
                              keys ? k_stride : q_stride};                                                             \
        pointwise::rope<T, pointwise::Before::Bias>(t, cos, sin, keys ? k_out : q_out, rows, head_dim, 0.0f);          \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) qk_norm_rope_backward_##NAME(                                    \
        const T* q, const T* k, const T* q_gain, const T* k_gain, const float* cos, const float* sin, const T* dq_out, \
        const T* dk_out, T* dq, T* dk, float* dgain_parts, unsigned rows, unsigned heads, unsigned kv_heads,           \
        unsigned head_dim, unsigned q_stride, unsigned k_stride, unsigned rows_per_block, float eps) {                 \
        const bool keys = blockIdx.y == 1;                                                                             \
        pointwise::Heads<T> t{keys ? k : q, keys ? k_gain : q_gain, keys ? kv_heads : heads,                           \
                              keys ? k_stride : q_stride};                                                             \
        float* parts = dgain_parts && keys ? dgain_parts + size_t(gridDim.x) * head_dim : dgain_parts;                 \
        pointwise::norm_rope_backward<T>(t, cos, sin, keys ? dk_out : dq_out, keys ? dk : dq, parts, rows, head_dim,   \
                                         rows_per_block, eps);                                                         \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) rope_backward_##NAME(                                            \
        const T* dq_out, const T* dk_out, const float* cos, const float* sin, T* dq, T* dk, unsigned rows,             \
        unsigned heads, unsigned kv_heads, unsigned head_dim, unsigned q_stride, unsigned k_stride) {                  \
        const bool keys = blockIdx.y == 1;                                                                             \
        pointwise::Heads<T> t{keys ? dk_out : dq_out, nullptr, keys ? kv_heads : heads, 0};                            \
        pointwise::rope_backward<T>(t, cos, sin, keys ? dk : dq, keys ? k_stride : q_stride, rows, head_dim);          \
    }
ROPE_KERNELS(pointwise::bf16, bf16)
ROPE_KERNELS(float, f32)
#undef ROPE_KERNELS
