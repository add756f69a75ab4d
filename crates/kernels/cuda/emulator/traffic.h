// Transactions of shared and global memory: bank conflicts and uncoalesced accesses.
//
// The accesses of a warp's lanes since the last warp-wide instruction are matched by their order: the n-th load of one
// lane goes with the n-th of the others. That is exact where lanes take the same path and an estimate where they do
// not.
#pragma once
#include <algorithm>

#include "machine.h"

namespace emu {

inline void log_access(Thread& thread, std::uintptr_t at, unsigned bytes, Space space, const char* kind) {
    if (machine.options.count_traffic) thread.log.push_back({at, bytes, space, kind});
}

// Wavefronts of shared memory. Lanes are served in groups of 128 bytes; a group takes as many wavefronts as the most
// distinct words that fall on one of the 32 banks.
inline void count_wavefronts(const Access* const* accesses, unsigned count, Traffic& total) {
    unsigned lanes = LANES;
    for (unsigned i = 0; i < count; ++i)
        if (accesses[i]->bytes > 4) lanes = std::min(lanes, 128 / accesses[i]->bytes);
    ++total.accesses;
    for (unsigned first = 0; first < count; first += lanes) {
        std::uintptr_t words[LANES * 4];
        unsigned used = 0, most = 0, per_bank[32] = {};
        for (unsigned i = first; i < count && i < first + lanes; ++i) {
            for (unsigned byte = 0; byte < accesses[i]->bytes; byte += 4) {
                const std::uintptr_t word = (accesses[i]->at + byte) / 4;
                if (std::find(words, words + used, word) != words + used) continue;
                words[used++] = word;
                most = std::max(most, ++per_bank[word % 32]);
            }
        }
        total.transactions += most;
        total.ideal += (used + 31) / 32;
    }
}

// Sectors of global memory: distinct stretches of 32 bytes that the warp's access touches.
inline void count_sectors(const Access* const* accesses, unsigned count, Traffic& total) {
    std::uintptr_t sectors[LANES], starts[LANES];
    unsigned used = 0, distinct = 0, bytes = 0;
    for (unsigned i = 0; i < count; ++i) {
        const std::uintptr_t sector = accesses[i]->at / 32;  // aligned and of 16 bytes at most: never two sectors
        if (std::find(sectors, sectors + used, sector) == sectors + used) sectors[used++] = sector;
        if (std::find(starts, starts + distinct, accesses[i]->at) == starts + distinct) {
            starts[distinct++] = accesses[i]->at;
            bytes += accesses[i]->bytes;
        }
    }
    ++total.accesses;
    total.transactions += used;
    total.ideal += (bytes + 31) / 32;
}

inline void count_transactions(Warp& warp) {
    std::size_t cursor[LANES] = {};
    for (;;) {
        const Access* accesses[LANES];
        unsigned count = 0;
        for (unsigned lane = 0; lane < warp.size; ++lane) {
            auto& log = warp.lanes[lane]->log;
            if (cursor[lane] == log.size()) continue;
            const Access& next = log[cursor[lane]];
            if (count && (next.space != accesses[0]->space || std::strcmp(next.kind, accesses[0]->kind) != 0)) continue;
            accesses[count++] = &next;
            ++cursor[lane];
        }
        if (count == 0) break;
        if (accesses[0]->space == Space::Shared)
            count_wavefronts(accesses, count, machine.report->banks[accesses[0]->kind]);
        else
            count_sectors(accesses, count, machine.report->sectors[accesses[0]->kind]);
    }
    for (unsigned lane = 0; lane < warp.size; ++lane) warp.lanes[lane]->log.clear();
}

}  // namespace emu
