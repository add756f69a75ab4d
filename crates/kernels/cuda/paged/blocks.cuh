// Keys and values of new tokens into their slots, and copies of whole blocks. No arithmetic; bound by memory.
#pragma once
#include "arguments.h"

namespace paged {

// 16 bytes of k and of v a thread. Reads 4 K D + 4 bytes a row, writes 4 K D.
struct Write {
    static constexpr int THREADS = 256;

    static __device__ __forceinline__ void run(const WriteArguments& a) {
        const int chunks = a.width / 8;  // of a head
        const long long number = (long long)(blockIdx.x) * THREADS + threadIdx.x;
        const int chunk = int(number % chunks), head = int(number / chunks % a.kv_heads);
        const long long row = number / chunks / a.kv_heads;
        if (row >= a.rows) return;
        const int slot = load_global(a.slots + row);
        if (slot < 0) return;
        const size_t panel = size_t(slot / BLOCK) * a.kv_heads + head;
        const size_t to = (panel * BLOCK + slot % BLOCK) * chunks + chunk;
        store_global(reinterpret_cast<uint4*>(a.keys) + to, load_global(reinterpret_cast<const uint4*>(a.k) + number));
        store_global(reinterpret_cast<uint4*>(a.values) + to,
                     load_global(reinterpret_cast<const uint4*>(a.v) + number));
    }
};

// One thread block a pair and panel, the keys or values of a block in one layer. Reads and writes 2 * 32 K D bytes
// each.
struct Copy {
    static constexpr int THREADS = 256;

    static __device__ __forceinline__ void run(const CopyArguments& a) {
        const int2 pair = load_global(a.pairs + blockIdx.x / a.panels);
        const size_t panel = size_t(blockIdx.x % a.panels) * a.blocks;
        auto pool = reinterpret_cast<uint4*>(a.pool);
        const uint4* from = pool + (panel + pair.x) * a.chunks;
        uint4* to = pool + (panel + pair.y) * a.chunks;
#pragma unroll 4
        for (int i = threadIdx.x; i < a.chunks; i += THREADS) store_global(to + i, load_global(from + i));
    }
};

}  // namespace paged
