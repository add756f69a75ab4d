// Tests of the kernel of this folder in the emulator: against draws of the CPU's code (draws.tsv), and against f64
// worked out the plain way.
//
//   test [SEED [ROUNDS]]   ROUNDS random cases more than the 40 that always run
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "../pointwise/test_support.h"
#include "sampling.cu"

namespace test {

using sampling::Draw;
using sampling::DrawnToken;
using sampling::NO_TOKEN;

struct Case {
    unsigned vocabulary, allowed;
    double temperature;
    unsigned top_k;
    double top_p, uniform;

    std::string text() const {
        std::ostringstream out;
        out << vocabulary << " tokens, " << allowed << " allowed, temperature " << temperature << ", top_k " << top_k
            << ", top_p " << top_p << ", uniform " << uniform;
        return out.str();
    }
    // As the host makes it.
    Draw draw(unsigned row) const {
        const bool greedy = temperature <= 0;
        return {uniform,
                top_p,
                row,
                top_k == 0 ? allowed : std::min(top_k, allowed),
                greedy ? 1.0f : float(1.0 / temperature),
                greedy};
    }
};

// One launch over rows of logits, in another order than they lie; `vocabulary` and `allowed` are those of the first
// case. A small block takes less of the emulator's time.
inline std::vector<DrawnToken> drawn(Random& random, const std::vector<std::vector<float>>& rows,
                                     const std::vector<Case>& cases, unsigned padding, unsigned threads) {
    const unsigned vocabulary = cases[0].vocabulary, stride = vocabulary + padding, count = unsigned(rows.size());
    std::vector<float> values(std::size_t(stride) * count, NAN);
    std::vector<Draw> how;
    for (unsigned i = 0; i < count; ++i) {
        const unsigned place = count - 1 - i;
        std::copy(rows[i].begin(), rows[i].end(), values.begin() + std::size_t(place) * stride);
        how.push_back(cases[i].draw(place));
    }
    Buffer<float> logits("logits", values);
    Buffer<Draw> draws("draws", how);
    Buffer<DrawnToken> out("drawn", count);
    const unsigned shared = 768 + 8 * (divide_up(vocabulary, 64) + 1);
    run("draw_tokens", random, count, threads, shared,
        [&] { draw_tokens(logits.data(), draws.data(), out.data(), count, vocabulary, stride, cases[0].allowed); });
    std::vector<DrawnToken> all;
    for (unsigned i = 0; i < count; ++i) all.push_back(out[i]);
    return all;
}

// The logits of a line of draws.tsv.
inline std::vector<float> listed_logits(unsigned kind, int exponent, uint32_t seed, unsigned count) {
    std::vector<float> out;
    for (unsigned i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        const float fine = std::ldexp(float(int(seed >> 8) - (1 << 23)), -exponent);
        out.push_back(kind == 1 ? float(int(seed >> 28) - 8) * 0.5f : kind == 2 && i % 7 == 3 ? -INFINITY : fine);
    }
    return out;
}

// The CPU's code drew these; sampler/token_sampler.rs has the same test.
inline void test_listed_draws(Random& random) {
    const std::string here = __FILE__;
    std::ifstream table(here.substr(0, here.rfind("test.cpp")) + "draws.tsv");
    std::string line;
    std::getline(table, line);
    unsigned kind, id, lines = 0;
    int exponent;
    uint32_t seed;
    double log_prob;
    Case c;
    while (table >> c.vocabulary >> c.allowed >> kind >> exponent >> seed >> c.temperature >> c.top_k >> c.top_p >>
           c.uniform >> id >> log_prob) {
        ++lines;
#ifdef FAULTS_QUICK
        if (lines % 4 != 0 && c.vocabulary > 64) continue;
#endif
        const auto got = drawn(random, {listed_logits(kind, exponent, seed, c.vocabulary)}, {c}, 0,
                               lines % 8 ? 64 : sampling::THREADS)[0];
        if (!check::that(got.id == id, "a draw is the CPU's"))
            std::printf("      %u, not %u: %s\n", got.id, id, c.text().c_str());
        note("log_prob of a listed draw", std::abs(double(got.log_prob) - log_prob) / (1 + std::abs(log_prob)), 1.2e-7,
             c.text());
    }
    check::that(lines == 240, "all draws are read");
}

// What may be drawn, in the order of the search, and its probabilities: sorted, cut and renormalized in f64.
struct Kept {
    std::vector<unsigned> ids;
    std::vector<double> probabilities;
};
inline Kept kept(const std::vector<float>& logits, const Case& c) {
    std::vector<unsigned> ids(c.allowed);
    for (unsigned i = 0; i < c.allowed; ++i) ids[i] = i;
    const bool cuts = (c.top_k > 0 && c.top_k < c.allowed) || c.top_p < 1;
    // Zero comes before minus zero.
    auto greater = [&](unsigned a, unsigned b) {
        return logits[a] > logits[b] || (logits[a] == logits[b] && std::signbit(logits[a]) < std::signbit(logits[b]));
    };
    if (cuts) std::stable_sort(ids.begin(), ids.end(), greater);
    if (c.top_k > 0 && c.top_k < c.allowed) ids.resize(c.top_k);
    double most = -INFINITY, total = 0, reached = 0;
    for (unsigned id : ids) most = std::max(most, double(logits[id]));
    auto weight = [&](unsigned id) { return std::exp((double(logits[id]) - most) / c.temperature); };
    for (unsigned id : ids) total += weight(id);
    Kept out;
    for (unsigned id : ids) {
        out.ids.push_back(id);
        out.probabilities.push_back(weight(id) / total);
        reached += out.probabilities.back();
        if (cuts && reached >= c.top_p) break;
    }
    for (double& p : out.probabilities) p /= cuts ? reached : 1;
    return out;
}

inline void check_draws(Random& random, const std::vector<std::vector<float>>& rows, const std::vector<Case>& cases,
                        unsigned padding, unsigned threads) {
    const auto got = drawn(random, rows, cases, padding, threads);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Case& own = cases[i];
        const auto& logits = rows[i];
        const double scale = own.temperature > 0 ? 1 / own.temperature : 1;
        double most = -INFINITY, total = 0;
        for (float z : logits) most = std::max(most, double(z));
        for (float z : logits) total += std::exp((z - most) * scale);
        if (!check::that(got[i].id < own.allowed, "an allowed token is drawn")) continue;
        note("log_prob", std::abs(got[i].log_prob - ((logits[got[i].id] - most) * scale - std::log(total))),
             4e-6 * (1 + scale), own.text());
        if (own.temperature == 0) {
            const auto first = std::max_element(logits.begin(), logits.begin() + own.allowed);
            check::that(got[i].id == unsigned(first - logits.begin()), "greedy takes the first of the greatest");
            continue;
        }
        const Kept expected = kept(logits, own);
        double before = 0;
        std::size_t place = 0;
        for (; place < expected.ids.size() && expected.ids[place] != got[i].id; ++place)
            before += expected.probabilities[place];
        if (!check::that(place < expected.ids.size(), "what is drawn is kept")) {
            std::printf("      %u: %s\n", got[i].id, own.text().c_str());
            continue;
        }
        const double after = before + expected.probabilities[place];
        if (!check::that(before - 1e-5 <= own.uniform && own.uniform <= after + 1e-5,
                         "the uniform number falls on what is drawn"))
            std::printf("      %u has %g to %g: %s\n", got[i].id, before, after, own.text().c_str());
    }
}

