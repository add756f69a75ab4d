// Plan of a packed batch for the forest attention kernels: row table, tile lists and items (PLAN.md), once a batch and
// for all layers. Plain C++17 without CUDA; the reference that launchers in other languages are tested against.
#pragma once
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace forest {

// Rows [start, end) of the batch; `prefix` is an earlier segment, -1 for a root.
struct Segment {
    int start, end, prefix;
};

struct TableRow {
    int position, reach;
};

struct WorkItem {
    int tile, begin, end, slot;
};

// How a kernel cuts the rows: tiles of its own side, tiles of the side it walks through, rows of its own side to a
// warp.
struct TileShape {
    int own, other, warp_rows;
    int warps() const { return own / warp_rows; }
};

struct Work {
    std::vector<std::uint32_t> list;  // tile << 16 | masked << 8 | visible
    std::vector<WorkItem> items;      // longest first
    std::vector<WorkItem> reduce;     // tile, first slot, number of slots, 0: tiles that were cut
    int slots = 0;
};

inline int count_rows(const std::vector<Segment>& segments) { return segments.empty() ? 0 : segments.back().end; }

inline int tiles(int rows, int tile) { return (rows + tile - 1) / tile; }

inline int padded(int rows) { return tiles(rows, 128) * 128; }

// Position and reach of each row.
inline std::vector<TableRow> make_table(const std::vector<Segment>& segments) {
    const int count = int(segments.size());
    std::vector<int> subtree(count), first(count), used(count);
    for (int s = count - 1; s >= 0; --s) {
        if (segments[s].prefix >= s) throw std::invalid_argument("a prefix is an earlier segment");
        subtree[s] += segments[s].end - segments[s].start;
        if (segments[s].prefix >= 0) subtree[segments[s].prefix] += subtree[s];
    }
    int roots = 0;
    std::vector<TableRow> table(padded(count_rows(segments)), TableRow{-1, 0});
    for (int s = 0; s < count; ++s) {
        const int prefix = segments[s].prefix, length = segments[s].end - segments[s].start;
        int& place = prefix < 0 ? roots : used[prefix];
        first[s] = place;
        place += subtree[s];
        used[s] = first[s] + length;
        for (int i = 0; i < length; ++i) table[segments[s].start + i] = {first[s] + i, subtree[s] - i};
    }
    return table;
}

// Calls `visit(stretch, cell, pairs)` for each stretch of `query_rows` rows and each cell of `key_rows` rows of which
// any row is seen, both ascending; `pairs` is how many pairs of their rows see each other.
template <class Visit>
inline void for_each_cell(const std::vector<Segment>& segments, int query_rows, int key_rows, Visit visit) {
    const int rows = count_rows(segments);
    std::vector<long long> pairs(tiles(rows, key_rows));
    int low = 0, high = 0;  // cells [low, high) are all that were added to; others are 0
    // Adds `sum(a, b)`, the pairs of the key rows a..b, to each cell that [start, end) falls into.
    auto add = [&](int start, int end, auto sum) {
        low = std::min(low, start / key_rows);
        high = std::max(high, tiles(end, key_rows));
        for (int cell = start / key_rows; cell * key_rows < end; ++cell)
            pairs[cell] += sum(std::max(start, cell * key_rows), std::min(end, (cell + 1) * key_rows));
    };
    std::size_t first_segment = 0;  // the first that reaches into the stretch
    for (int first = 0; first < rows; first += query_rows) {
        const int last = std::min(first + query_rows, rows);
        low = int(pairs.size()), high = 0;
        while (segments[first_segment].end <= first) ++first_segment;
        for (std::size_t s = first_segment; s < segments.size() && segments[s].start < last; ++s) {
            const int start = segments[s].start, from = std::max(first, start), to = std::min(last, segments[s].end);
            if (from >= to) continue;
            auto all = [&](int a, int b) { return (long long)(to - from) * (b - a); };
            for (int p = segments[s].prefix; p >= 0; p = segments[p].prefix)
                if (segments[p].start < segments[p].end) add(segments[p].start, segments[p].end, all);
            if (start < from) add(start, from, all);
            // Key row j is seen by the to - j rows from itself on.
            add(from, to, [&](int a, int b) { return (long long)(b - a) * (2LL * to - a - b + 1) / 2; });
        }
        for (int cell = low; cell < high; ++cell) {
            if (pairs[cell] > 0) visit(first / query_rows, cell, pairs[cell]);
            pairs[cell] = 0;
        }
    }
}

inline std::uint32_t warp_bits(int warp, bool all_seen) { return 1u << warp | (all_seen ? 0u : 1u << (8 + warp)); }

inline void check_shape(const TileShape& shape, int rows) {
    if (shape.warps() > 8 || shape.own % shape.warp_rows) throw std::invalid_argument("a block has 8 warps at most");
    if (tiles(rows, shape.other) > 1 << 16)
        throw std::invalid_argument("more rows than a list can number the tiles of");
}

// By tile of queries, the tiles of keys that any of its rows sees.
inline std::vector<std::vector<std::uint32_t>> query_lists(const std::vector<Segment>& segments, TileShape shape) {
    const int rows = count_rows(segments), full = shape.warp_rows * shape.other, warps = shape.warps();
    check_shape(shape, rows);
    std::vector<std::vector<std::uint32_t>> lists(tiles(rows, shape.own));
    std::vector<std::uint32_t> bits(tiles(rows, shape.other));  // of the own tile `current`
    int current = 0, low = int(bits.size()), high = 0;
    auto finish = [&] {
        for (int tile = low; tile < high; ++tile) {
            if (bits[tile]) lists[current].push_back(std::uint32_t(tile) << 16 | bits[tile]);
            bits[tile] = 0;
        }
        low = int(bits.size()), high = 0;
    };
    for_each_cell(segments, shape.warp_rows, shape.other, [&](int stretch, int cell, long long pairs) {
        if (stretch / warps != current) {
            finish();
            current = stretch / warps;
        }
        bits[cell] |= warp_bits(stretch % warps, pairs == full);
        low = std::min(low, cell);
        high = std::max(high, cell + 1);
    });
    if (!lists.empty()) finish();
    return lists;
}

// By tile of keys, the tiles of queries of which any row sees one of its rows.
inline std::vector<std::vector<std::uint32_t>> key_lists(const std::vector<Segment>& segments, TileShape shape) {
    const int rows = count_rows(segments), full = shape.warp_rows * shape.other, warps = shape.warps();
    check_shape(shape, rows);
    std::vector<std::vector<std::uint32_t>> lists(tiles(rows, shape.own));
    for_each_cell(segments, shape.other, shape.warp_rows, [&](int stretch, int cell, long long pairs) {
        auto& list = lists[cell / warps];
        if (list.empty() || list.back() >> 16 != std::uint32_t(stretch)) list.push_back(std::uint32_t(stretch) << 16);
        list.back() |= warp_bits(cell % warps, pairs == full);
    });
    return lists;
}

inline void sort_longest_first(std::vector<WorkItem>& items) {
    std::stable_sort(items.begin(), items.end(), [](auto& a, auto& b) { return a.end - a.begin > b.end - b.begin; });
}

// Work of forward and dq.
inline Work query_work(const std::vector<Segment>& segments, TileShape shape) {
    Work work;
    int tile = 0;
    for (auto& list : query_lists(segments, shape)) {
        const int begin = int(work.list.size());
        work.list.insert(work.list.end(), list.begin(), list.end());
        work.items.push_back({tile++, begin, int(work.list.size()), -1});
    }
    sort_longest_first(work.items);
    return work;
}

// How many entries an item of dkv may have so that `blocks` blocks that run at a time (multiprocessors times the blocks
// that fit on one) get about two items each: long enough to be worth their start, short enough to share the load.
inline int cut_length(long long entries, int kv_heads, int blocks) {
    return int(std::max(16LL, (entries * kv_heads + 2LL * blocks - 1) / (2LL * blocks)));
}

// Work of dkv: number e of an item is head e % group at list entry e / group. Items of more than `longest` numbers are
// cut into equal pieces (0: never).
inline Work key_work(const std::vector<Segment>& segments, TileShape shape, int group, int longest) {
    Work work;
    int tile = 0;
    for (auto& list : key_lists(segments, shape)) {
        const int begin = int(work.list.size()) * group;
        work.list.insert(work.list.end(), list.begin(), list.end());
        const int entries = int(list.size()) * group;
        const int pieces = longest > 0 ? std::max(1, (entries + longest - 1) / longest) : 1;
        if (pieces > 1) work.reduce.push_back({tile, work.slots, pieces, 0});
        for (int piece = 0; piece < pieces; ++piece) {
            auto cut = [&](int p) { return begin + int((long long)(entries)*p / pieces); };
            work.items.push_back({tile, cut(piece), cut(piece + 1), pieces > 1 ? work.slots++ : -1});
        }
        ++tile;
    }
    sort_longest_first(work.items);
    return work;
}

}  // namespace forest
