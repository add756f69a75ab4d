// Rows by number, and the gradient of the table they come from.
#pragma once
#include <algorithm>

#include "rows.cuh"
#include "test_support.h"

namespace test {

template <class T>
void test_gather(unsigned rows, unsigned width, unsigned vocabulary, Random& random) {
    const auto table = tensor<T>(random, std::size_t(vocabulary) * width);
    std::vector<unsigned> indices(rows);
    for (auto& index : indices) index = random() % 5 == 0 ? pointwise::NO_ROW : below(random, vocabulary);
    Buffer<T> tables("table", table), out("out", std::size_t(rows) * width);
    Buffer<unsigned> numbers("indices", indices);
    run(named<T>("gather_rows"), random, 1 + below(random, rows), 128, 0,
        [&] { KERNEL(gather_rows, T, tables.data(), numbers.data(), out.data(), rows, width); });
    bool equal = true;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const unsigned index = indices[i / width];
        equal = equal && out[i] == (index == pointwise::NO_ROW ? T(0) : table[std::size_t(index) * width + i % width]);
    }
    check::that(equal, "gathered rows are those of the table");
}

template <class T>
void test_embedding_gradient(unsigned rows, unsigned width, unsigned vocabulary, Random& random) {
    const std::string shape =
        std::to_string(rows) + " x " + std::to_string(width) + " of " + std::to_string(vocabulary);
    // Some tokens come in most places.
    std::vector<unsigned> tokens(rows), order(rows), starts, ids;
    for (auto& token : tokens) token = random() % 2 ? below(random, 2) % vocabulary : below(random, vocabulary);
    for (unsigned i = 0; i < rows; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](unsigned a, unsigned b) { return tokens[a] < tokens[b]; });
    for (unsigned i = 0; i < rows; ++i)
        if (i == 0 || tokens[order[i]] != tokens[order[i - 1]]) starts.push_back(i), ids.push_back(tokens[order[i]]);
    starts.push_back(rows);
    const auto dout = tensor<T>(random, std::size_t(rows) * width);
    const auto before = tensor<float>(random, std::size_t(vocabulary) * width);
    Buffer<T> douts("dout", dout);
    Buffer<unsigned> orders("order", order), segment_starts("starts", starts), segment_ids("ids", ids);
    const unsigned P = pointwise::PACKET<T>;
    auto once = [&] {
        InOut<float> gradient("gradient", before);
        run(named<T>("embedding_gradient"), random, {unsigned(ids.size()), divide_up(width, 32 * P)}, 128,
            4 * 32 * P * 4, [&] {
                KERNEL(embedding_gradient, T, douts.data(), orders.data(), segment_starts.data(), segment_ids.data(),
                       gradient.data(), unsigned(ids.size()), width);
            });
        return gradient.values();
    };
    const auto got = once();
    check::that(once() == got, "another order of blocks and warps gives the same gradient");
    auto expected = wide<float>(before);
    const auto d = wide<T>(dout);
    for (std::size_t i = 0; i < d.size(); ++i) expected[std::size_t(tokens[i / width]) * width + i % width] += d[i];
    near(named<T>("rows: gradient"), wide<float>(got), expected, 2e-6, shape);
    // Rows of tokens that did not come keep their bits.
    bool kept = true;
    for (std::size_t i = 0; i < got.size(); ++i)
        if (!std::binary_search(ids.begin(), ids.end(), unsigned(i / width))) kept = kept && got[i] == before[i];
    check::that(kept, "other rows of the gradient are as they were");
}

inline void test_rows(Random& random, int rounds) {
    test_embedding_gradient<bf16>(100, 2560, 11, random);
    for (int round = 0; round < rounds; ++round) {
        const unsigned rows = 1 + below(random, 60), width = some_width(random, 500),
                       vocabulary = 1 + below(random, 30);
        test_gather<bf16>(rows, width, vocabulary, random);
        test_gather<float>(rows, width, vocabulary, random);
        if (round % 3 == 0)
            test_embedding_gradient<float>(rows, width, vocabulary, random);
        else
            test_embedding_gradient<bf16>(rows, width, vocabulary, random);
    }
}

}  // namespace test
