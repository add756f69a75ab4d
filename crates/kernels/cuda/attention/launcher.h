// Forward and backward of one problem through the emulator, as a launcher does it on a card, with the kernels' work
// held against what the plan says it must be.
#pragma once
#include <string>

#include "configurations.h"
#include "reference.h"

namespace launcher {

using reference::Problem;
using trial::below;
using trial::Log;
using trial::Random;
using trial::reinterpret;

struct Output {
    std::vector<std::uint16_t> out, dq, dk, dv;
    std::vector<float> lse;
    bool operator==(const Output& other) const {
        return out == other.out && dq == other.dq && dk == other.dk && dv == other.dv && lse == other.lse;
    }
};

// What the warp-wide products and the copies to shared memory of a launch must come to.
struct ExpectedWork {
    std::uint64_t mma = 0, copied_bytes = 0;
};

// `other_bytes` and `own_bytes` are those of a row, in tensors and in tables padded to whole tiles; `products` how many
// of them a warp makes of each visible entry; `repeats` how many heads each item and entry is walked through for.
struct Traffic {
    int products, own_bytes, own_table, other_bytes, other_table;
};

template <class Kernel>
ExpectedWork expected_work(const forest::Work& work, int rows, int width, int group, int repeats, Traffic traffic) {
    ExpectedWork expected;
    auto valid = [&](int tile, int size) { return std::min(rows, (tile + 1) * size) - tile * size; };
    for (auto& item : work.items) {
        expected.copied_bytes +=
            std::uint64_t(valid(item.tile, Kernel::OWN) * traffic.own_bytes + Kernel::OWN * traffic.own_table);
        for (int e = item.begin; e < item.end; ++e) {
            const std::uint32_t entry = work.list[std::size_t(e / group)];
            const int warps = __builtin_popcount(entry & 0xFF);
            expected.mma +=
                std::uint64_t(warps * traffic.products * Kernel::WARP_ROWS / 16 * Kernel::OTHER / 8 * width / 16);
            expected.copied_bytes += std::uint64_t(valid(int(entry >> 16), Kernel::OTHER) * traffic.other_bytes +
                                                   Kernel::OTHER * traffic.other_table);
        }
    }
    expected.mma *= std::uint64_t(repeats);
    expected.copied_bytes *= std::uint64_t(repeats);
    return expected;
}

class Launcher {
public:
    Launcher(Log& log, Random& random) : log_(log), random_(random) {}

