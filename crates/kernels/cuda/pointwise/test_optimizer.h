// Gradient accumulation, norm and clipping, and AdamW, over tables of tensors; AdamW to the bits of the CPU's code.
#pragma once
#include <memory>

#include "adamw.cuh"
#include "test_draws.h"
#include "test_support.h"

namespace test {

using pointwise::AdamWTensor;
using pointwise::CHUNK;
using pointwise::Clip;
using pointwise::GradientTensor;

// A block for each chunk.
inline std::vector<uint2> chunks_of(const std::vector<unsigned>& counts) {
    std::vector<uint2> chunks;
    for (unsigned tensor = 0; tensor < counts.size(); ++tensor)
        for (unsigned chunk = 0; chunk * CHUNK < counts[tensor]; ++chunk) chunks.push_back(make_uint2(tensor, chunk));
    return chunks;
}

inline unsigned some_count(Random& random) {
    switch (below(random, 4)) {
        case 0:
            return 1 + below(random, 40);
        case 1:
            return CHUNK * below(random, 2) + 1 + below(random, 3000);
        default:
            return 4 * (1 + below(random, 1500));
    }
}

template <class T>
using Buffers = std::vector<std::unique_ptr<Buffer<T>>>;

template <class T>
T* add_buffer(Buffers<T>& all, const char* label, const std::vector<T>& values) {
    all.push_back(std::make_unique<InOut<T>>(label, values));
    return all.back()->data();
}

template <class T>
void test_gradients(Random& random) {
    const double max_norm = std::pow(10.0, double(below(random, 5)) - 2);
    std::vector<unsigned> counts(1 + below(random, 4));
    for (auto& count : counts) count = some_count(random);
    Buffers<float> sums;
    Buffers<T> terms;
    std::vector<GradientTensor> table;
    std::vector<std::vector<float>> expected;
    const unsigned overwrite = random() % 2;
    const double size = std::pow(10.0, double(below(random, 40)) - 25);  // its square may be out of the range of f32
    double squares = 0;
    for (auto count : counts) {
        const auto before = tensor<float>(random, count, size);
        const auto term = tensor<T>(random, count, size);
        table.push_back({add_buffer(sums, "sum", before), add_buffer(terms, "term", term), count});
        expected.push_back(before);
        for (unsigned i = 0; i < count; ++i) {
            expected.back()[i] = pointwise::widen(term[i]) + (overwrite ? 0.0f : before[i]);
            squares += double(expected.back()[i]) * expected.back()[i];
        }
    }
    const auto chunks = chunks_of(counts);
    Buffer<GradientTensor> tables("table", table);
    Buffer<uint2> places("chunks", chunks);
    Buffer<double> parts("parts", chunks.size()), again("parts again", chunks.size());
    Buffer<Clip> clip("clip", 1);
    const unsigned grid = unsigned(chunks.size());
    run(named<T>("add_gradients"), random, grid, 256, 0,
        [&] { KERNEL(add_gradients, T, tables.data(), places.data(), overwrite); });
    for (std::size_t i = 0; i < counts.size(); ++i)
        check::that(sums[i]->values() == expected[i], "sums of gradients, to the bit");
    for (auto* to : {&parts, &again})
        run("gradient_squares", random, grid, 256, 64,
            [&] { gradient_squares(tables.data(), places.data(), to->data()); });
    check::that(parts.values() == again.values(), "another order of blocks gives the same norm");
    run("gradient_clip", random, 1, 1024, 256, [&] { gradient_clip(parts.data(), grid, max_norm, clip.data()); });
    const double norm = std::sqrt(squares), factor = norm > max_norm ? max_norm / norm : 1;
    note("gradients: norm", std::abs(clip[0].norm / norm - 1), 1e-13, std::to_string(grid) + " chunks");
    check::that(
        clip[0].finite == 1 && std::abs(clip[0].factor / factor - 1) < 1e-7 && (norm > max_norm || clip[0].factor == 1),
        "the factor of clipping");
    run("scale_gradients", random, grid, 256, 0, [&] { scale_gradients(tables.data(), places.data(), clip.data()); });
    for (std::size_t i = 0; i < counts.size(); ++i) {
        for (auto& x : expected[i]) x = norm > max_norm ? x * clip[0].factor : x;
        check::that(sums[i]->values() == expected[i], "clipped gradients, to the bit");
    }
    // Not a number, or infinite: the norm says so, and the gradients stay.
    auto broken = expected[0];
    broken[below(random, counts[0])] = random() % 2 ? NAN : -INFINITY;
    sums[0]->write(broken);
    run("gradient_squares", random, grid, 256, 64,
        [&] { gradient_squares(tables.data(), places.data(), again.data()); });
    run("gradient_clip", random, 1, 1024, 256, [&] { gradient_clip(again.data(), grid, max_norm, clip.data()); });
    check::that(clip[0].finite == 0 && clip[0].factor == 1 && !std::isfinite(clip[0].norm),
                "a norm that is not finite");
}

// A parameter as the CPU keeps it: masters, moments of type M, and the step of adamw.rs, operation by operation.
template <class M>
struct Parameter {
    std::vector<float> weight;
    std::vector<M> first, second;
    std::uint64_t index;
    bool decays;
};

struct Hyper {
    double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.01, lr = 3e-3;
};

inline bf16 round_as_the_cpu(float value, std::uint16_t draw) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (std::isnan(value)) return bf16(bits >> 16 | 0x40);
    return std::isinf(value) ? bf16(bits >> 16) : bf16((bits + draw) >> 16);
}

