// Shared memory of the emulated block: bounds, races between barriers, and cp.async, which lands only when awaited.
#pragma once
#include "global_memory.h"

namespace emu {

inline bool check_shared_range(const void* pointer, unsigned bytes) {
    auto at = static_cast<const char*>(pointer);
    if (at < machine.shared || at + bytes > machine.shared + machine.shared_bytes) {
        fault(Fault::SharedBounds, std::to_string(at - machine.shared) + " of " + std::to_string(machine.shared_bytes));
        return false;
    }
    if (reinterpret_cast<std::uintptr_t>(pointer) % bytes) {
        fault(Fault::Alignment, "shared");
        return false;
    }
    return true;
}

inline std::size_t shadow_index(const void* pointer) {
    return std::size_t(static_cast<const char*>(pointer) - machine.shared) / 2;
}

inline void log_shared(Thread& thread, const void* pointer, unsigned bytes, const char* kind) {
    log_access(thread, std::uintptr_t(static_cast<const char*>(pointer) - machine.shared), bytes, Space::Shared, kind);
}

inline bool ordered_before(const Thread& me, std::uint16_t other, std::uint32_t epoch, std::uint32_t warp_epoch) {
    if (epoch != machine.epoch || other == me.number) return true;
    return other / LANES == me.number / LANES && warp_epoch != me.warp->epoch;
}

inline std::string shared_place(std::size_t half, const char* what, unsigned other) {
    return std::string(what) + " thread " + std::to_string(other) + " at byte " + std::to_string(2 * half);
}

inline bool check_shared_read(Thread& me, const void* pointer, unsigned bytes) {
    if (!check_shared_range(pointer, bytes)) return false;
    const std::size_t first = shadow_index(pointer);
    const auto warp = std::uint16_t(me.number / LANES);
    for (std::size_t i = first; i < first + (bytes + 1) / 2; ++i) {
        Shadow& s = machine.shadow[i];
        if (s.in_flight)
            fault(Fault::CopyInFlight, "read at byte " + std::to_string(2 * i));
        else if (!s.written)
            fault(Fault::SharedUnwritten, "at byte " + std::to_string(2 * i));
        else if (!ordered_before(me, s.writer, s.write_epoch, s.write_warp_epoch))
            fault(Fault::SharedRace, shared_place(i, "reads what was written without a barrier by", s.writer));
        if (s.read_epoch != machine.epoch) {
            s.reader = std::uint16_t(me.number);
        } else if (s.reader != MANY && s.reader != me.number) {
            const bool of_my_warp = s.reader & MANY_OF_WARP ? (s.reader & 0x7FFF) == warp : s.reader / LANES == warp;
            s.reader = of_my_warp ? std::uint16_t(MANY_OF_WARP | warp) : MANY;
        }
        s.read_epoch = machine.epoch;
        s.read_warp_epoch = me.warp->epoch;
    }
    return true;
}

inline void mark_written(Thread& me, Shadow& s) {
    s.writer = std::uint16_t(me.number);
    s.write_epoch = machine.epoch;
    s.write_warp_epoch = me.warp->epoch;
}

inline void check_shared_write_at(Thread& me, std::size_t i) {
    Shadow& s = machine.shadow[i];
    if (s.in_flight) fault(Fault::CopyInFlight, "written at byte " + std::to_string(2 * i));
    if (s.written && !ordered_before(me, s.writer, s.write_epoch, s.write_warp_epoch))
        fault(Fault::SharedRace, shared_place(i, "overwrites without a barrier what was written by", s.writer));
    if (s.read_epoch == machine.epoch && s.reader != me.number) {
        const unsigned warp_of_reader = s.reader & MANY_OF_WARP ? s.reader & 0x7FFF : s.reader / LANES;
        const bool of_my_warp = s.reader != MANY && warp_of_reader == me.number / LANES;
        if (!of_my_warp || s.read_warp_epoch == me.warp->epoch)
            fault(Fault::SharedRace, shared_place(i, "overwrites without a barrier what was read by", s.reader));
    }
    mark_written(me, s);
}

inline bool check_shared_write(Thread& me, const void* pointer, unsigned bytes) {
    if (!check_shared_range(pointer, bytes)) return false;
    const std::size_t first = shadow_index(pointer);
    for (std::size_t i = first; i < first + (bytes + 1) / 2; ++i) {
        check_shared_write_at(me, i);
        machine.shadow[i].written = true;
    }
    return true;
}

// 16 bytes, or 16 zeros of which `global` is not read. Until the copy is awaited the place holds NaN.
inline void async_copy(void* shared, const void* global, bool valid) {
    constexpr unsigned BYTES = 16;
    Thread& me = *machine.current;
    if (!check_shared_range(shared, BYTES)) return;
    const std::size_t first = shadow_index(shared);
    for (std::size_t i = first; i < first + BYTES / 2; ++i) {
        check_shared_write_at(me, i);
        machine.shadow[i].in_flight = true;
    }
    std::memset(shared, 0xFF, BYTES);
    log_shared(me, shared, BYTES, "cp.async");
    Copy copy{static_cast<char*>(shared), {}, BYTES};
    if (valid && check_global(global, BYTES, false, "cp.async")) std::memcpy(copy.data, global, BYTES);
    me.open.push_back(copy);
}

inline void async_commit() {
    Thread& me = *machine.current;
    me.groups.push_back(std::move(me.open));
    me.open.clear();
}

inline void async_wait(unsigned pending_groups) {
    Thread& me = *machine.current;
    while (me.groups.size() > pending_groups) {
        for (auto& copy : me.groups.front()) {
            std::memcpy(copy.to, copy.data, copy.bytes);
            const std::size_t first = shadow_index(copy.to);
            for (std::size_t i = first; i < first + copy.bytes / 2; ++i) {
                machine.shadow[i].in_flight = false;
                machine.shadow[i].written = true;
                mark_written(me, machine.shadow[i]);
            }
        }
        me.groups.erase(me.groups.begin());
    }
}

}  // namespace emu
