// Norms against f64, their traffic, and equal bits in any order.
#pragma once
#include "columns.cuh"
#include "norm.cuh"
#include "test_support.h"

namespace test {

struct NormShape {
    unsigned rows, width;
    bool add, in_place, with_gain, accumulate;
    std::string text() const {
        return std::to_string(rows) + " x " + std::to_string(width) + (add ? ", residual" : "") +
               (in_place ? ", in place" : "");
    }
};

inline unsigned norm_threads(unsigned width) { return divide_up(width, 16 * 32) * 32; }

// Adds parts as the host does, onto ones if asked to.
inline std::vector<double> added_parts(Buffer<float>& parts, unsigned count, unsigned width, bool accumulate,
                                       Random& random) {
    InOut<float> sums("sums", std::vector<float>(width, 1.0f));
    run("column_sums_f32", random, divide_up(width, 128), 256, 4096,
        [&] { column_sums_f32(parts.data(), sums.data(), count, width, width, count, accumulate); });
    auto out = wide<float>(sums);
    if (accumulate)
        for (auto& x : out) x -= 1.0;
    return out;
}

template <class T>
void test_norm(const NormShape& s, Random& random) {
    const float eps = random() % 2 ? 1e-6f : 0.5f;  // the larger shows where it is added
    const std::size_t count = std::size_t(s.rows) * s.width;
    const auto x = tensor<T>(random, count, 2), residual = tensor<T>(random, count),
               gain = tensor<T>(random, s.width, 0.5, 1);
    const auto dout = tensor<T>(random, count), dresidual = tensor<T>(random, count);
    const unsigned threads = std::min(512u, norm_threads(s.width) + 32 * (random() % 3 ? 0 : below(random, 3)));
    const unsigned rows_per_block = 1 + below(random, s.rows);
    const unsigned grid = below(random, 3) == 0 ? 1 + below(random, s.rows) : s.rows;
    const unsigned blocks = divide_up(s.rows, rows_per_block);

    Buffer<T> gains("gain", gain), others("residual", residual), douts("dout", dout);
    InOut<T> xs("x", x), dx("dx and dresidual", dresidual);
    Buffer<T> sums("sum", count), out("out", count);
    Buffer<float> inverse("inverse_rms", s.rows), parts("parts", std::size_t(blocks) * s.width);
    T* sum = s.add ? (s.in_place ? xs.data() : sums.data()) : xs.data();
    const auto forward = named<T>(s.add ? "add_rms_norm" : "rms_norm"), backward = named<T>("rms_norm_backward");
    const auto report = run(forward, random, grid, threads, 256, [&] {
        if (s.add)
            KERNEL(add_rms_norm, T, xs.data(), others.data(), gains.data(), sum, out.data(), inverse.data(), s.rows,
                   s.width, eps);
        else
            KERNEL(rms_norm, T, xs.data(), gains.data(), out.data(), inverse.data(), s.rows, s.width, eps);
    });
    // The bytes of the header: 4 n + 4 and 8 n + 4 a row of bf16, and the gain.
    check::that(report.global_bytes_read == sizeof(T) * (count * (s.add ? 2 : 1) + std::size_t(s.rows) * s.width) &&
                    report.global_bytes_written == sizeof(T) * count * (s.add ? 2 : 1) + 4 * s.rows,
                "bytes of the norm");
    const auto back = run(backward, random, blocks, threads, 256, [&] {
        KERNEL(rms_norm_backward, T, sum, gains.data(), douts.data(), inverse.data(), s.add ? dx.data() : nullptr,
               dx.data(), s.with_gain ? parts.data() : nullptr, s.rows, s.width, rows_per_block);
    });
    if (whole_sectors(s.width, sizeof(T))) {
        check_coalesced(report, forward.c_str());
        if (!s.with_gain) check_coalesced(back, backward.c_str());
    }
    check::that(out.unwritten() + inverse.unwritten() == 0, "all of the norm is written");

    const auto wx = wide<T>(x), wr = wide<T>(residual), g = wide<T>(gain), d = wide<T>(dout), dr = wide<T>(dresidual);
    // The norm is that of the sum as it was rounded.
    const auto y = s.add && !s.in_place ? wide<T>(sums) : wide<T>(xs);
    std::vector<double> exact(wx), expected(count), slopes(count), inverses(s.rows), dgain(s.width);
    if (s.add)
        for (std::size_t i = 0; i < count; ++i) exact[i] += wr[i];
    near_rounded(named<T>("norm: sum"), s.add && !s.in_place ? sums.values() : xs.values(), exact, s.text());
    for (unsigned row = 0; row < s.rows; ++row) {
        const std::size_t start = std::size_t(row) * s.width;
        double squares = 0, pull = 0;
        for (unsigned i = 0; i < s.width; ++i)
            squares += y[start + i] * y[start + i], pull += g[i] * d[start + i] * y[start + i];
        const double r = inverses[row] = 1 / std::sqrt(squares / s.width + eps);
        for (unsigned i = 0; i < s.width; ++i) {
            const std::size_t at = start + i;
            expected[at] = stored<T>(y[at] * r) * g[i];
            slopes[at] = r * (g[i] * d[at] - y[at] * r * r * pull / s.width) + (s.add ? dr[at] : 0);
            dgain[i] += d[at] * y[at] * r;
        }
    }
    near_rounded(named<T>("norm: out"), out.values(), expected, s.text());
    near(named<T>("norm: inverse_rms"), wide<float>(inverse), inverses, 1e-6, s.text());
    near_rounded(named<T>("norm: dx"), dx.values(), slopes, s.text());
    if (s.with_gain)
        near(named<T>("norm: dgain"), added_parts(parts, blocks, s.width, s.accumulate, random), dgain, 1e-5, s.text());
}

inline void test_norms(Random& random, int rounds) {
    test_norm<bf16>({3, 2560, true, true, true, false}, random);
    test_norm<bf16>({2, 3584, true, false, true, true}, random);
    test_norm<float>({2, 2560, true, false, true, false}, random);
    test_norm<float>({1, 8192, false, false, true, false}, random);
    for (int round = 0; round < rounds; ++round) {
        // Of one element nothing but the rounding of its slope is left.
        const NormShape shape{1 + below(random, 12), std::max(5u, some_width(random, 700)),
                              random() % 2 == 0,     random() % 2 == 0,
                              random() % 4 != 0,     random() % 2 == 0};
        if (round % 3 == 0)
            test_norm<float>(shape, random);
        else
            test_norm<bf16>(shape, random);
    }
}

}  // namespace test
