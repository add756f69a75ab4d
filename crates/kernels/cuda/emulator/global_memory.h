// Global memory of the emulated device: buffers with guards, and who wrote and read each element in this launch.
//
// Threads of one launch must not pass anything to each other through global memory but by atomics: an element that one
// thread writes may be neither written nor read by another. That is stricter than CUDA, where a block may read after a
// barrier what it wrote; no kernel here does.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "traffic.h"

namespace emu {

constexpr std::uint32_t NOBODY = 0, HOST = 1, FIRST_THREAD = 2, SEVERAL = 0xFFFFFFFF;

struct Region {
    std::string label;
    char* base = nullptr;
    std::size_t bytes = 0;
    bool read_only = false;
    // Per 2 bytes; a thread is its number in the grid + FIRST_THREAD. Readers are those of this launch.
    std::vector<std::uint32_t> writer, reader;
};

inline std::map<std::uintptr_t, Region*>& regions() {
    static std::map<std::uintptr_t, Region*> all;
    return all;
}

inline Region*& last_region() {
    static Region* last = nullptr;  // most accesses fall into the region of the one before
    return last;
}

inline Region* region_of(const void* pointer, std::size_t bytes) {
    const auto at = reinterpret_cast<std::uintptr_t>(pointer);
    auto holds = [&](const Region* region) {
        const auto base = reinterpret_cast<std::uintptr_t>(region->base);
        return at >= base && at + bytes <= base + region->bytes;
    };
    Region*& last = last_region();
    if (last && holds(last)) return last;
    auto next = regions().upper_bound(at);
    if (next == regions().begin()) return nullptr;
    Region* found = std::prev(next)->second;
    if (!holds(found)) return nullptr;
    return last = found;
}

// An array of global memory between two guards. What neither the host nor a kernel has written is NaN and may not be
// read.
template <class T>
class Buffer {
public:
    // An output.
    Buffer(std::string label, std::size_t count) : count_(count), memory_(count * sizeof(T) + 2 * GUARD, char(0xFF)) {
        static_assert(sizeof(T) % 2 == 0, "the emulator's shadow has one entry per 2 bytes");
        auto base = reinterpret_cast<std::uintptr_t>(memory_.data()) + GUARD;
        base = (base + 255) & ~std::uintptr_t(255);  // as cudaMalloc aligns
        region_.label = std::move(label);
        region_.base = reinterpret_cast<char*>(base);
        region_.bytes = count * sizeof(T);
        region_.writer.assign((region_.bytes + 1) / 2, NOBODY);
        region_.reader.assign(region_.writer.size(), NOBODY);
        regions()[base] = &region_;
    }
    // An input, which no kernel may write.
    Buffer(std::string label, const std::vector<T>& values) : Buffer(std::move(label), values.size()) {
        write(values);
        region_.read_only = true;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        regions().erase(reinterpret_cast<std::uintptr_t>(region_.base));
        if (last_region() == &region_) last_region() = nullptr;
    }

    T* data() { return reinterpret_cast<T*>(region_.base); }
    const T& operator[](std::size_t i) const { return reinterpret_cast<const T*>(region_.base)[i]; }
    std::size_t size() const { return count_; }
    std::vector<T> values() const {
        auto first = reinterpret_cast<const T*>(region_.base);
        return std::vector<T>(first, first + count_);
    }
    // The host writes all elements: of an output, what a kernel then updates in place.
    void write(const std::vector<T>& values) {
        if (values.size() != count_) std::abort();
        if (count_) std::memcpy(region_.base, values.data(), region_.bytes);
        region_.writer.assign(region_.writer.size(), HOST);
    }
    void fill(const T& value) { write(std::vector<T>(count_, value)); }
    // How many elements nobody has written.
    std::size_t unwritten() const {
        std::size_t missing = 0;
        for (std::size_t i = 0; i < count_; ++i) missing += region_.writer[i * sizeof(T) / 2] == NOBODY;
        return missing;
    }

private:
    static constexpr std::size_t GUARD = 1 << 14;
    std::size_t count_;
    std::vector<char> memory_;
    Region region_;
};

// What earlier launches wrote is as good as the host's.
inline void begin_launch_of_global_memory() {
    for (auto& [base, region] : regions()) {
        for (auto& writer : region->writer) writer = writer == NOBODY ? NOBODY : HOST;
        region->reader.assign(region->reader.size(), NOBODY);
    }
}

inline std::string describe_address(const void* pointer) {
    auto next = regions().upper_bound(reinterpret_cast<std::uintptr_t>(pointer));
    if (next == regions().begin()) return "near no buffer";
    const Region* before = std::prev(next)->second;
    return std::to_string(static_cast<const char*>(pointer) - before->base) + " bytes into `" + before->label +
           "` of " + std::to_string(before->bytes);
}

// Whether the access may be done.
inline bool check_global(const void* pointer, unsigned bytes, bool write, const char* kind) {
    const auto at = reinterpret_cast<std::uintptr_t>(pointer);
    if (at % bytes) {
        fault(Fault::Alignment, "global");
        return false;
    }
    Region* region = region_of(pointer, bytes);
    if (!region) {
        fault(Fault::GlobalBounds, describe_address(pointer));
        return false;
    }
    if (write && region->read_only) {
        fault(Fault::GlobalBounds, "a write to the input `" + region->label + "`");
        return false;
    }
    const std::size_t first = std::size_t(static_cast<const char*>(pointer) - region->base) / 2;
    const std::uint32_t me = machine.current->global_number + FIRST_THREAD;
    for (std::size_t i = first; i < first + (bytes + 1) / 2; ++i) {
        std::uint32_t &writer = region->writer[i], &reader = region->reader[i];
        const bool by_another = writer >= FIRST_THREAD && writer != me;
        if (write) {
            if (by_another) fault(Fault::GlobalRace, "two threads write `" + region->label + "`");
            if (reader != NOBODY && reader != me)
                fault(Fault::GlobalRace, "a thread writes `" + region->label + "` where another reads");
            writer = me;
        } else {
            if (writer == NOBODY) {
                fault(Fault::GlobalUnwritten, "`" + region->label + "` at byte " + std::to_string(2 * i));
                break;
            }
            if (by_another) fault(Fault::GlobalRace, "a thread reads `" + region->label + "` where another writes");
            reader = reader == NOBODY || reader == me ? me : SEVERAL;
        }
    }
    (write ? machine.report->global_bytes_written : machine.report->global_bytes_read) += bytes;
    log_access(*machine.current, at, bytes, Space::Global, kind);
    return true;
}

// Atomics may meet: neither a race nor a second write.
inline float atomic_add_float(float* pointer, float x) {
    Region* region = region_of(pointer, sizeof(float));
    if (!region || region->read_only) {
        check_global(pointer, sizeof(float), true, "atomic");
        return 0;
    }
    const std::size_t first = std::size_t(reinterpret_cast<char*>(pointer) - region->base) / 2;
    if (region->writer[first] == NOBODY) fault(Fault::GlobalUnwritten, "`" + region->label + "`, atomically");
    if (region->writer[first] >= FIRST_THREAD || region->reader[first] != NOBODY)
        fault(Fault::GlobalRace, "an atomic meets a plain access to `" + region->label + "`");
    region->writer[first] = region->writer[first + 1] = HOST;
    const float before = *pointer;
    *pointer = before + x;
    return before;
}

}  // namespace emu