template <class M>
void update_moments(std::vector<M>& state, const std::vector<float>& gradient, double beta64, bool square,
                    std::uint64_t step, std::uint64_t parameter) {
    using namespace pointwise;
    const float beta = float(beta64), rest = float(1.0 - beta64);
    for (std::size_t task = 0; task * CHUNK < state.size(); ++task) {
        ChaCha8 draws = addressed("optim/adamw/moments", 0, {step, parameter, std::uint64_t(square), task});
        std::uint32_t draw = 0;
        for (std::size_t i = task * CHUNK; i < std::min(state.size(), (task + 1) * CHUNK); ++i) {
            const float g = gradient[i];
            if constexpr (sizeof(M) == 2) {
                draw = i % 2 == 0 ? draws.next() : draw >> 16;
                const float term = mul_rn(rest, square ? mul_rn(g, g) : g);
                state[i] = round_as_the_cpu(std::fma(beta, widen(state[i]), term), std::uint16_t(draw));
            } else {
                state[i] = add_rn(mul_rn(beta, state[i]), square ? mul_rn(mul_rn(rest, g), g) : mul_rn(rest, g));
            }
        }
    }
}

struct StepConstants {
    float keep, rate, root, eps;
    StepConstants(const Hyper& h, std::uint64_t step)
        : keep(float(1.0 - h.lr * h.decay)),
          rate(float(h.lr / (1.0 - std::pow(h.beta1, double(step))))),
          root(float(1.0 / std::sqrt(1.0 - std::pow(h.beta2, double(step))))),
          eps(float(h.eps)) {}
};

template <class M>
void step_on_the_cpu(Parameter<M>& p, const std::vector<float>& gradient, const Hyper& h, std::uint64_t step) {
    using namespace pointwise;
    update_moments(p.first, gradient, h.beta1, false, step, p.index);
    update_moments(p.second, gradient, h.beta2, true, step, p.index);
    const StepConstants c(h, step);
    for (std::size_t i = 0; i < gradient.size(); ++i) {
        const float root = add_rn(mul_rn(std::sqrt(widen(p.second[i])), c.root), c.eps);
        const float move = mul_rn(c.rate, widen(p.first[i])) / root;
        p.weight[i] = sub_rn(mul_rn(p.decays ? c.keep : 1.0f, p.weight[i]), move);
    }
}

// Parameters on the device.
template <class M>
struct DeviceParameters {
    Buffers<float> weights, gradients;
    Buffers<bf16> rounded;
    Buffers<M> firsts, seconds;
    std::vector<AdamWTensor> table;
    std::vector<unsigned> counts;