inline void test_distribution(Random& random) {
    Case c;
    c.vocabulary = 1 + below(random, random() % 4 ? 400 : 3000);
    c.allowed = random() % 2 ? c.vocabulary : 1 + below(random, c.vocabulary);
    const double size = random() % 2 ? 1 : 4;
    const unsigned count = 1 + below(random, 4);
    std::vector<std::vector<float>> rows;
    std::vector<Case> cases;
    for (unsigned i = 0; i < count; ++i) {
        const double temperatures[] = {0, 0.4, 1, 1.7}, top_ps[] = {0.2, 0.7, 0.99};
        c.temperature = temperatures[below(random, 4)];
        c.top_k = random() % 2 ? 0 : 1 + below(random, 100);
        c.top_p = random() % 2 ? 1 : top_ps[below(random, 3)];
        c.uniform = double(random() >> 11) * 0x1p-53;
        rows.push_back(tensor<float>(random, c.vocabulary, size));
        if (random() % 4 == 0)
            for (float& z : rows.back()) z = std::round(z);  // many equal ones
        cases.push_back(c);
    }
    check_draws(random, rows, cases, random() % 2 ? 0 : below(random, 40), 64 << below(random, 4));
}

// As many draws of one row at even steps of the uniform number as its tokens' probabilities say.
inline void test_shares(Random& random) {
    constexpr unsigned DRAWS = 200;
    for (const Case& how : {Case{37, 30, 1, 0, 1, 0}, Case{37, 30, 0.8, 9, 0.9, 0}}) {
        const auto logits = tensor<float>(random, how.vocabulary);
        std::vector<double> counts(how.vocabulary), expected(how.vocabulary);
        const Kept all = kept(logits, how);
        for (std::size_t i = 0; i < all.ids.size(); ++i) expected[all.ids[i]] = all.probabilities[i] * DRAWS;
        for (unsigned first = 0; first < DRAWS; first += 100) {
            std::vector<Case> cases(100, how);
            for (unsigned i = 0; i < 100; ++i) cases[i].uniform = (first + i + 0.5) / DRAWS;
            for (auto& token : drawn(random, std::vector<std::vector<float>>(100, logits), cases, 3, 64))
                if (token.id < how.vocabulary) counts[token.id] += 1;
        }
        near_absolute("shares of even uniform numbers", counts, expected, 1.001, how.text());
    }
}

