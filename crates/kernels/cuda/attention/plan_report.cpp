// What plan and order are worth for batches as a trainer has them: no card and no emulator needed.
//
//     plan_report      a table in Markdown
//
// An item takes as long as its entries and runs on one of `BLOCKS` places, which are all free at the start.
#include <cstdio>
#include <ctime>
#include <queue>
#include <random>
#include <string>

#include "plan.h"

using forest::Segment;
using forest::TileShape;
using Segments = std::vector<Segment>;

constexpr int BLOCKS = 132 * 2;  // an H100 with two blocks on each multiprocessor

// Share of the places' time that is worked, in percent, in the order given; each item once for each of `times` heads.
static double busy(const std::vector<forest::WorkItem>& items, int times) {
    std::priority_queue<long long, std::vector<long long>, std::greater<>> free;
    for (int i = 0; i < BLOCKS; ++i) free.push(0);
    long long last = 0, work = 0;
    for (auto& item : items)
        for (int i = 0; i < times; ++i) {
            const long long end = free.top() + item.end - item.begin;
            free.pop();
            free.push(end);
            last = std::max(last, end);
            work += item.end - item.begin;
        }
    return 100.0 * double(work) / double(last) / BLOCKS;
}

static long long visible_warps(const std::vector<std::uint32_t>& list) {
    long long warps = 0;
    for (auto entry : list) warps += __builtin_popcount(entry & 0xFF);
    return warps;
}

static void report(const std::string& name, const Segments& segments, int heads, int kv_heads) {
    const TileShape forward_shape{64, 64, 16}, key_shape{64, 32, 16};
    const int group = heads / kv_heads;
    const auto start = std::clock();
    const auto table = forest::make_table(segments);
    const auto forward = forest::query_work(segments, forward_shape);
    const auto dq = forest::query_work(segments, {64, 32, 16});
    const auto whole = forest::key_work(segments, key_shape, group, 0);
    const int longest = forest::cut_length((long long)(whole.list.size()) * group, kv_heads, BLOCKS);
    const auto cut = forest::key_work(segments, key_shape, group, longest);
    const double ms = 1000.0 * double(std::clock() - start) / CLOCKS_PER_SEC;

    double seen = 0, unshared = 0;
    for (auto& s : segments) {
        double rows = s.end - s.start, before = 0;
        for (int p = s.prefix; p >= 0; p = segments[p].prefix) before += segments[p].end - segments[p].start;
        seen += rows * before + rows * (rows + 1) / 2;
        unshared += (rows + before) * (rows + before + 1) / 2;
    }
    auto pairs = [&](const forest::Work& work, TileShape shape) {
        return double(work.list.size()) * shape.own * shape.other / seen;
    };
    auto worked = [&](const forest::Work& work, TileShape shape) {
        return double(visible_warps(work.list)) * shape.warp_rows * shape.other / seen;
    };
    auto in_order = forward.items;
    std::sort(in_order.begin(), in_order.end(), [](auto& a, auto& b) { return a.tile < b.tile; });
    std::printf("| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.0f / %.0f | %.0f / %.0f | %.1f |\n", name.c_str(),
                unshared / seen, pairs(forward, forward_shape), worked(forward, forward_shape), pairs(whole, key_shape),
                worked(whole, key_shape), busy(forward.items, heads), busy(in_order, heads),
                busy(whole.items, kv_heads), busy(cut.items, kv_heads), ms);
}

int main() {
    std::mt19937_64 random(3);
    auto between = [&](int low, int high) { return low + int(random() % std::uint64_t(high - low + 1)); };
    auto groups = [&](int prompts, int responses, int low_prompt, int high_prompt, int low, int high) {
        Segments segments;
        int rows = 0;
        auto push = [&](int length, int prefix) {
            segments.push_back({rows, rows + length, prefix});
            rows += length;
            return int(segments.size()) - 1;
        };
        for (int p = 0; p < prompts; ++p) {
            const int prompt = push(between(low_prompt, high_prompt), -1);
            for (int r = 0; r < responses; ++r) push(between(low, high), prompt);
        }
        return segments;
    };
    std::printf(
        "| batch | unshared prefixes | forward: tiles | warps | dkv: tiles | warps | forward busy: longest first / in "
        "order, %% | dkv busy: whole / cut, %% | plan, ms |\n|---|---|---|---|---|---|---|---|---|\n");
    report("8 prompts of 100-600, 8 responses of 50-1000 each", groups(8, 8, 100, 600, 50, 1000), 14, 2);
    report("1 prompt of 2048, 64 responses of 100-512", groups(1, 64, 2048, 2048, 100, 512), 32, 8);
    report("64 prompts of 60-120, 8 responses of 5-40 each", groups(64, 8, 60, 120, 5, 40), 14, 2);
    report("1 sequence of 32768", {{0, 32768, -1}}, 32, 8);
    report("32 sequences of 200-2048", groups(32, 0, 200, 2048, 0, 0), 32, 8);
}