    void add(const Parameter<M>& p, bool narrow) {
        counts.push_back(unsigned(p.weight.size()));
        bf16* view = narrow ? add_buffer(rounded, "rounded", std::vector<bf16>(p.weight.size())) : nullptr;
        if (!narrow) rounded.push_back(nullptr);
        float* gradient = add_buffer(gradients, "gradient", std::vector<float>(p.weight.size()));
        table.push_back({add_buffer(weights, "weight", p.weight), view, gradient, add_buffer(firsts, "first", p.first),
                         add_buffer(seconds, "second", p.second), p.weight.size(), p.index, p.decays});
    }
    emu::Report step(const Hyper& h, std::uint64_t step, const Clip* clip, Random& random) {
        const auto chunks = chunks_of(counts);
        Buffer<AdamWTensor> tables("table", table);
        Buffer<uint2> places("chunks", chunks);
        const StepConstants c(h, step);
        const float beta1 = float(h.beta1), rest1 = float(1.0 - h.beta1), beta2 = float(h.beta2),
                    rest2 = float(1.0 - h.beta2);
        constexpr bool NARROW = sizeof(M) == 2;
        return run(NARROW ? "adamw_bf16_moments" : "adamw_f32_moments", random, unsigned(chunks.size()), 256,
                   NARROW ? pointwise::ADAMW_SHARED : 0, [&] {
                       auto kernel = NARROW ? adamw_bf16_moments : adamw_f32_moments;
                       kernel(tables.data(), places.data(), clip, step, beta1, rest1, beta2, rest2, c.keep, c.rate,
                              c.root, c.eps);
                   });
    }
    // The forward pass sees the masters to the nearest bf16.
    bool rounded_is_right(std::size_t i) const {
        if (!rounded[i]) return true;
        for (std::size_t k = 0; k < counts[i]; ++k)
            if ((*rounded[i])[k] != pointwise::narrow<bf16>((*weights[i])[k])) return false;
        return true;
    }
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Random parameters, some steps, with and without clipping.
template <class M>
void test_adamw(Random& random) {
    Hyper h;
    h.beta2 = random() % 2 ? 0.95 : 0.999;
    std::vector<Parameter<M>> parameters(1 + below(random, 3));
    DeviceParameters<M> device;
    for (auto& p : parameters) {
        const unsigned count = some_count(random);
        p = {tensor<float>(random, count, 0.05), std::vector<M>(count), std::vector<M>(count), below(random, 500),
             random() % 2 == 0};
        device.add(p, random() % 3 != 0);
    }
    const std::uint64_t first_step = 1 + below(random, 1000);
    for (std::uint64_t step = first_step; step < first_step + 3; ++step) {
        const float factor = random() % 2 ? 1.0f : 0.37f;
        Buffer<Clip> clip("clip", std::vector<Clip>{{2, factor, 1}});
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            auto gradient = tensor<float>(random, device.counts[i], std::pow(10.0, -double(below(random, 30))));
            device.gradients[i]->write(gradient);
            if (factor != 1)
                for (auto& g : gradient) g = g * factor + 0.0f;
            step_on_the_cpu(parameters[i], gradient, h, step);
        }
        const auto report = device.step(h, step, factor == 1 && random() % 2 ? nullptr : clip.data(), random);
        bool equal = true;
        std::size_t elements = 0, narrow = 0;
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            equal = equal && same_bits(device.weights[i]->values(), parameters[i].weight) &&
                    device.rounded_is_right(i) && same_bits(device.firsts[i]->values(), parameters[i].first) &&
                    same_bits(device.seconds[i]->values(), parameters[i].second);
            elements += device.counts[i];
            narrow += device.rounded[i] ? device.counts[i] : 0;
        }
        check::that(equal, sizeof(M) == 2 ? "AdamW with bf16 moments equals the CPU's bits"
                                          : "AdamW with f32 moments equals the CPU's bits");
        check::that(report.global_bytes_written == elements * (4 + 2 * sizeof(M)) + 2 * narrow,
                    "bytes that AdamW writes");
    }
    // A norm that is not finite changes nothing.
    Buffer<Clip> broken("clip", std::vector<Clip>{{INFINITY, 1, 0}});
    device.step(h, first_step + 3, broken.data(), random);
    for (std::size_t i = 0; i < parameters.size(); ++i)
        check::that(same_bits(device.weights[i]->values(), parameters[i].weight) &&
                        same_bits(device.firsts[i]->values(), parameters[i].first),
                    "no step without a finite norm");
}

// FNV-1a over words.
template <class T>
std::uint64_t hash_of(const std::vector<T>& values) {
    std::uint64_t hash = 0xCBF29CE484222325;
    for (auto& x : values) {
        std::uint32_t word = 0;
        std::memcpy(&word, &x, sizeof(T));
        hash = (hash ^ word) * 0x100000001B3;
    }
    return hash;
}

