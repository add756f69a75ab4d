// Arguments of the kernels of a paged KV cache; PLAN.md says what the arrays hold.
#pragma once
#include <cstddef>

#include "../emulator/device.h"

namespace paged {

constexpr int BLOCK = 32;  // positions of a block of the cache
constexpr int KEYS = 64;   // keys of a tile: two blocks

// One thread block's work for each key/value head: query rows, and a range of keys of one block table.
struct alignas(16) Item {
    int first, count;  // entries; count 0 is no work
    int sequence;      // row of the block tables
    int wide;          // 0: at most 16 query rows, the warps share the keys; 1: at most 64, the warps share the rows
    int begin, end;    // keys by position; begin is a multiple of BLOCK
    int unmasked;      // keys below it are seen by all rows
    int unused;
};

// A row of the pass, and which of its parts the item makes: -1 if it is all of the row's output.
struct alignas(8) Entry {
    int row, part;
};

// A row whose output is put together from parts [first, first + count); row -1 is no work, count 0 zeros.
struct alignas(16) Merge {
    int row, first, count, unused;
};

struct AttentionArguments {
    int heads, kv_heads;            // H, K
    int max_blocks;                 // of a row of the block tables
    float scale;                    // of the scores, 1 / sqrt(D)
    const uint16_t* q;              // [N, H, D]
    const uint16_t *keys, *values;  // of a layer, [blocks, K, BLOCK, D]
    const int* block_tables;        // [sequences, max_blocks]
    const int* positions;           // [N]
    const Item* items;
    const Entry* entries;
    uint16_t* out;   // [N, H, D]
    float* partial;  // [parts, H, D]
    float* lse;      // [parts, H], in base 2
};

struct MergeArguments {
    int heads, count;  // H, number of merges
    const Merge* merges;
    const float *partial, *lse;
    uint16_t* out;
};

struct WriteArguments {
    int rows, kv_heads, width, unused;  // N, K, D
    const uint16_t *k, *v;              // [N, K, D]
    const int* slots;                   // [N]: block * BLOCK + offset, or -1 for a row that is not kept
    uint16_t *keys, *values;            // of a layer, [blocks, K, BLOCK, D]
};

struct CopyArguments {
    int panels, blocks;  // 2 * layers, blocks of a layer
    int chunks, unused;  // 16 bytes each, of a block in a panel: K * BLOCK * D / 8
    const int2* pairs;   // from, to
    uint16_t* pool;      // [panels, blocks, K, BLOCK, D]
};

// The offsets that launchers in other languages rely on.
static_assert(sizeof(Item) == 32 && sizeof(Entry) == 8 && sizeof(Merge) == 16);
static_assert(sizeof(AttentionArguments) == 96 && offsetof(AttentionArguments, q) == 16);
static_assert(offsetof(AttentionArguments, items) == 56 && offsetof(AttentionArguments, lse) == 88);
static_assert(sizeof(MergeArguments) == 40 && offsetof(MergeArguments, merges) == 8);
static_assert(sizeof(WriteArguments) == 56 && offsetof(WriteArguments, k) == 16);
static_assert(sizeof(CopyArguments) == 32 && offsetof(CopyArguments, pairs) == 16);

}  // namespace paged