inline void test_not_finite(Random& random) {
    const Case plain{70, 64, 1, 0, 1, 0.5}, cut{70, 64, 1, 5, 0.8, 0.5}, greedy{70, 64, 0, 0, 1, 0.5};
    for (const Case& c : {plain, cut, greedy}) {
        std::vector<float> nan(70, 0.5f), nothing(70, -INFINITY), infinite(70, 1.0f), one(70, -INFINITY);
        nan[69] = NAN, infinite[3] = INFINITY, one[41] = -2;
        const auto got = drawn(random, {nan, nothing, infinite, one}, {c, c, c, c}, 0, 128);
        for (unsigned i = 0; i < 3; ++i)
            check::that(got[i].id == NO_TOKEN, "of logits that are not finite nothing is drawn");
        check::that(got[3].id == 41 && got[3].log_prob == 0, "the one token with a weight is drawn");
    }
    // Weight only beyond what may be drawn.
    std::vector<float> beyond(70, -INFINITY);
    beyond[66] = 1;
    for (const Case& c : {plain, cut})
        check::that(drawn(random, {beyond}, {c}, 0, 128)[0].id == NO_TOKEN, "masked tokens are never drawn");
}

// Ids of some draws into some rows; the other rows keep what they have.
inline void test_feed(Random& random) {
    const unsigned draws = 1 + below(random, 300), rows = draws + below(random, 300), count = 1 + below(random, draws);
    std::vector<DrawnToken> tokens;
    for (unsigned i = 0; i < draws; ++i) tokens.push_back({unsigned(random()), 0.5f});
    std::vector<unsigned> places(rows), pairs, before(rows), expected;
    for (unsigned i = 0; i < rows; ++i) places[i] = i, before[i] = unsigned(random());
    std::shuffle(places.begin(), places.end(), random);
    expected = before;
    for (unsigned i = 0; i < count; ++i) {
        const unsigned place = below(random, draws);
        pairs.push_back(places[i]), pairs.push_back(place);
        expected[places[i]] = tokens[place].id;
    }
    Buffer<DrawnToken> drawn("drawn", tokens);
    Buffer<unsigned> to("pairs", pairs);
    InOut<unsigned> ids("ids", before);
    run("feed_tokens", random, divide_up(count, 128), 128, 0,
        [&] { feed_tokens(drawn.data(), to.data(), ids.data(), count); });
    check::that(ids.values() == expected, "fed ids");
}

}  // namespace test

int main(int argc, char** argv) {
    emu::machine.stacks.get(511);
    const auto start = std::chrono::steady_clock::now();
    test::Random random(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1);
    const int rounds = 40 + (argc > 2 ? std::atoi(argv[2]) : 60);
    test::test_listed_draws(random);
    test::test_not_finite(random);
    test::test_shares(random);
    for (int round = 0; round < rounds; ++round) test::test_distribution(random);
    for (int round = 0; round < 8; ++round) test::test_feed(random);
    // The vocabulary of Qwen3, and a cut of a seventh of it.
    for (const test::Case& c : {test::Case{151936, 151669, 1, 0, 1, 0.4}, test::Case{21700, 21600, 0.7, 200, 0.8, 0.6}})
        test::check_draws(random, {test::tensor<float>(random, c.vocabulary, 2)}, {c}, 0, sampling::THREADS);
    for (auto& [what, w] : test::worst) std::printf("  %-28s %.1e of %.1e\n", what.c_str(), w.error, w.bound);
    for (auto& [kernel, all] : test::launched) {
        std::printf("  %s: %llu blocks, %u threads, %u shared bytes\n", kernel.c_str(),
                    (unsigned long long)all.report.blocks, all.threads, all.shared_bytes);
        all.report.print_traffic();
    }
    std::printf("%.1f s\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return check::summary("sampling");
}
