// Attention over a packed forest in f64 by its definition, and random forests to try it on.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "../emulator/instructions.h"
#include "../emulator/trial.h"
#include "plan.h"

namespace reference {

using trial::below;
using trial::Random;
using Segments = std::vector<forest::Segment>;

struct Problem {
    Segments segments;
    int rows, heads, kv_heads, width;  // N, H, K, D
    std::vector<std::uint16_t> q, k, v, dout;
    double scale() const { return 1.0 / std::sqrt(double(width)); }
};

struct Result {
    std::vector<double> out, lse, dq, dk, dv;
};

// The key rows that each row sees: those of its prefixes, then its own segment up to itself.
inline std::vector<std::vector<int>> seen_rows(const Segments& segments) {
    std::vector<std::vector<int>> seen;
    for (auto& segment : segments)
        for (int row = segment.start; row < segment.end; ++row) {
            std::vector<int> rows;
            for (int p = segment.prefix; p >= 0; p = segments[std::size_t(p)].prefix)
                for (int key = segments[std::size_t(p)].start; key < segments[std::size_t(p)].end; ++key)
                    rows.push_back(key);
            for (int key = segment.start; key <= row; ++key) rows.push_back(key);
            seen.push_back(std::move(rows));
        }
    return seen;
}

inline std::vector<double> widen(const std::vector<std::uint16_t>& x) {
    std::vector<double> out(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) out[i] = emu::bf16_to_float(x[i]);
    return out;
}

inline Result attention(const Problem& p) {
    const int D = p.width, H = p.heads, K = p.kv_heads, group = H / K;
    const auto q = widen(p.q), k = widen(p.k), v = widen(p.v), dout = widen(p.dout);
    Result r{std::vector<double>(q.size()), std::vector<double>(std::size_t(H) * std::size_t(p.rows)),
             std::vector<double>(q.size()), std::vector<double>(k.size()), std::vector<double>(v.size())};
    const auto seen = seen_rows(p.segments);
    auto dot = [&](const double* a, const double* b) {
        double sum = 0;
        for (int i = 0; i < D; ++i) sum += a[i] * b[i];
        return sum;
    };
    std::vector<double> weights;
    for (int row = 0; row < p.rows; ++row)
        for (int head = 0; head < H; ++head) {
            const std::size_t at = std::size_t(row * H + head) * std::size_t(D);
            const auto& keys = seen[std::size_t(row)];
            auto key_at = [&](int key) { return std::size_t(key * K + head / group) * std::size_t(D); };
            double largest = -INFINITY, total = 0;
            weights.clear();
            for (int key : keys) {
                weights.push_back(dot(&q[at], &k[key_at(key)]) * p.scale());
                largest = std::max(largest, weights.back());
            }
            for (double& w : weights) total += w = std::exp(w - largest);
            r.lse[std::size_t(head * p.rows + row)] = largest + std::log(total);
            for (std::size_t n = 0; n < weights.size(); ++n) {
                weights[n] /= total;
                for (int i = 0; i < D; ++i)
                    r.out[at + std::size_t(i)] += weights[n] * v[key_at(keys[n]) + std::size_t(i)];
            }
            const double delta = dot(&dout[at], &r.out[at]);
            for (std::size_t n = 0; n < weights.size(); ++n) {
                const std::size_t key = key_at(keys[n]);
                const double ds = weights[n] * (dot(&dout[at], &v[key]) - delta) * p.scale();
                for (std::size_t i = 0; i < std::size_t(D); ++i) {
                    r.dv[key + i] += weights[n] * dout[at + i];
                    r.dq[at + i] += ds * k[key + i];
                    r.dk[key + i] += ds * q[at + i];
                }
            }
        }
    return r;
}

// A forest of up to nine segments and `most_rows` rows: short segments are as likely as long ones, whole tiles and
// empty segments come up too, and a prefix is any earlier segment, so that subtrees do not lie side by side.
inline Segments random_forest(Random& random, int most_rows) {
    Segments segments;
    std::vector<int> depth;
    int rows = 0;
    const int count = 1 + below(random, 9);
    auto length = [&]() -> int {
        switch (below(random, 5)) {
            case 0:
                return 1 + below(random, 8);
            case 1:
                return 1 + below(random, 40);
            case 2:
                return 16 << below(random, 4);
            case 3:
                return below(random, 8) == 0 ? 0 : 60 + below(random, 10);
            default:
                return 1 + below(random, 200);
        }
    };
    for (int s = 0; s < count; ++s) {
        int prefix = s == 0 || below(random, 4) == 0 ? -1 : below(random, s);
        if (prefix >= 0 && depth[std::size_t(prefix)] >= 3) prefix = -1;
        const int rows_of_segment = std::min(length(), most_rows - rows);
        segments.push_back({rows, rows + rows_of_segment, prefix});
        depth.push_back(prefix < 0 ? 0 : depth[std::size_t(prefix)] + 1);
        rows += rows_of_segment;
    }
    if (rows == 0) segments.push_back({0, 1, -1});
    return segments;
}

// Normal inputs; queries of size `sharpness`.
inline Problem random_problem(Segments segments, int width, int group, int kv_heads, double sharpness, Random& random) {
    const int rows = forest::count_rows(segments);
    Problem p{std::move(segments), rows, kv_heads * group, kv_heads, width, {}, {}, {}, {}};
    auto draw = [&](int heads, double size) {
        std::normal_distribution<double> normal(0, size);
        std::vector<std::uint16_t> out(std::size_t(rows) * std::size_t(heads) * std::size_t(width));
        for (auto& x : out) x = emu::float_to_bf16(float(normal(random)));
        return out;
    };
    p.q = draw(p.heads, sharpness);
    p.k = draw(kv_heads, 1);
    p.v = draw(kv_heads, 1);
    p.dout = draw(p.heads, 1);
    return p;
}

// |got - expected| / |expected|; infinite where anything is NaN.
inline double relative_error(const std::vector<double>& got, const std::vector<double>& expected) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        difference += (got[i] - expected[i]) * (got[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    if (std::isnan(difference)) return INFINITY;
    return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

inline double largest_difference(const std::vector<double>& got, const std::vector<double>& expected) {
    double largest = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
        largest = std::isnan(got[i]) ? INFINITY : std::max(largest, std::abs(got[i] - expected[i]));
    return largest;
}

}  // namespace reference
