// The state of the emulated device: the block that runs, its warps and threads, and how threads take turns.
//
// Every thread is a fiber. Warps run one after the other, each until all of its lanes wait at a barrier or are done;
// the lanes of a warp come together at every warp-wide instruction (mma, ldmatrix, shuffle, vote). One host thread
// only.
#pragma once
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "fiber.h"
#include "report.h"

namespace emu {

constexpr unsigned LANES = 32;

struct Index3 {
    unsigned x = 0, y = 0, z = 0;
};
struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
    Dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    std::uint64_t count() const { return std::uint64_t(x) * y * z; }
};

// A cp.async that has not landed.
struct Copy {
    char* to;
    unsigned char data[16];
    unsigned bytes;
};

enum class Space { Shared, Global };

// One lane's share of an access, for counting transactions.
struct Access {
    std::uintptr_t at;
    unsigned bytes;
    Space space;
    const char* kind;
};

enum class State { Run, WaitWarp, WaitBlock, Done };

struct Warp;
struct Thread {
    Fiber fiber;
    State state = State::Run;
    std::uint64_t generation = 0;  // of the warp-wide instruction that it waits for
    unsigned lane = 0, number = 0;
    std::uint32_t global_number = 0;
    int barrier_line = 0;
    Index3 index;
    Warp* warp = nullptr;
    std::vector<Copy> open;                 // cp.async that are not yet committed
    std::vector<std::vector<Copy>> groups;  // committed, the oldest first
    std::vector<Access> log;                // since the last warp-wide instruction or barrier
};

struct Warp {
    Thread* lanes[LANES] = {};
    unsigned size = 0, arrived = 0;
    std::uint64_t generation = 0;
    std::uint32_t epoch = 1;  // grows at __syncwarp
    const char* kind = nullptr;
    void* arguments[LANES] = {};
};

// What is known of 2 bytes of shared memory: who wrote and who read them last, and in which epoch. An epoch ends at a
// barrier, a warp's at __syncwarp; accesses of one epoch are not ordered.
struct Shadow {
    std::uint32_t write_epoch = 0, write_warp_epoch = 0, read_epoch = 0, read_warp_epoch = 0;
    std::uint16_t writer = 0, reader = 0;  // a thread; `reader` also MANY, or MANY_OF_WARP + warp
    bool written = false, in_flight = false;
};
constexpr std::uint16_t MANY_OF_WARP = 0x8000, MANY = 0xFFFF;

struct Options {
    bool reverse_warps = false;   // the last warp first
    bool reverse_blocks = false;  // the last block first
    bool count_traffic = true;
    std::size_t most_shared_bytes = 99 << 10;  // what a block may have on sm_89, the least of sm_80, sm_89 and sm_90
};

struct Machine {
    Stacks stacks;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<char> shared_memory;
    char* shared = nullptr;
    std::size_t shared_bytes = 0;
    std::vector<Shadow> shadow;
    std::uint32_t epoch = 1;
    Fiber scheduler;
    Thread* current = nullptr;
    Index3 block;
    Dim3 grid, block_size;
    Report* report = nullptr;
    Options options;
    const char* kernel = "";
    std::function<void()> body;
    bool broken = false;  // threads are left that can never go on
};
inline Machine machine;

inline void fault(Fault kind, const std::string& detail) {
    if (machine.report->counts[kind]++ > 0) return;
    std::string message = std::string(machine.kernel) + ", block " + std::to_string(machine.block.x) + ", thread " +
                          std::to_string(machine.current ? machine.current->number : 0) + ": " + name(kind);
    machine.report->messages.push_back(detail.empty() ? message : message + " (" + detail + ")");
}

inline bool runnable(const Thread& thread) {
    return thread.state == State::Run ||
           (thread.state == State::WaitWarp && thread.generation != thread.warp->generation);
}

// Gives the processor to the next lane of the warp that can go on, else to the scheduler.
inline void yield() {
    Thread* me = machine.current;
    Warp& warp = *me->warp;
    for (unsigned step = 1; step <= warp.size; ++step) {
        Thread* next = warp.lanes[(me->lane + step) % warp.size];
        if (!runnable(*next)) continue;
        if (next == me) return;
        machine.current = next;
        Fiber::switch_to(me->fiber, next->fiber);
        return;
    }
    machine.current = nullptr;
    Fiber::switch_to(me->fiber, machine.scheduler);
}

inline void count_transactions(Warp& warp);  // traffic.h

// All lanes of the warp come here with their arguments; the last to come executes the instruction for all.
template <class Execute>
inline void warp_collective(const char* kind, void* arguments, Execute execute) {
    Thread* me = machine.current;
    Warp& warp = *me->warp;
    if (warp.arrived == 0) {
        warp.kind = kind;
    } else if (std::strcmp(warp.kind, kind) != 0) {
        fault(Fault::Divergence, std::string(kind) + " meets " + warp.kind);
    }
    warp.arguments[me->lane] = arguments;
    if (++warp.arrived == warp.size) {
        if (machine.options.count_traffic) count_transactions(warp);
        ++machine.report->executed[kind];
        execute(warp);
        warp.arrived = 0;
        ++warp.generation;
        return;
    }
    me->state = State::WaitWarp;
    me->generation = warp.generation;
    while (!runnable(*me)) yield();
    me->state = State::Run;
}

inline void barrier(int line) {
    Thread* me = machine.current;
    me->barrier_line = line;
    me->state = State::WaitBlock;
    while (me->state == State::WaitBlock) yield();
}

}  // namespace emu
