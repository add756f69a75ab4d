// Emulator of CUDA blocks on the CPU, which checks what a kernel does while it computes.
//
//     emu::Buffer<float> x("x", values), y("y", values.size());
//     emu::Report report = emu::launch("double", grid, 128, shared_bytes, [&] { double_kernel(x.data(), y.data()); });
//
// What the hardware leaves undefined is made visible: shared memory starts as NaN, a cp.async lands only when it is
// awaited, global memory that nobody wrote cannot be read. Faults are collected in the report; a launch goes on after
// one wherever it can. Only accesses through the functions of device.h are seen, a bare `*pointer` is not.
#pragma once
#include "instructions.h"

namespace emu {

inline void thread_entry() {
    machine.body();
    Thread* me = machine.current;
    for (auto& group : me->groups)
        if (!group.empty()) fault(Fault::CopyNeverAwaited, "");
    if (!me->open.empty()) fault(Fault::CopyNeverAwaited, "not even committed");
    me->state = State::Done;
    for (;;) yield();
}

// All threads wait at a barrier, are done, or can never go on. Returns whether the block goes on.
inline bool end_epoch(unsigned count) {
    auto& m = machine;
    unsigned done = 0, waiting = 0;
    int line = 0;
    m.current = nullptr;
    for (auto& thread : m.threads) {
        done += thread.state == State::Done;
        if (thread.state != State::WaitBlock) continue;
        if (waiting++ == 0)
            line = thread.barrier_line;
        else if (line != thread.barrier_line)
            fault(Fault::Divergence,
                  "barriers of lines " + std::to_string(line) + " and " + std::to_string(thread.barrier_line));
    }
    if (m.options.count_traffic)
        for (auto& warp : m.warps)
            if (warp.arrived == 0) count_transactions(warp);
    if (done == count) return false;
    if (waiting + done < count) {
        fault(Fault::Divergence, "a warp-wide instruction that not all lanes reach");
        m.broken = true;
        return false;
    }
    if (done > 0) fault(Fault::Divergence, "a barrier that not all threads reach");
    ++m.epoch;
    ++m.report->barriers;
    for (auto& thread : m.threads)
        if (thread.state == State::WaitBlock) thread.state = State::Run;
    return true;
}

inline void run_block() {
    auto& m = machine;
    const auto count = unsigned(m.block_size.count());
    for (unsigned i = 0; i < count; ++i) m.threads[i].fiber.start(m.stacks.get(i), STACK_BYTES, thread_entry);
    do {
        for (std::size_t w = 0; w < m.warps.size(); ++w) {
            Warp& warp = m.warps[m.options.reverse_warps ? m.warps.size() - 1 - w : w];
            for (unsigned lane = 0; lane < warp.size; ++lane) {
                if (!runnable(*warp.lanes[lane])) continue;
                m.current = warp.lanes[lane];
                Fiber::switch_to(m.scheduler, m.current->fiber);
                lane = unsigned(-1);  // look again from the first lane on
            }
        }
    } while (end_epoch(count));
}

inline void begin_block(std::uint64_t number, unsigned threads) {
    auto& m = machine;
    m.block = {unsigned(number % m.grid.x), unsigned(number / m.grid.x % m.grid.y),
               unsigned(number / m.grid.x / m.grid.y)};
    std::memset(m.shared, 0xFF, m.shared_bytes);
    m.shadow.assign((m.shared_bytes + 1) / 2, Shadow{});
    m.epoch = 1;
    if (m.threads.size() != threads) m.threads = std::vector<Thread>(threads);
    m.warps.assign((threads + LANES - 1) / LANES, Warp{});
    for (unsigned i = 0; i < threads; ++i) {
        Thread& thread = m.threads[i];
        thread.state = State::Run;
        thread.lane = i % LANES;
        thread.number = i;
        thread.global_number = std::uint32_t(number * threads + i);
        thread.index = {i % m.block_size.x, i / m.block_size.x % m.block_size.y, i / m.block_size.x / m.block_size.y};
        thread.warp = &m.warps[i / LANES];
        thread.warp->lanes[thread.lane] = &thread;
        thread.warp->size = thread.lane + 1;
        thread.open.clear();
        thread.groups.clear();
        thread.log.clear();
    }
}

inline bool within_limits(Dim3 grid, Dim3 block, std::size_t shared_bytes, const Options& options) {
    return block.count() >= 1 && block.count() <= Stacks::COUNT && block.z <= 64 && grid.count() >= 1 &&
           grid.x <= 0x7FFFFFFF && grid.y <= 0xFFFF && grid.z <= 0xFFFF && shared_bytes <= options.most_shared_bytes;
}

// Runs `body`, a call of the kernel, for every thread of every block.
inline Report launch(const char* kernel, Dim3 grid, Dim3 block, std::size_t shared_bytes, std::function<void()> body,
                     Options options = {}) {
    auto& m = machine;
    Report report;
    m.report = &report;
    m.options = options;
    m.kernel = kernel;
    m.body = std::move(body);
    m.grid = grid;
    m.block_size = block;
    m.block = {};
    m.current = nullptr;
    if (!within_limits(grid, block, shared_bytes, options)) {
        fault(Fault::LaunchLimits, std::to_string(grid.count()) + " blocks of " + std::to_string(block.count()) +
                                       " threads and " + std::to_string(shared_bytes) + " bytes");
        m.report = nullptr;
        return report;
    }
    m.shared_bytes = shared_bytes;
    m.shared_memory.resize(shared_bytes + 256);
    auto aligned = (reinterpret_cast<std::uintptr_t>(m.shared_memory.data()) + 127) & ~std::uintptr_t(127);
    m.shared = reinterpret_cast<char*>(aligned);
    begin_launch_of_global_memory();
    for (std::uint64_t number = 0; number < grid.count() && !m.broken; ++number) {
        begin_block(options.reverse_blocks ? grid.count() - 1 - number : number, unsigned(block.count()));
        run_block();
        ++report.blocks;
    }
    m.broken = false;
    m.current = nullptr;
    m.report = nullptr;
    return report;
}

}  // namespace emu
