// Fibers, one per emulated thread: cooperative threads that are switched in user space.
//
// On x86-64 a switch saves the callee-saved registers, a few nanoseconds; elsewhere, and where EMULATOR_UCONTEXT is
// defined, it is swapcontext, which also makes a system call.
#pragma once
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
#define EMULATOR_FIBER_BY_HAND
#else
#include <ucontext.h>
#endif

namespace emu {

#ifdef EMULATOR_FIBER_BY_HAND
// Saves the callee-saved registers on the old stack and takes them from the new one. Floating-point control words are
// the same in all fibers, so they stay.
extern "C" void emu_switch(void** save, void* load);
asm(R"(
.text
.weak emu_switch
.type emu_switch,@function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

struct Fiber {
    void* stack_pointer = nullptr;
    // `entry` must never return.
    void start(char* stack, std::size_t size, void (*entry)()) {
        auto top = (reinterpret_cast<std::uintptr_t>(stack) + size) & ~std::uintptr_t(15);
        auto words = reinterpret_cast<void**>(top);
        *--words = nullptr;  // where a return address would be: keeps the alignment
        *--words = reinterpret_cast<void*>(entry);
        for (int i = 0; i < 6; ++i) *--words = nullptr;
        stack_pointer = words;
    }
    static void switch_to(Fiber& from, Fiber& to) { emu_switch(&from.stack_pointer, to.stack_pointer); }
};
#else
struct Fiber {
    ucontext_t context;
    void start(char* stack, std::size_t size, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = size;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    static void switch_to(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }
};
#endif

constexpr std::size_t STACK_BYTES = 128 << 10;

// Stacks for the threads of the largest block, kept from block to block, with a page below each that faults. Pages that
// no thread touches take no memory.
class Stacks {
public:
    static constexpr unsigned COUNT = 1024;
    char* get(unsigned number) {
        if (!base_) map();
        return base_ + number * STRIDE + GUARD;
    }
    ~Stacks() {
        if (base_) munmap(base_, COUNT * STRIDE);
    }

private:
    static constexpr std::size_t GUARD = 4096, STRIDE = STACK_BYTES + GUARD;
    char* base_ = nullptr;
    void map() {
        constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void* base = mmap(nullptr, COUNT * STRIDE, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (base == MAP_FAILED) std::abort();
        base_ = static_cast<char*>(base);
        for (unsigned i = 0; i < COUNT; ++i) mprotect(base_ + i * STRIDE, GUARD, PROT_NONE);
    }
};

}  // namespace emu
