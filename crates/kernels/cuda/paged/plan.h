// Plan of the attention of one pass over a paged KV cache (PLAN.md), once a pass and for all layers. Plain C++17
// without CUDA; the reference that launchers in other languages are tested against.
#pragma once
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace paged_plan {

constexpr int BLOCK = 32, KEYS = 64, NARROW_ROWS = 16, WIDE_ROWS = 64;

// Rows [first, first + count) of the pass are tokens of one sequence at consecutive positions.
struct SequenceRows {
    int first, count, position;
    std::vector<int> blocks;  // of positions 0 up to the last row's, at least
};

struct Item {
    int first, count, sequence, wide, begin, end, unmasked, unused;
};
struct Entry {
    int row, part;
};
struct Merge {
    int row, first, count, unused;
};

struct Plan {
    std::vector<Item> items;  // longest first
    std::vector<Entry> entries;
    std::vector<Merge> merges;  // rows of several parts, and rows of no sequence, by row
    int parts = 0, max_blocks = 1;
    std::vector<int> block_tables, positions, slots;
};

inline int divide_up(int a, int b) { return (a + b - 1) / b; }

class Planner {
public:
    // `group` query heads share each of `kv_heads`; `blocks` thread blocks run at a time.
    Planner(const std::vector<SequenceRows>& sequences, int rows, int group, int kv_heads, int blocks)
        : sequences_(sequences), group_(group), parts_(std::size_t(rows)) {
        if (group < 1 || group > WIDE_ROWS) throw std::invalid_argument("1 to 64 query heads share a key/value head");
        make_tables(rows);
        order_.resize(sequences.size());
        for (std::size_t s = 0; s < order_.size(); ++s) order_[s] = int(s);
        std::stable_sort(order_.begin(), order_.end(), [&](int a, int b) {
            const auto &x = sequences_[std::size_t(a)].blocks, &y = sequences_[std::size_t(b)].blocks;
            return std::lexicographical_compare(x.begin(), x.begin() + needed(a), y.begin(), y.begin() + needed(b));
        });
        if (!order_.empty()) plan_family(0, int(order_.size()), 0);
        cut(kv_heads, blocks);
    }

    Plan take() { return std::move(plan_); }

private:
    struct Query {
        int row, position;
    };
    // Query rows that meet a range of keys; not yet cut.
    struct Range {
        std::vector<Query> queries;
        int sequence, begin, end;
        int tiles() const { return divide_up(end - begin, KEYS); }
    };

    // Blocks that hold the positions up to the last row's.
    int needed(int sequence) const {
        const auto& s = sequences_[std::size_t(sequence)];
        return divide_up(s.position + s.count, BLOCK);
    }

    void make_tables(int rows) {
        plan_.positions.assign(std::size_t(rows), 0);
        plan_.slots.assign(std::size_t(rows), -1);
        for (std::size_t s = 0; s < sequences_.size(); ++s) {
            const auto& sequence = sequences_[s];
            if (sequence.count < 1 || sequence.position < 0 || sequence.first < 0 ||
                sequence.first + sequence.count > rows || int(sequence.blocks.size()) < needed(int(s)))
                throw std::invalid_argument("a sequence has rows of the pass and a block for each position");
            plan_.max_blocks = std::max(plan_.max_blocks, needed(int(s)));
            for (int i = 0; i < sequence.count; ++i) {
                const int position = sequence.position + i, row = sequence.first + i;
                if (plan_.slots[std::size_t(row)] >= 0) throw std::invalid_argument("a row is of one sequence");
                plan_.positions[std::size_t(row)] = position;
                plan_.slots[std::size_t(row)] =
                    sequence.blocks[std::size_t(position / BLOCK)] * BLOCK + position % BLOCK;
            }
        }
        plan_.block_tables.assign(sequences_.size() * std::size_t(plan_.max_blocks), 0);
        for (std::size_t s = 0; s < sequences_.size(); ++s)
            std::copy_n(sequences_[s].blocks.begin(), needed(int(s)),
                        plan_.block_tables.begin() + std::ptrdiff_t(s) * plan_.max_blocks);
    }

    int common_blocks(int a, int b) const {
        const auto &x = sequences_[std::size_t(a)].blocks, &y = sequences_[std::size_t(b)].blocks;
        const int most = std::min(needed(a), needed(b));
        return int(std::mismatch(x.begin(), x.begin() + most, y.begin()).first - x.begin());
    }

    int tiles_of(int tokens) const {
        return tokens * group_ <= NARROW_ROWS ? 1 : divide_up(tokens, WIDE_ROWS / group_);
    }

    // Sequences [low, high) of the order, whose blocks before `start` others have seen to.
    void plan_family(int low, int high, int start) {
        const int common = high - low == 1 ? needed(order_[std::size_t(low)])
                                           : common_blocks(order_[std::size_t(low)], order_[std::size_t(high - 1)]);
        int tokens = 0, apart = 0;  // rows, and tiles of query rows if each sequence had its own
        for (int i = low; i < high; ++i) {
            const int count = sequences_[std::size_t(order_[std::size_t(i)])].count;
            tokens += count;
            apart += tiles_of(count);
        }
        // A part of a row and its merge cost about group / 16 of the bytes of a tile of keys.
        const long long saved = (long long)(apart - tiles_of(tokens)) * divide_up((common - start) * BLOCK, KEYS);
        if (high - low == 1 || saved * 16 > (long long)(tokens)*group_) {
            add_ranges(low, high, start * BLOCK, common * BLOCK);
            start = common;
        }
        for (int i = low, next; i < high; i = next) {
            next = i + 1;
            const int sequence = order_[std::size_t(i)];
            if (needed(sequence) == common) {
                if (start < common) add_ranges(i, next, start * BLOCK, common * BLOCK);
                continue;
            }
            const int block = sequences_[std::size_t(sequence)].blocks[std::size_t(common)];
            auto has_block = [&](int other) {
                return needed(other) > common && sequences_[std::size_t(other)].blocks[std::size_t(common)] == block;
            };
            while (next < high && has_block(order_[std::size_t(next)])) ++next;
            plan_family(i, next, start);
        }
    }

    // Tiles of the rows of these sequences over the keys [begin, end).
    void add_ranges(int low, int high, int begin, int end) {
        std::vector<Query> queries;
        for (int i = low; i < high; ++i) {
            const auto& s = sequences_[std::size_t(order_[std::size_t(i)])];
            for (int j = std::max(0, begin - s.position); j < s.count; ++j)
                queries.push_back({s.first + j, s.position + j});
        }
        const int tokens = int(queries.size());
        const int size = tokens * group_ <= NARROW_ROWS ? std::max(1, tokens) : WIDE_ROWS / group_;
        for (int first = 0; first < tokens; first += size) {
            Range range{{queries.begin() + first, queries.begin() + std::min(tokens, first + size)},
                        order_[std::size_t(low)],
                        begin,
                        0};
            for (auto& query : range.queries) range.end = std::max(range.end, std::min(end, query.position + 1));
            ranges_.push_back(std::move(range));
        }
    }

    // Cuts the ranges so that the thread blocks that run at a time get about two items each, and numbers the parts.
    void cut(int kv_heads, int blocks) {
        long long tiles = 0;
        for (auto& range : ranges_) tiles += range.tiles();
        const int longest = int(std::max(2LL, (tiles * kv_heads + 2LL * blocks - 1) / (2LL * blocks)));
        for (auto& range : ranges_) {
            const int pieces = divide_up(range.tiles(), longest);
            for (int piece = 0; piece < pieces; ++piece) {
                auto at = [&](int p) { return range.begin + int((long long)(range.tiles()) * p / pieces) * KEYS; };
                add_item(range, at(piece), std::min(range.end, at(piece + 1)));
            }
        }
        // A row's parts are numbered one after the other, in the order of its items.
        std::vector<int> next(parts_.size());
        for (std::size_t row = 0; row < parts_.size(); ++row) {
            if (parts_[row] == 1) continue;
            next[row] = plan_.parts;
            plan_.merges.push_back({int(row), parts_[row] ? plan_.parts : 0, parts_[row], 0});
            plan_.parts += parts_[row];
        }
        for (auto& entry : plan_.entries)
            if (parts_[std::size_t(entry.row)] > 1) entry.part = next[std::size_t(entry.row)]++;
        std::stable_sort(plan_.items.begin(), plan_.items.end(),
                         [](auto& a, auto& b) { return a.end - a.begin > b.end - b.begin; });
    }

    // The rows of a range that see keys from `begin` on.
    void add_item(const Range& range, int begin, int end) {
        Item item{int(plan_.entries.size()), 0, range.sequence, 0, begin, 0, end, 0};
        for (auto& query : range.queries) {
            if (query.position < begin) continue;
            plan_.entries.push_back({query.row, -1});
            ++parts_[std::size_t(query.row)];
            ++item.count;
            item.end = std::max(item.end, std::min(end, query.position + 1));
            item.unmasked = std::min(item.unmasked, query.position + 1);
        }
        item.wide = item.count * group_ > NARROW_ROWS;
        plan_.items.push_back(item);
    }

    const std::vector<SequenceRows>& sequences_;
    const int group_;
    std::vector<int> order_;  // sequences by their blocks
    std::vector<Range> ranges_;
    std::vector<int> parts_;  // of each row
    Plan plan_;
};

inline Plan make_plan(const std::vector<SequenceRows>& sequences, int rows, int group, int kv_heads, int blocks) {
    return Planner(sequences, rows, group, kv_heads, blocks).take();
}

}  // namespace paged_plan
