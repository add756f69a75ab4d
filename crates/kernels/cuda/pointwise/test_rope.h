// Rotary tables, and rotation after a norm or a bias, against f64; queries and keys as columns of one product.
#pragma once
#include "rope.cuh"
#include "test_norm.h"
#include "test_support.h"

namespace test {

struct RopeShape {
    unsigned rows, heads, kv_heads, head_dim, padding;
    bool with_gain, with_bias;
    unsigned stride() const { return (heads + 2 * kv_heads) * head_dim + padding; }
    unsigned half() const { return head_dim / 2; }
    std::string text() const {
        return std::to_string(rows) + " rows, heads " + std::to_string(heads) + "/" + std::to_string(kv_heads) +
               " of " + std::to_string(head_dim) + ", padding " + std::to_string(padding);
    }
};

inline unsigned head_lanes(unsigned half, unsigned packet) {
    unsigned lanes = 1;
    while (lanes * packet < half) lanes *= 2;
    return lanes;
}

struct Angles {
    std::vector<double> cos, sin;
};

// Makes the tables on the device; the exact ones are returned.
inline Angles make_tables(const RopeShape& s, Buffer<float>& cos, Buffer<float>& sin, Random& random) {
    std::vector<unsigned> positions(s.rows);
    for (auto& p : positions) p = below(random, random() % 2 ? 131072 : 3000);
    std::vector<double> frequencies(s.half());
    for (unsigned i = 0; i < s.half(); ++i) frequencies[i] = std::pow(1e6, -2.0 * i / s.head_dim);
    Buffer<unsigned> device_positions("positions", positions);
    Buffer<double> device_frequencies("frequencies", frequencies);
    run("rotary_table", random, divide_up(s.rows * s.half(), 256), 256, 0, [&] {
        rotary_table(device_positions.data(), device_frequencies.data(), cos.data(), sin.data(), s.rows, s.half());
    });
    Angles exact;
    for (auto position : positions)
        for (auto frequency : frequencies) {
            exact.cos.push_back(std::cos(position * frequency));
            exact.sin.push_back(std::sin(position * frequency));
        }
    near_absolute("rope: cos", wide<float>(cos), exact.cos, 1e-7, s.text());
    near_absolute("rope: sin", wide<float>(sin), exact.sin, 1e-7, s.text());
    return exact;
}

// The reference of one head: rotation of `n`, and rotation back.
inline std::vector<double> turned(const std::vector<double>& n, const double* cos, const double* sin, double sign) {
    const std::size_t half = n.size() / 2;
    std::vector<double> out(n.size());
    for (std::size_t i = 0; i < half; ++i) {
        out[i] = n[i] * cos[i] - sign * n[half + i] * sin[i];
        out[half + i] = n[half + i] * cos[i] + sign * n[i] * sin[i];
    }
    return out;
}

// Queries or keys: where they are in the product, and what is expected of them.
struct RopePart {
    unsigned heads;
    std::size_t offset;
    std::vector<double> per_head, out, dx, dgain;
};

template <class T>
void expect_rope(const RopeShape& s, const Angles& angles, bool norm, float eps, const std::vector<double>& x,
                 const std::vector<double>& dout, RopePart& part) {
    const unsigned D = s.head_dim;
    part.out.resize(std::size_t(s.rows) * part.heads * D);
    part.dx.resize(part.out.size());
    part.dgain.assign(D, 0);
    for (unsigned row = 0; row < s.rows; ++row)
        for (unsigned head = 0; head < part.heads; ++head) {
            const double* in = &x[std::size_t(row) * s.stride() + part.offset + head * D];
            const std::size_t at = (std::size_t(row) * part.heads + head) * D;
            const double *cos = &angles.cos[std::size_t(row) * s.half()],
                         *sin = &angles.sin[std::size_t(row) * s.half()];
            std::vector<double> n(in, in + D);
            double squares = 0, pull = 0;
            for (double v : n) squares += v * v;
            const double r = 1 / std::sqrt(squares / D + eps);
            for (unsigned i = 0; i < D; ++i) {
                if (norm)
                    n[i] = stored<T>(stored<T>(n[i] * r) * part.per_head[i]);
                else if (!part.per_head.empty())
                    n[i] = stored<T>(n[i] + part.per_head[head * D + i]);
            }
            const auto out = turned(n, cos, sin, 1);
            const auto slope = turned({dout.begin() + at, dout.begin() + at + D}, cos, sin, -1);
            for (unsigned i = 0; i < D; ++i) pull += part.per_head.empty() ? 0 : part.per_head[i] * slope[i] * in[i];
            for (unsigned i = 0; i < D; ++i) {
                part.out[at + i] = out[i];
                part.dx[at + i] = norm ? r * (part.per_head[i] * slope[i] - in[i] * r * r * pull / D) : slope[i];
                part.dgain[i] += slope[i] * in[i] * r;
            }
        }
}

// The rows of queries or keys out of the product.
template <class T>
std::vector<T> columns(const std::vector<T>& x, const RopeShape& s, const RopePart& part) {
    std::vector<T> out;
    for (unsigned row = 0; row < s.rows; ++row) {
        auto first = x.begin() + std::ptrdiff_t(std::size_t(row) * s.stride() + part.offset);
        out.insert(out.end(), first, first + part.heads * s.head_dim);
    }
    return out;
}

template <class T>
void test_rope(const RopeShape& s, bool norm, Random& random) {
    const float eps = random() % 2 ? 1e-6f : 0.5f;
    const unsigned D = s.head_dim, stride = s.stride(), lanes = head_lanes(s.half(), pointwise::PACKET<T>);
    const std::size_t queries = std::size_t(s.rows) * s.heads * D, keys = std::size_t(s.rows) * s.kv_heads * D;
    const auto x = tensor<T>(random, std::size_t(s.rows) * stride, 2);
    const auto q_per = tensor<T>(random, norm ? D : s.heads * D, 0.5, 1),
               k_per = tensor<T>(random, norm ? D : s.kv_heads * D, 0.5, 1);
    const auto dq_out = tensor<T>(random, queries), dk_out = tensor<T>(random, keys);
    Buffer<T> product("q, k, v", x), q_gain("q gain", q_per), k_gain("k gain", k_per), dqs("dq_out", dq_out),
        dks("dk_out", dk_out);
    Buffer<T> q_out("q_out", queries), k_out("k_out", keys), slopes("dq, dk, dv", x.size());
    Buffer<float> cos("cos", std::size_t(s.rows) * s.half()), sin("sin", std::size_t(s.rows) * s.half());
    const Angles angles = make_tables(s, cos, sin, random);
    RopePart q{s.heads, 0, {}, {}, {}, {}}, k{s.kv_heads, std::size_t(s.heads) * D, {}, {}, {}, {}};
    if (norm || s.with_bias) q.per_head = wide<T>(q_per), k.per_head = wide<T>(k_per);
    expect_rope<T>(s, angles, norm, eps, wide<T>(x), wide<T>(dq_out), q);
    expect_rope<T>(s, angles, norm, eps, wide<T>(x), wide<T>(dk_out), k);

    const unsigned most = divide_up(s.rows * s.heads * lanes, 256);
    const unsigned grid = random() % 3 == 0 ? 1 + below(random, most) : most;
    const unsigned rows_per_block = 1 + below(random, s.rows), blocks = divide_up(s.rows, rows_per_block);
    Buffer<float> parts("parts", std::size_t(2) * blocks * D);
    const T *q_in = product.data(), *k_in = product.data() + k.offset;
    T *dq = slopes.data(), *dk = slopes.data() + k.offset;
    const auto forward = named<T>(norm ? "qk_norm_rope" : "rope"),
               backward = named<T>(norm ? "qk_norm_rope_backward" : "rope_backward");
    const auto report = run(forward, random, {grid, 2}, 256, 0, [&] {
        if (norm)
            KERNEL(qk_norm_rope, T, q_in, k_in, q_gain.data(), k_gain.data(), cos.data(), sin.data(), q_out.data(),
                   k_out.data(), s.rows, s.heads, s.kv_heads, D, stride, stride, eps);
        else
            KERNEL(rope, T, q_in, k_in, s.with_bias ? q_gain.data() : nullptr, s.with_bias ? k_gain.data() : nullptr,
                   cos.data(), sin.data(), q_out.data(), k_out.data(), s.rows, s.heads, s.kv_heads, D, stride, stride);
    });
    check::that(report.global_bytes_written == sizeof(T) * (queries + keys), "bytes that the rotation writes");
    if (norm)
        run(backward, random, {blocks, 2}, 256, 64 * pointwise::PACKET<T> * lanes, [&] {
            KERNEL(qk_norm_rope_backward, T, q_in, k_in, q_gain.data(), k_gain.data(), cos.data(), sin.data(),
                   dqs.data(), dks.data(), dq, dk, s.with_gain ? parts.data() : nullptr, s.rows, s.heads, s.kv_heads, D,
                   stride, stride, rows_per_block, eps);
        });
    else
        run(backward, random, {grid, 2}, 256, 0, [&] {
            KERNEL(rope_backward, T, dqs.data(), dks.data(), cos.data(), sin.data(), dq, dk, s.rows, s.heads,
                   s.kv_heads, D, stride, stride);
        });
    // The values and the padding belong to others.
    check::that(q_out.unwritten() + k_out.unwritten() == 0, "all of the rotation is written");
    check::that(slopes.unwritten() == x.size() - queries - keys, "the backward writes queries and keys alone");

    const auto got = slopes.values();
    near_rounded(forward + ": q", q_out.values(), q.out, s.text());
    near_rounded(forward + ": k", k_out.values(), k.out, s.text());
    near_rounded(forward + ": dq", columns(got, s, q), q.dx, s.text());
    near_rounded(forward + ": dk", columns(got, s, k), k.dx, s.text());
    if (!norm || !s.with_gain) return;
    const auto all = parts.values();
    const std::vector<float> of_q(all.begin(), all.begin() + blocks * D), of_k(all.begin() + blocks * D, all.end());
    Buffer<float> q_parts("parts of q", of_q), k_parts("parts of k", of_k);
    near(forward + ": dgain of q", added_parts(q_parts, blocks, D, false, random), q.dgain, 1e-5, s.text());
    near(forward + ": dgain of k", added_parts(k_parts, blocks, D, true, random), k.dgain, 1e-5, s.text());
}

inline void test_ropes(Random& random, int rounds) {
    test_rope<bf16>({3, 32, 8, 128, 0, true, false}, true, random);   // Qwen3-4B
    test_rope<bf16>({2, 28, 4, 128, 0, false, true}, false, random);  // Qwen2.5-7B
    test_rope<float>({2, 16, 8, 256, 0, true, true}, true, random);   // the widest in f32
    test_rope<bf16>({1, 2, 1, 512, 0, true, true}, true, random);
    const unsigned widths[] = {128, 64, 96, 80, 20, 6, 2, 256, 112};
    for (int round = 0; round < rounds; ++round) {
        const unsigned kv_heads = 1 + below(random, 3);
        const RopeShape shape{1 + below(random, 9),     kv_heads * (1 + below(random, 4)),        kv_heads,
                              widths[below(random, 9)], random() % 3 == 0 ? below(random, 9) : 0, random() % 4 != 0,
                              random() % 2 == 0};
        // The norm of two elements leaves no slope but its rounding.
        const bool norm = random() % 2 == 0 && shape.head_dim > 2;
        if (round % 3 == 0)
            test_rope<float>(shape, norm, random);
        else
            test_rope<bf16>(shape, norm, random);
    }
}

}  // namespace test
