// Arguments of the forest attention kernels; PLAN.md says what the arrays hold.
#pragma once
#include <cstddef>

#include "../emulator/device.h"

namespace forest {

struct Shape {
    int rows, heads, kv_heads;  // N, H, K
    float scale;                // of the scores, 1 / sqrt(D) as a rule
};

// One block's work for each head: tile, begin and end of its part of the list, slot of the partial sums or -1.
using Item = int4;

struct ForwardArguments {
    Shape shape;
    const uint16_t *q, *k, *v;  // [N, H, D], [N, K, D], [N, K, D]
    const int2* table;          // [P]: position, reach
    const Item* items;
    const uint32_t* list;
    uint16_t* out;  // [N, H, D]
    float* lse;     // [H, N]
};

struct PreprocessArguments {
    Shape shape;
    int padded;                  // P
    const uint16_t *out, *dout;  // [N, H, D]
    const float* lse;            // [H, N]
    float2* statistics;          // [H, P]: lse in base 2, dout . out
};

struct BackwardArguments {
    Shape shape;
    int padded;
    const uint16_t *q, *k, *v, *dout;
    const int2* table;
    const float2* statistics;
    const Item* items;
    const uint32_t* list;
    uint16_t *dq, *dk, *dv;  // [N, H, D], [N, K, D], [N, K, D]
    float* partial;          // [slots, K, 2, own, D]: dk and dv of one piece
};

struct ReduceArguments {
    Shape shape;
    const int4* items;  // tile, first slot, number of slots
    const float* partial;
    uint16_t *dk, *dv;
};

// The offsets that launchers in other languages rely on.
static_assert(sizeof(Shape) == 16 && sizeof(ForwardArguments) == 80 && sizeof(PreprocessArguments) == 56);
static_assert(sizeof(BackwardArguments) == 120 && sizeof(ReduceArguments) == 48);
static_assert(offsetof(ForwardArguments, q) == 16 && offsetof(ForwardArguments, lse) == 72);
static_assert(offsetof(PreprocessArguments, padded) == 16 && offsetof(PreprocessArguments, statistics) == 48);
static_assert(offsetof(BackwardArguments, padded) == 16 && offsetof(BackwardArguments, q) == 24);
static_assert(offsetof(BackwardArguments, items) == 72 && offsetof(BackwardArguments, partial) == 112);
static_assert(offsetof(ReduceArguments, items) == 16 && offsetof(ReduceArguments, dv) == 40);

constexpr float LOG2_E = 1.4426950408889634f;  // softmax works in base 2

// Entries of a list: tile << 16 | masked << 8 | visible, with a bit for each warp of the block.
__device__ __forceinline__ int tile_of(uint32_t entry) { return int(entry >> 16); }
__device__ __forceinline__ bool visible_to(uint32_t entry, int warp) { return entry >> warp & 1; }
__device__ __forceinline__ bool masked_for(uint32_t entry, int warp) { return entry >> (8 + warp) & 1; }

// Whether a query row sees a key row.
__device__ __forceinline__ bool sees(int query_position, int key_position, int key_reach) {
    return unsigned(query_position - key_position) < unsigned(key_reach);
}

}  // namespace forest
