// Gated activation, biases and sums of columns against f64.
#pragma once
#include "columns.cuh"
#include "swiglu.cuh"
#include "test_support.h"

namespace test {

template <class T>
void test_swiglu(unsigned rows, unsigned width, unsigned padding, bool fused, Random& random) {
    const std::string shape = std::to_string(rows) + " x " + std::to_string(width) + (fused ? ", fused" : "");
    // Gate and up are columns of one product, or two products.
    const unsigned stride = (fused ? 2 * width : width) + padding;
    const std::size_t count = std::size_t(rows) * width, all = std::size_t(rows) * stride * (fused ? 1 : 2);
    auto x = tensor<T>(random, all, 2);
    // Gates at which the sigmoid and its exponential run out of range.
    for (double extreme : {-200.0, -88.0, 90.0, 0.0, 200.0})
        x[below(random, unsigned(all))] = pointwise::narrow<T>(float(extreme));
    const auto dout = tensor<T>(random, count);
    Buffer<T> douts("dout", dout), out("out", count), again("out again", count);
    InOut<T> product("gate, up", x);
    T *gate = product.data(), *up = gate + (fused ? width : all / 2);
    const bool with_out = random() % 2, in_place = random() % 2;
    Buffer<T> slopes("dgate, dup", all);
    T *dgate = in_place ? gate : slopes.data(), *dup = in_place ? up : slopes.data() + (up - gate);
    const unsigned grid = 1 + below(random, rows);
    const auto name = named<T>("swiglu"), back_name = named<T>("swiglu_backward");
    const auto report =
        run(name, random, grid, 256, 0, [&] { KERNEL(swiglu, T, gate, up, out.data(), rows, width, stride, stride); });
    const auto back = run(back_name, random, grid, 256, 0, [&] {
        KERNEL(swiglu_backward, T, gate, up, douts.data(), dgate, dup, with_out ? again.data() : nullptr, rows, width,
               stride, stride);
    });
    check::that(report.global_bytes_read == 2 * count * sizeof(T) && report.global_bytes_written == count * sizeof(T) &&
                    back.global_bytes_read == 3 * count * sizeof(T) &&
                    back.global_bytes_written == (with_out ? 3 : 2) * count * sizeof(T),
                "bytes of the gated activation");
    if (whole_sectors(width, sizeof(T)) && whole_sectors(stride, sizeof(T))) {
        check_coalesced(report, name.c_str());
        check_coalesced(back, back_name.c_str());
    }
    check::that(out.unwritten() + (with_out ? again.unwritten() : 0) == 0, "all of the gated activation is written");
    check::that(!with_out || again.values() == out.values(), "the backward writes the forward's bits");
    const auto w = wide<T>(x), d = wide<T>(dout);
    const auto got = in_place ? product.values() : slopes.values();
    std::vector<double> expected, dgates, dups;
    std::vector<T> got_dgates, got_dups;
    for (unsigned row = 0; row < rows; ++row)
        for (unsigned i = 0; i < width; ++i) {
            const std::size_t at = std::size_t(row) * stride + i, other = at + std::size_t(up - gate);
            const double g = w[at], u = w[other], s = 1 / (1 + std::exp(-g)), slope = d[std::size_t(row) * width + i];
            expected.push_back(stored<T>(g * s) * u);
            dgates.push_back(slope * u * s * (1 + g * (1 - s)));
            dups.push_back(slope * g * s);
            got_dgates.push_back(got[at]);
            got_dups.push_back(got[other]);
        }
    near_rounded(named<T>("swiglu: out"), out.values(), expected, shape);
    near_rounded(named<T>("swiglu: dgate"), got_dgates, dgates, shape);
    near_rounded(named<T>("swiglu: dup"), got_dups, dups, shape);
}

template <class T>
void test_columns(unsigned rows, unsigned width, unsigned padding, Random& random) {
    const std::string shape = std::to_string(rows) + " x " + std::to_string(width) + " + " + std::to_string(padding);
    const unsigned stride = width + padding, tile = 32 * pointwise::PACKET<T>, rows_per_block = 1 + below(random, rows);
    const unsigned blocks = divide_up(rows, rows_per_block);
    const auto x = tensor<T>(random, std::size_t(rows) * stride), bias = tensor<T>(random, width);
    InOut<T> xs("x", x);
    Buffer<T> biases("bias", bias);
    const auto name = named<T>("column_sums"), bias_name = named<T>("add_bias");
    const auto before = random() % 2 == 0 ? tensor<float>(random, width) : std::vector<float>();
    Buffer<float> parts("parts", std::size_t(blocks) * width);
    InOut<float> sums("sums", before.empty() ? std::vector<float>(width, NAN) : before);
    run(name, random, {divide_up(width, tile), blocks}, 256, 8 * tile * 4,
        [&] { KERNEL(column_sums, T, xs.data(), parts.data(), rows, width, stride, rows_per_block, 0); });
    run("column_sums_f32", random, divide_up(width, 128), 256, 4096,
        [&] { column_sums_f32(parts.data(), sums.data(), blocks, width, width, blocks, !before.empty()); });
    run(bias_name, random, 1 + below(random, rows), 256, 0,
        [&] { KERNEL(add_bias, T, xs.data(), biases.data(), rows, width, stride); });
    check::that(parts.unwritten() == 0, "all parts are written");
    auto expected = wide<T>(x);
    const auto b = wide<T>(bias);
    std::vector<double> totals(width), most(width);
    for (unsigned i = 0; i < width; ++i) {
        totals[i] = before.empty() ? 0 : before[i];
        for (unsigned row = 0; row < rows; ++row) {
            totals[i] += expected[std::size_t(row) * stride + i];
            expected[std::size_t(row) * stride + i] += b[i];
        }
    }
    near(named<T>("columns: sums"), wide<float>(sums), totals, 2e-6, shape);
    near_rounded(named<T>("columns: bias"), xs.values(), expected, shape);
}

inline void test_activations(Random& random, int rounds) {
    test_swiglu<bf16>(2, 9728, 0, true, random);
    test_columns<bf16>(70, 3584, 0, random);
    for (int round = 0; round < rounds; ++round) {
        const unsigned rows = 1 + below(random, 9), width = some_width(random, 600),
                       padding = random() % 2 ? 0 : 8 * below(random, 3);
        if (round % 3 == 0)
            test_swiglu<float>(rows, width, padding, random() % 2, random);
        else
            test_swiglu<bf16>(rows, width, padding + below(random, 8) / 7, random() % 2, random);
        if (round % 3 == 0)
            test_columns<float>(rows * 5, width, padding, random);
        else
            test_columns<bf16>(rows * 5, width, padding + below(random, 8) / 7, random);
    }
}

}  // namespace test
