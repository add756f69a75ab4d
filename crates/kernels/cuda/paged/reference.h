// Attention over a paged KV cache in f64 by its definition, and random passes to try it on.
#pragma once
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "../emulator/instructions.h"
#include "../emulator/trial.h"
#include "plan.h"

namespace reference {

using trial::below;
using trial::Random;
using Sequences = std::vector<paged_plan::SequenceRows>;

// A pass: what is in the cache before it, and what it adds.
struct Problem {
    Sequences sequences;
    int rows, blocks;              // N, blocks of the pool
    int heads, kv_heads, width;    // H, K, D
    std::vector<std::uint16_t> q;  // [N, H, D]
    // Keys and values of every slot that is in use, [slots, K, D]; NaN elsewhere.
    std::vector<std::uint16_t> keys, values;
    // Slots that were written before the pass.
    std::vector<int> earlier;
    double scale() const { return 1.0 / std::sqrt(double(width)); }
    std::size_t row_size() const { return std::size_t(kv_heads) * std::size_t(width); }
};

inline std::vector<double> attention(const Problem& p) {
    const int D = p.width, group = p.heads / p.kv_heads;
    std::vector<double> out(p.q.size()), weights;
    for (auto& sequence : p.sequences)
        for (int i = 0; i < sequence.count; ++i)
            for (int head = 0; head < p.heads; ++head) {
                const std::size_t at = std::size_t((sequence.first + i) * p.heads + head) * std::size_t(D);
                auto cached = [&](const std::vector<std::uint16_t>& of, int position, int d) {
                    const int slot = sequence.blocks[std::size_t(position / paged_plan::BLOCK)] * paged_plan::BLOCK +
                                     position % paged_plan::BLOCK;
                    return double(
                        emu::bf16_to_float(of[std::size_t(slot) * p.row_size() + std::size_t(head / group * D + d)]));
                };
                double largest = -INFINITY, total = 0;
                weights.clear();
                for (int position = 0; position <= sequence.position + i; ++position) {
                    double score = 0;
                    for (int d = 0; d < D; ++d)
                        score += emu::bf16_to_float(p.q[at + std::size_t(d)]) * cached(p.keys, position, d);
                    weights.push_back(score * p.scale());
                    largest = std::max(largest, weights.back());
                }
                for (double& weight : weights) total += weight = std::exp(weight - largest);
                for (std::size_t position = 0; position < weights.size(); ++position)
                    for (int d = 0; d < D; ++d)
                        out[at + std::size_t(d)] += weights[position] / total * cached(p.values, int(position), d);
            }
    return out;
}

// A sequence without its blocks: shares the first `shared` blocks of the one of this number, has `length` positions, of
// which the last `count` are read in this pass.
struct Outline {
    int parent, shared, length, count;
};

// Blocks of the pool in random places, rows of the sequences in random order with padding between them, and normal
// keys, values, and queries of size `sharpness`.
inline Problem make_problem(const std::vector<Outline>& outlines, int width, int group, int kv_heads, double sharpness,
                            Random& random) {
    using paged_plan::BLOCK;
    Problem p{Sequences(outlines.size()), 0, 0, kv_heads * group, kv_heads, width, {}, {}, {}, {}};
    int used = 0;
    for (std::size_t s = 0; s < outlines.size(); ++s) {
        const auto& outline = outlines[s];
        auto& sequence = p.sequences[s];
        if (outline.parent >= 0) {
            const auto& parent = p.sequences[std::size_t(outline.parent)].blocks;
            sequence.blocks.assign(parent.begin(), parent.begin() + outline.shared);
        }
        while (int(sequence.blocks.size()) * BLOCK < outline.length) sequence.blocks.push_back(used++);
        sequence.count = outline.count;
        sequence.position = outline.length - outline.count;
    }
    p.blocks = used + below(random, 4);
    std::vector<int> places(std::size_t(p.blocks)), order(outlines.size());
    std::iota(places.begin(), places.end(), 0);
    std::shuffle(places.begin(), places.end(), random);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (int s : order) {
        p.rows += below(random, 3) == 0;
        auto& sequence = p.sequences[std::size_t(s)];
        for (int& block : sequence.blocks) block = places[std::size_t(block)];
        // Tables may go on past what is needed.
        if (below(random, 4) == 0) sequence.blocks.push_back(below(random, p.blocks));
        sequence.first = p.rows;
        p.rows += sequence.count;
    }
    p.rows += below(random, 3);

    std::normal_distribution<double> normal;
    auto draw = [&](double size) { return emu::float_to_bf16(float(normal(random) * size)); };
    p.q.resize(std::size_t(p.rows * p.heads) * std::size_t(width));
    for (auto& x : p.q) x = draw(sharpness);
    const std::size_t slots = std::size_t(p.blocks * BLOCK);
    p.keys.assign(slots * p.row_size(), 0xFFFF);
    p.values = p.keys;
    std::vector<char> state(slots);  // 1: in the cache before the pass, 2: written by it
    for (auto& sequence : p.sequences)
        for (int position = 0; position < sequence.position + sequence.count; ++position) {
            auto& slot = state[std::size_t(sequence.blocks[std::size_t(position / BLOCK)] * BLOCK + position % BLOCK)];
            slot = char(std::max<int>(slot, position < sequence.position ? 1 : 2));
        }
    for (std::size_t slot = 0; slot < slots; ++slot) {
        if (state[slot] == 0) continue;
        if (state[slot] == 1) p.earlier.push_back(int(slot));
        for (std::size_t i = slot * p.row_size(); i < (slot + 1) * p.row_size(); ++i) {
            p.keys[i] = draw(1);
            p.values[i] = draw(1);
        }
    }
    return p;
}

// Families of sequences: with nothing in common, with a common prefix, and with a second prefix in some of them. Mostly
// decodes, some pieces of prompts; at times the first of a family still reads what the others share.
inline std::vector<Outline> random_outlines(Random& random, int most) {
    std::vector<Outline> outlines;
    const int families = 1 + below(random, 4);
    for (int family = 0; family < families && int(outlines.size()) < most; ++family) {
        const int first = int(outlines.size()), members = 1 + below(random, below(random, 2) ? 3 : 9);
        const int prefix = below(random, 9);
        for (int member = 0; member < members && int(outlines.size()) < most; ++member) {
            int parent = member == 0 ? -1 : first, shared = member == 0 ? 0 : prefix;
            if (member > 1 && below(random, 3) == 0) {  // as much as there is of an earlier member
                parent = first + 1 + below(random, member - 1);
                shared =
                    (outlines[std::size_t(parent)].length - outlines[std::size_t(parent)].count) / paged_plan::BLOCK;
            }
            const int before = std::max(shared, prefix) * paged_plan::BLOCK;
            const int own = below(random, 5) == 0 ? 1 : 1 + below(random, 150);
            const int length = before + own;
            int count = below(random, 4) ? 1 : 1 + below(random, own);
            if (member == 0 && below(random, 3) == 0) count = 1 + below(random, length);
            outlines.push_back({parent, shared, length, count});
        }
    }
    return outlines;
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

}  // namespace reference