// What the Rust code gives (rand_chacha 0.9, blake3 1.8): words of `rng::addressed("optim/adamw/moments", 0, address)`,
// and hashes of masters, their roundings and moments of parameter 5, of 20,497 elements, after three steps of `AdamW`
// at learning rate 3e-3 with the defaults, weights 4 g_77 and gradients g_1, g_2, g_3, where
//
//     g_s(i) = (((2654435761 i + 40503 s) mod 2^32 >> 8) / 2^23 - 1) / 100.
inline void test_golden_draws() {
    struct Golden {
        std::uint64_t address[4];
        std::uint32_t words[4], block_2[4];  // from the start, and from word 32 on
    };
    const Golden all[] = {{{1, 0, 0, 0},
                           {2501143924, 3038160915, 1372872456, 1985204928},
                           {1551248802, 3536339936, 4120897572, 4174879185}},
                          {{1, 0, 1, 0},
                           {2051805495, 3024591002, 2474630840, 2182078121},
                           {2051177907, 2953011150, 3109327972, 2356127460}},
                          {{7, 3, 1, 2},
                           {3167275685, 3487085377, 3859284259, 633380021},
                           {1707515541, 3022235097, 3209502694, 4148163588}},
                          {{123456789012345, 399, 0, 9400000000},
                           {1280705517, 1629399807, 2243521464, 1798264265},
                           {3740954729, 954547580, 1897042938, 2746683162}}};
    for (auto& golden : all) {
        const auto& a = golden.address;
        std::uint32_t key[8], words[16], block_2[16];
        pointwise::draw_key(key, a[0], a[1], a[2], a[3]);
        pointwise::chacha_block(words, key, 0);
        pointwise::chacha_block(block_2, key, 2);
        ChaCha8 second = addressed("optim/adamw/moments", 0, {a[0], a[1], a[2], a[3]});
        bool device = true, reference = true;
        for (int i = 0; i < 36; ++i) {
            const std::uint32_t word = second.next();
            if (i < 4) device = device && words[i] == golden.words[i], reference = reference && word == golden.words[i];
            if (i >= 32)
                device = device && block_2[i - 32] == golden.block_2[i - 32],
                reference = reference && word == golden.block_2[i - 32];
        }
        check::that(device, "draws of the device are those of the Rust code");
        check::that(reference, "draws of the test's reference are those of the Rust code");
    }
}

template <class M>
void test_golden_steps(std::uint64_t weights, std::uint64_t rounded, std::uint64_t first, std::uint64_t second,
                       Random& random) {
    const unsigned count = CHUNK + 4113;
    auto formula = [](unsigned i, unsigned step) {
        const std::uint32_t x = i * 2654435761u + step * 40503u;
        return pointwise::mul_rn(float(x >> 8) / 8388608.0f - 1.0f, 0.01f);
    };
    Parameter<M> p{std::vector<float>(count), std::vector<M>(count), std::vector<M>(count), 5, true};
    for (unsigned i = 0; i < count; ++i) p.weight[i] = formula(i, 77) * 4.0f;
    DeviceParameters<M> device;
    device.add(p, true);
    for (unsigned step = 1; step <= 3; ++step) {
        std::vector<float> gradient(count);
        for (unsigned i = 0; i < count; ++i) gradient[i] = formula(i, step);
        device.gradients[0]->write(gradient);
        device.step(Hyper(), step, nullptr, random);
    }
    check::that(hash_of(device.firsts[0]->values()) == first, "first moments are those of the Rust code");
    check::that(hash_of(device.seconds[0]->values()) == second, "second moments are those of the Rust code");
    check::that(hash_of(device.weights[0]->values()) == weights, "masters are those of the Rust code");
    check::that(hash_of(device.rounded[0]->values()) == rounded, "rounded weights are those of the Rust code");
}

// What cannot be rounded up or down stays what it is.
inline void test_stochastic_rounding() {
    using pointwise::round_stochastically;
    const float value = 1.0f + 0.3f / 128.0f;
    double mean = 0;
    for (std::uint32_t draw = 0; draw < 65536; ++draw) mean += low_bf16(round_stochastically(value, draw)) / 65536.0;
    check::that(std::abs(mean - value) < 1e-6, "stochastic rounding is right on average");
    for (float exact : {0.0f, 1.0f, -0.5f, INFINITY, -INFINITY})
        check::that(low_bf16(round_stochastically(exact, 65535)) == exact, "what bf16 can hold stays");
    check::that(std::isnan(low_bf16(round_stochastically(__uint_as_float(0x7F800001), 3))), "NaN stays NaN");
}

inline void test_optimizer(Random& random, int rounds) {
    test_golden_draws();
    test_stochastic_rounding();
    test_golden_steps<bf16>(0xA42068451AF458A1, 0x6DA6C9BCA42883B8, 0x633F060063166A26, 0xDA0FCA349B51B1AE, random);
    test_golden_steps<float>(0x46D6531473DE4DBD, 0x911841E938658907, 0x388FC90C01CFD3A4, 0x64AB95C61AB214A7, random);
    for (int round = 0; round < rounds; ++round) {
        if (round % 2)
            test_gradients<float>(random), test_adamw<float>(random);
        else
            test_gradients<bf16>(random), test_adamw<bf16>(random);
    }
}

}  // namespace test
