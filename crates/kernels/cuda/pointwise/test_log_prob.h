// Log-probabilities, entropies and their slopes against f64.
#pragma once
#include "log_prob.cuh"
#include "test_support.h"

namespace test {

struct LogProbShape {
    unsigned rows, vocabulary, padding;
    double size, temperature;
    bool with_entropy, with_impossible;
    std::string text() const {
        return std::to_string(rows) + " x " + std::to_string(vocabulary) + " + " + std::to_string(padding) +
               ", logits of " + std::to_string(size) + " at " + std::to_string(temperature);
    }
};

template <class T>
void test_log_prob(const LogProbShape& s, Random& random) {
    const unsigned stride = s.vocabulary + s.padding, threads = 32 * (1 + below(random, 16));
    auto logits = tensor<float>(random, std::size_t(s.rows) * stride, s.size);
    std::vector<unsigned> targets(s.rows);
    for (auto& target : targets) target = below(random, s.vocabulary);
    if (s.with_impossible)  // logits of minus infinity, but for the targets
        for (unsigned i = 0; i < s.vocabulary * s.rows / 3; ++i) {
            const unsigned row = below(random, s.rows), column = below(random, s.vocabulary);
            if (column != targets[row]) logits[std::size_t(row) * stride + column] = -INFINITY;
        }
    const auto dlog_probs = tensor<float>(random, s.rows), dentropies = tensor<float>(random, s.rows);
    const float inverse = float(1 / s.temperature);
    InOut<float> zs("logits", logits);
    Buffer<unsigned> target_ids("targets", targets);
    Buffer<float> dlogs("dlog_probs", dlog_probs), dhs("dentropies", dentropies);
    Buffer<float> log_probs("log_probs", s.rows), entropies("entropies", s.rows), log_sums("log_sums", s.rows);
    const auto forward = run("log_prob_rows", random, s.rows, threads, 384, [&] {
        log_prob_rows(zs.data(), target_ids.data(), log_probs.data(), entropies.data(), log_sums.data(), s.rows,
                      s.vocabulary, stride, inverse);
    });
    check::that(forward.global_bytes_read == 4 * s.rows * (std::size_t(s.vocabulary) + 2), "logits are read once");
    Buffer<T> narrow("slopes", logits.size());
    T* slopes = narrow.data();
    if constexpr (sizeof(T) == 4) slopes = zs.data();
    const auto name = named<T>("log_prob_slopes");
    const auto report = run(name, random, {s.rows, 1 + below(random, 4)}, 256, 0, [&] {
        KERNEL(log_prob_slopes, T, zs.data(), target_ids.data(), dlogs.data(), s.with_entropy ? dhs.data() : nullptr,
               log_sums.data(), entropies.data(), slopes, s.rows, s.vocabulary, stride, stride, inverse);
    });
    if (whole_sectors(s.vocabulary, sizeof(T)) && whole_sectors(stride, sizeof(T)) && s.vocabulary > 1000) {
        check_coalesced(forward, "log_prob_rows");
        check_coalesced(report, name.c_str());
    }
    std::vector<double> expected_logs, expected_entropies, expected;
    std::vector<T> got;
    double largest = 0, slope_error = 0;
    for (unsigned row = 0; row < s.rows; ++row) {
        const float* z = &logits[std::size_t(row) * stride];
        double most = -INFINITY, total = 0, entropy = 0;
        for (unsigned i = 0; i < s.vocabulary; ++i) most = std::max(most, double(z[i]) * inverse);
        largest = std::max(largest, std::abs(most));
        for (unsigned i = 0; i < s.vocabulary; ++i) total += std::exp(double(z[i]) * inverse - most);
        const double log_sum = most + std::log(total);
        for (unsigned i = 0; i < s.vocabulary; ++i) {
            const double log_p = double(z[i]) * inverse - log_sum;
            if (std::exp(log_p) > 0) entropy -= std::exp(log_p) * log_p;
        }
        expected_logs.push_back(double(z[targets[row]]) * inverse - log_sum);
        expected_entropies.push_back(entropy);
        for (unsigned i = 0; i < s.vocabulary; ++i) {
            const double log_p = double(z[i]) * inverse - log_sum, p = std::exp(log_p);
            double slope = ((i == targets[row]) - p) * dlog_probs[row];
            if (s.with_entropy && p > 0) slope -= p * (log_p + entropy) * dentropies[row];
            expected.push_back(slope * inverse);
            got.push_back(slopes[std::size_t(row) * stride + i]);
            // The size of what is added up, which may cancel.
            const double size = std::abs(dlog_probs[row]) * (p + (i == targets[row])) +
                                (p > 0 ? p * (1 + std::abs(log_p + entropy)) * std::abs(dentropies[row]) : 0);
            const double off = std::abs(pointwise::widen(got.back()) - expected.back()) / (size * inverse + 1e-37);
            if (!(off <= slope_error)) slope_error = off;
        }
    }
    // Half a unit in the last place of the largest numbers, twice, and the errors of exponentials and sums.
    const double bound = 1.3e-7 * largest + 3e-6;
    near_absolute("log_prob: log_probs", wide<float>(log_probs), expected_logs, 2 * bound, s.text());
    near_absolute("log_prob: entropies", wide<float>(entropies), expected_entropies, bound, s.text());
    note(named<T>("log_prob: slopes"), slope_error, sizeof(T) == 2 ? 1.0 / 256 + 2 * bound : 2 * bound, s.text());
    // Where little cancels, they are those that bf16 has nearest.
    if (sizeof(T) == 2 && s.size < 10) near_rounded(named<T>("log_prob: slopes"), got, expected, s.text());
}

inline void test_log_probs(Random& random, int rounds) {
    test_log_prob<bf16>({1, 37984, 0, 3, 1, true, false}, random);  // a quarter of Qwen3's vocabulary
    test_log_prob<float>({1, 1, 0, 1, 1, true, false}, random);     // of one token: nothing to learn
    for (int round = 0; round < rounds; ++round) {
        const unsigned vocabulary = random() % 2 ? 1 + below(random, 3000) : 8 * (1 + below(random, 500));
        const double sizes[] = {0.3, 1, 4, 30}, temperatures[] = {1, 0.6, 1.7};
        const LogProbShape shape{1 + below(random, 3),
                                 vocabulary,
                                 random() % 3 ? 0 : below(random, 9),
                                 sizes[below(random, 4)],
                                 temperatures[below(random, 3)],
                                 random() % 3 != 0,
                                 random() % 4 == 0};
        if (round % 2 == 0)
            test_log_prob<float>(shape, random);
        else
            test_log_prob<bf16>(shape, random);
    }
    // A logit that is no number makes its row no number, as on the CPU.
    InOut<float> zs("logits", {1, 2, NAN, 3});
    Buffer<unsigned> target("targets", std::vector<unsigned>{1});
    Buffer<float> log_probs("log_probs", 1), entropies("entropies", 1), log_sums("log_sums", 1);
    run("log_prob_rows", random, 1, 512, 384, [&] {
        log_prob_rows(zs.data(), target.data(), log_probs.data(), entropies.data(), log_sums.data(), 1, 4, 4, 1);
    });
    check::that(std::isnan(log_probs[0]) && std::isnan(entropies[0]), "NaN stays NaN");
}

}  // namespace test
