// One pass through the emulator, as a launcher does it on a card, with the kernels' work held against what the plan
// says it must be.
#pragma once
#include <string>

#include "attend.cuh"
#include "blocks.cuh"
#include "merge.cuh"
#include "reference.h"

namespace launcher {

using emu::Buffer;
using reference::Problem;
using trial::Log;
using trial::Random;
using trial::reinterpret;

inline emu::Report launch(Log& log, Random& random, const std::string& name, std::size_t blocks, int threads,
                          int shared_bytes, const std::function<void()>& body) {
    if (blocks == 0) return {};
    return log.launch(random, name, blocks, threads, shared_bytes, true, body);
}

// A layer's keys and values, [blocks, K, BLOCK, D] each. Slots that nobody has written are such that the emulator finds
// any read of them, or NaN that a kernel may read and must not use.
struct Pool {
    Buffer<std::uint16_t> keys, values;
    Pool(const Problem& p, bool readable)
        : keys("keys of the pool", std::size_t(p.blocks * paged::BLOCK) * p.row_size()),
          values("values of the pool", keys.size()) {
        if (readable) keys.fill(0xFFFF), values.fill(0xFFFF);
    }
};

// Writes these slots of a problem as the rows of a pass; -1 is a row of padding.
inline void write(const Problem& p, const std::vector<int>& slots, Pool& pool, Log& log, Random& random) {
    std::vector<std::uint16_t> k(slots.size() * p.row_size(), 0xFFFF), v = k;
    for (std::size_t row = 0; row < slots.size(); ++row) {
        if (slots[row] < 0) continue;
        const auto from = std::ptrdiff_t(std::size_t(slots[row]) * p.row_size()), size = std::ptrdiff_t(p.row_size());
        std::copy_n(p.keys.begin() + from, size, k.begin() + std::ptrdiff_t(row) * size);
        std::copy_n(p.values.begin() + from, size, v.begin() + std::ptrdiff_t(row) * size);
    }
    Buffer<std::uint16_t> new_keys("k", k), new_values("v", v);
    Buffer<int> places("slots", slots);
    const paged::WriteArguments arguments{int(slots.size()), p.kv_heads,        p.width,       0,
                                          new_keys.data(),   new_values.data(), places.data(), pool.keys.data(),
                                          pool.values.data()};
    const std::size_t chunks = slots.size() * p.row_size() / 8;
    launch(log, random, "paged_write", (chunks + paged::Write::THREADS - 1) / paged::Write::THREADS,
           paged::Write::THREADS, 0, [&] { paged::Write::run(arguments); });
}

// Tensor instructions of the attention, and bytes that it copies to shared memory, by the definition of the plan.
struct Work {
    std::uint64_t mma = 0, copied = 0;
};

template <int D>
Work expected_work(const Problem& p, const paged_plan::Plan& plan) {
    Work work;
    const int group = p.heads / p.kv_heads;
    for (auto& item : plan.items) {
        const int key_warps = item.wide ? 1 : 4, stretch = paged::KEYS / key_warps;
        work.copied += std::uint64_t(item.count * group * D * 2 + (item.end - item.begin) * D * 4);
        for (int band = 0; band < (item.wide ? 4 : 1); ++band) {
            int end = 0;  // of the keys that any row of the band sees
            for (int row = band * 16; row < std::min((band + 1) * 16, item.count * group); ++row)
                end = std::max(
                    end, plan.positions[std::size_t(plan.entries[std::size_t(item.first + row / group)].row)] + 1);
            for (int key = item.begin; key < std::min(end, item.end); key += stretch)
                work.mma += std::uint64_t(2 * stretch / 8 * D / 16);
        }
    }
    work.mma *= std::uint64_t(p.kv_heads);
    work.copied *= std::uint64_t(p.kv_heads);
    return work;
}

// The output of a pass; `idle` items and merges without work stand for those that pad a captured graph.
template <int D>
std::vector<std::uint16_t> pass(const Problem& p, int blocks_at_a_time, int idle, bool readable, Log& log,
                                Random& random) {
    const int group = p.heads / p.kv_heads;
    auto plan = paged_plan::make_plan(p.sequences, p.rows, group, p.kv_heads, blocks_at_a_time);
    Pool pool(p, readable);
    write(p, p.earlier, pool, log, random);
    write(p, plan.slots, pool, log, random);

    const auto expected = expected_work<D>(p, plan);
    for (int i = 0; i < idle; ++i) plan.items.push_back({}), plan.merges.push_back({-1, 0, 0, 0});
    Buffer<std::uint16_t> q("q", p.q), out("out", p.q.size());
    Buffer<int> tables("block tables", plan.block_tables), positions("positions", plan.positions);
    Buffer<paged::Item> items("items", reinterpret<paged::Item>(plan.items));
    Buffer<paged::Entry> entries("entries", reinterpret<paged::Entry>(plan.entries));
    Buffer<paged::Merge> merges("merges", reinterpret<paged::Merge>(plan.merges));
    const std::size_t parts = std::size_t(plan.parts * p.heads);
    Buffer<float> partial("partial", parts * D), lse("lse", parts);
    const paged::AttentionArguments arguments{p.heads,          p.kv_heads,       plan.max_blocks,    float(p.scale()),
                                              q.data(),         pool.keys.data(), pool.values.data(), tables.data(),
                                              positions.data(), items.data(),     entries.data(),     out.data(),
                                              partial.data(),   lse.data()};
    using Attention = paged::Attention<D>;
    const std::string suffix = "_" + std::to_string(D);
    auto report = launch(log, random, "paged_attention" + suffix, plan.items.size() * std::size_t(p.kv_heads),
                         Attention::THREADS, Attention::SHARED, [&] { Attention::run(arguments); });
    if (report.executed["mma"] != expected.mma)
        log.fail(std::to_string(report.executed["mma"]) + " mma instead of " + std::to_string(expected.mma));
    if (report.sectors["cp.async"].transactions * 32 != expected.copied)
        log.fail(std::to_string(report.sectors["cp.async"].transactions * 32) + " bytes copied instead of " +
                 std::to_string(expected.copied));
    if (partial.unwritten() + lse.unwritten() > 0) log.fail("a part that no item makes");

    using Merge = paged::MergeParts<D>;
    const paged::MergeArguments merge{p.heads,   int(plan.merges.size()), merges.data(), partial.data(), lse.data(),
                                      out.data()};
    launch(log, random, "paged_merge" + suffix,
           (plan.merges.size() * std::size_t(p.heads) + Merge::WARPS - 1) / Merge::WARPS, Merge::THREADS, 0,
           [&] { Merge::run(merge); });
    if (out.unwritten() > 0) log.fail(std::to_string(out.unwritten()) + " elements of the output were never written");
    return out.values();
}

}  // namespace launcher
