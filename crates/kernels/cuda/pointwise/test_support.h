// What the tests of all kernels need: random tensors, launches in a random order of blocks and warps, and comparisons
// with f64.
#pragma once
#include <map>
#include <random>

#include "../emulator/check.h"
#include "packet.cuh"

namespace test {

using emu::Buffer;
using pointwise::bf16;
using Random = std::mt19937_64;

inline unsigned below(Random& random, unsigned end) { return unsigned(random() % end); }
inline unsigned divide_up(unsigned a, unsigned b) { return (a + b - 1) / b; }

template <class T, class Values>
std::vector<double> wide(const Values& values) {
    std::vector<double> out(values.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = pointwise::widen(T(values[i]));
    return out;
}
template <class T>
std::vector<double> wide(const Buffer<T>& buffer) {
    return wide<T>(buffer.values());
}

// Normal numbers as T.
template <class T>
std::vector<T> tensor(Random& random, std::size_t count, double size = 1, double mean = 0) {
    std::normal_distribution<double> normal(mean, size);
    std::vector<T> out(count);
    for (auto& x : out) x = pointwise::narrow<T>(float(normal(random)));
    return out;
}

// An array that a kernel may read and write.
template <class T>
struct InOut : Buffer<T> {
    InOut(const char* label, const std::vector<T>& values) : Buffer<T>(label, values.size()) { this->write(values); }
};

// A width for packets of P: mostly whole packets, else any.
inline unsigned some_width(Random& random, unsigned most) {
    switch (below(random, 4)) {
        case 0:
            return 1 + below(random, most);
        case 1:
            return 8 * (1 + below(random, divide_up(most, 32)));
        default:
            return 8 * (1 + below(random, most / 8));
    }
}

// Sums over all launches of a kernel, and the most that one asked for.
struct Launched {
    emu::Report report;
    unsigned threads = 0, shared_bytes = 0;
};
inline std::map<std::string, Launched> launched;

inline emu::Report run(const std::string& kernel, Random& random, emu::Dim3 grid, unsigned block, unsigned shared_bytes,
                       const std::function<void()>& body) {
    emu::Options options;
    options.reverse_warps = random() & 1;
    options.reverse_blocks = random() & 1;
    options.count_traffic = true;
    emu::Report report = emu::launch(kernel.c_str(), grid, block, shared_bytes, body, options);
    if (!check::that(report.clean(), kernel.c_str())) report.print_faults(stdout);
    for (auto& [kind, traffic] : report.banks)
        check::that(traffic.excess() < 1.05, (kind + " without bank conflicts").c_str());
    Launched& all = launched[kernel];
    all.report += report;
    all.threads = std::max(all.threads, block);
    all.shared_bytes = std::max(all.shared_bytes, shared_bytes);
    return report;
}

// Whether warps read and wrote whole sectors: what holds of every launch whose rows are a whole number of them.
inline void check_coalesced(const emu::Report& report, const char* kernel) {
    for (auto& [kind, traffic] : report.sectors)
        if (!check::that(traffic.excess() < 1.03, "whole sectors"))
            std::printf("      %s, %s: x %.2f\n", kernel, kind.c_str(), traffic.excess());
}
inline bool whole_sectors(unsigned width, std::size_t size) { return width * size % 32 == 0; }

// The errors that came nearest to their bounds, by what was compared.
struct Worst {
    double error = 0, bound = 1;
};
inline std::map<std::string, Worst> worst;

inline void note(const std::string& what, double error, double bound, const std::string& shape) {
    auto& w = worst[what];
    if (w.error == 0 || !(error * w.bound <= w.error * bound)) w = {error, bound};
    if (!check::that(error <= bound, what.c_str()))
        std::printf("      %g, above %g: %s\n", error, bound, shape.c_str());
}

// The norm of the error over the norm of what is expected; a single element may be off by ten times the bound of the
// size of that element and of the mean one.
inline void near(const std::string& what, const std::vector<double>& got, const std::vector<double>& expected,
                 double bound, const std::string& shape) {
    double error = 0, norm = 0, single = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        error += (got[i] - expected[i]) * (got[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    const double size = std::sqrt(norm / double(got.size()));
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double off = std::abs(got[i] - expected[i]) / (std::abs(expected[i]) + size + 1e-30);
        if (!(off <= single)) single = off;
    }
    check::that(got.size() == expected.size(), "sizes");
    note(what, norm > 0 ? std::sqrt(error / norm) : std::sqrt(error), bound, shape);
    if (!check::that(single <= 10 * bound, what.c_str()))
        std::printf("      one element by %g: %s\n", single, shape.c_str());
}

inline void near_absolute(const std::string& what, const std::vector<double>& got, const std::vector<double>& expected,
                          double bound, const std::string& shape) {
    double most = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double off = std::abs(got[i] - expected[i]);
        if (!(off <= most)) most = off;
    }
    note(what, most, bound, shape);
}

// `x` as a tensor of T holds it.
template <class T>
double stored(double x) {
    return pointwise::rounded<T>(float(x));
}

// Results of type T. In f32 their error is 2e-6 at most. In bf16 they are what is expected, rounded once: but for one
// in a hundred, where a number lies so near the middle of two of bf16 that the errors of f32 decide. Those are off by
// some units in the last place, of an intermediate that is then multiplied or cancelled. A rounding too many or too few
// flips a third of all.
template <class T>
void near_rounded(const std::string& what, const std::vector<T>& got, const std::vector<double>& expected,
                  const std::string& shape) {
    if constexpr (sizeof(T) == 4) {
        near(what, wide<T>(got), expected, 2e-6, shape);
    } else {
        check::that(got.size() == expected.size(), "sizes");
        double norm = 0;
        for (double x : expected) norm += x * x;
        const double size = std::sqrt(norm / double(expected.size()));
        unsigned flips = 0, wrong = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
            if (pointwise::widen(got[i]) == stored<T>(expected[i])) continue;  // of either sign, if 0
            ++flips;
            wrong += !(std::abs(pointwise::widen(got[i]) - expected[i]) <= std::abs(expected[i]) / 64 + size / 40);
        }
        check::that(wrong == 0, what.c_str());
        note(what + " (flips)", std::max(0.0, double(flips) - 2) / double(got.size()), 0.01, shape);
    }
}

template <class T>
constexpr const char* SUFFIX = sizeof(T) == 2 ? "_bf16" : "_f32";

template <class T>
std::string named(const char* kernel) {
    return std::string(kernel) + SUFFIX<T>;
}

}  // namespace test

// The kernel of type T: KERNEL(rms_norm, T) is rms_norm_bf16 or rms_norm_f32, whose arguments differ.
#define KERNEL(NAME, T, ...)          \
    do {                              \
        if constexpr (sizeof(T) == 2) \
            NAME##_bf16(__VA_ARGS__); \
        else                          \
            NAME##_f32(__VA_ARGS__);  \
    } while (0)
