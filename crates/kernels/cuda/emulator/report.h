// Reports of emulated launches: faults by kind, instructions executed, and the traffic of shared and global memory.
#pragma once
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace emu {

enum class Fault {
    GlobalBounds,
    GlobalUnwritten,
    GlobalRace,
    SharedBounds,
    SharedUnwritten,
    SharedRace,
    CopyInFlight,
    CopyNeverAwaited,
    Alignment,
    Divergence,
    LaunchLimits,
};
constexpr int FAULT_KINDS = 11;

inline const char* name(Fault fault) {
    static const char* names[FAULT_KINDS] = {"global access out of bounds",
                                             "read of unwritten global memory",
                                             "race in global memory",
                                             "shared access out of bounds",
                                             "read of unwritten shared memory",
                                             "race in shared memory",
                                             "access while cp.async is in flight",
                                             "cp.async that is never awaited",
                                             "misaligned access",
                                             "divergent threads",
                                             "launch beyond the device's limits"};
    return names[int(fault)];
}

// Accesses of whole warps to one kind of memory. The unit of `transactions` is the wavefront (shared memory: at most
// one word of each of the 32 banks) or the sector (global memory: 32 bytes); `ideal` is what the bytes themselves need.
struct Traffic {
    std::uint64_t accesses = 0, transactions = 0, ideal = 0;

    double excess() const { return ideal ? double(transactions) / double(ideal) : 1.0; }
    Traffic& operator+=(const Traffic& other) {
        accesses += other.accesses;
        transactions += other.transactions;
        ideal += other.ideal;
        return *this;
    }
};

struct Report {
    std::map<Fault, std::uint64_t> counts;
    std::vector<std::string> messages;              // the first of each kind
    std::map<std::string, Traffic> banks;           // shared memory, by kind of access
    std::map<std::string, Traffic> sectors;         // global memory, by kind of access
    std::map<std::string, std::uint64_t> executed;  // warp-wide instructions
    std::uint64_t barriers = 0, blocks = 0, global_bytes_read = 0, global_bytes_written = 0;

    bool clean() const { return counts.empty(); }
    bool has(Fault fault) const { return counts.count(fault) != 0; }

    // Adds another launch of the same kernel.
    Report& operator+=(const Report& other) {
        for (auto& [fault, count] : other.counts) counts[fault] += count;
        messages.insert(messages.end(), other.messages.begin(), other.messages.end());
        for (auto& [kind, traffic] : other.banks) banks[kind] += traffic;
        for (auto& [kind, traffic] : other.sectors) sectors[kind] += traffic;
        for (auto& [kind, count] : other.executed) executed[kind] += count;
        barriers += other.barriers;
        blocks += other.blocks;
        global_bytes_read += other.global_bytes_read;
        global_bytes_written += other.global_bytes_written;
        return *this;
    }

    void print_faults(FILE* out = stderr) const {
        for (auto& message : messages) std::fprintf(out, "  %s\n", message.c_str());
        for (auto& [fault, count] : counts)
            std::fprintf(out, "  %s: %llu times\n", name(fault), (unsigned long long)count);
    }
    void print_traffic(FILE* out = stdout) const {
        auto print = [&](const std::map<std::string, Traffic>& all, const char* unit) {
            for (auto& [kind, x] : all)
                std::fprintf(out, "    %-16s %9llu accesses, %9llu %s, x %.2f of the least\n", kind.c_str(),
                             (unsigned long long)x.accesses, (unsigned long long)x.transactions, unit, x.excess());
        };
        print(banks, "wavefronts");
        print(sectors, "sectors");
    }
};

}  // namespace emu