    void operator()(const std::string& name, std::uint64_t blocks, int threads, int shared_bytes,
                    const std::function<void()>& body, const ExpectedWork* expected = nullptr) {
        if (blocks == 0) return;
        const bool count_traffic = below(random_, 4) == 0;
        auto report = log_.launch(random_, name, blocks, threads, shared_bytes, count_traffic, body);
        if (expected && report.executed["mma"] != expected->mma)
            log_.fail(name + ": " + std::to_string(report.executed["mma"]) + " mma instead of " +
                      std::to_string(expected->mma));
        if (expected && count_traffic && report.sectors["cp.async"].transactions * 32 != expected->copied_bytes)
            log_.fail(name + ": " + std::to_string(report.sectors["cp.async"].transactions * 32) +
                      " bytes copied instead of " + std::to_string(expected->copied_bytes));
    }

private:
    Log& log_;
    Random& random_;
};

template <class Kernel>
forest::TileShape shape_of() {
    return {Kernel::OWN, Kernel::OTHER, Kernel::WARP_ROWS};
}

// `longest`: of an item of dkv, 0 for items that are never cut.
template <class Configuration, int D>
Output attention(const std::string& name, const Problem& p, int longest, Log& log, Random& random) {
    using emu::Buffer;
    using Forward = typename Configuration::Forward;
    using BackwardQueries = typename Configuration::BackwardQueries;
    using BackwardKeys = typename Configuration::BackwardKeys;
    const std::string suffix = "_" + name + "_" + std::to_string(D);
    const int group = p.heads / p.kv_heads, padded = forest::padded(p.rows);
    const auto heads = std::uint64_t(p.heads), kv_heads = std::uint64_t(p.kv_heads);
    Buffer<std::uint16_t> q("q", p.q), k("k", p.k), v("v", p.v), dout("dout", p.dout);
    Buffer<int2> table("table", reinterpret<int2>(forest::make_table(p.segments)));
    Buffer<std::uint16_t> out("out", p.q.size()), dq("dq", p.q.size()), dk("dk", p.k.size()), dv("dv", p.v.size());
    Buffer<float> lse("lse", heads * std::size_t(p.rows));
    Buffer<float2> statistics("statistics", heads * std::size_t(padded));
    const forest::Shape shape{p.rows, p.heads, p.kv_heads, float(p.scale())};
    Launcher launch(log, random);

    const auto forward = forest::query_work(p.segments, shape_of<Forward>());
    Buffer<int4> forward_items("items of forward", reinterpret<int4>(forward.items));
    Buffer<std::uint32_t> forward_list("list of forward", forward.list);
    const forest::ForwardArguments f{
        shape,      q.data(),  k.data(), v.data(), table.data(), forward_items.data(), forward_list.data(),
        out.data(), lse.data()};
    auto expected = expected_work<Forward>(forward, p.rows, D, 1, p.heads, {2, 2 * D, 0, 4 * D, 8});
    launch(
        "forest_forward" + suffix, forward.items.size() * heads, Forward::THREADS, Forward::SHARED,
        [&] { Forward::run(f); }, &expected);

    using Preprocess = forest::Preprocess<D>;
    const forest::PreprocessArguments s{shape, padded, out.data(), dout.data(), lse.data(), statistics.data()};
    launch("forest_preprocess_" + std::to_string(D), std::uint64_t(padded) * heads / Preprocess::ROWS,
           Preprocess::THREADS, 0, [&] { Preprocess::run(s); });

    const auto query = forest::query_work(p.segments, shape_of<BackwardQueries>());
    Buffer<int4> query_items("items of dq", reinterpret<int4>(query.items));
    Buffer<std::uint32_t> query_list("list of dq", query.list);
    forest::BackwardArguments b{shape,
                                padded,
                                q.data(),
                                k.data(),
                                v.data(),
                                dout.data(),
                                table.data(),
                                statistics.data(),
                                query_items.data(),
                                query_list.data(),
                                dq.data(),
                                nullptr,
                                nullptr,
                                nullptr};
    expected = expected_work<BackwardQueries>(query, p.rows, D, 1, p.heads, {3, 4 * D, 16, 4 * D, 8});
    launch(
        "forest_dq" + suffix, query.items.size() * heads, BackwardQueries::THREADS, BackwardQueries::SHARED,
        [&] { BackwardQueries::run(b); }, &expected);

    const auto key = forest::key_work(p.segments, shape_of<BackwardKeys>(), group, longest);
    Buffer<int4> key_items("items of dkv", reinterpret<int4>(key.items));
    Buffer<int4> reduce_items("items of reduce", reinterpret<int4>(key.reduce));
    Buffer<std::uint32_t> key_list("list of dkv", key.list);
    Buffer<float> partial("partial", std::size_t(key.slots) * kv_heads * 2 * BackwardKeys::OWN * D);
    b = {shape,       padded,       q.data(),          k.data(),         v.data(),
         dout.data(), table.data(), statistics.data(), key_items.data(), key_list.data(),
         nullptr,     dk.data(),    dv.data(),         partial.data()};
    expected = expected_work<BackwardKeys>(key, p.rows, D, group, p.kv_heads, {4, 4 * D, 8, 4 * D, 16});
    launch(
        "forest_dkv" + suffix, key.items.size() * kv_heads, BackwardKeys::THREADS, BackwardKeys::SHARED,
        [&] { BackwardKeys::run(b); }, &expected);
    using Reduce = forest::Reduce<D, BackwardKeys::OWN>;
    const forest::ReduceArguments r{shape, reduce_items.data(), partial.data(), dk.data(), dv.data()};
    launch("forest_reduce" + suffix, key.reduce.size() * kv_heads, Reduce::THREADS, 0, [&] { Reduce::run(r); });

    const std::size_t missing = out.unwritten() + lse.unwritten() + dq.unwritten() + dk.unwritten() + dv.unwritten();
    if (missing) log.fail(std::to_string(missing) + " elements of the outputs were never written");
    return {out.values(), dq.values(), dk.values(), dv.values(), lse.values()};
}

}  // namespace launcher
