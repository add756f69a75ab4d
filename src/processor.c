/* Refusal of a processor without the instructions that the program was built for (x86-64-v3 and what is beyond).
 *
 * All of the Rust code may use them, also where it would only tell that they are missing. So this is C, compiled for the oldest
 * x86-64 (build.rs), and runs before `main`. */
#include <cpuid.h>
#include <string.h>
#include <unistd.h>

enum part { EBX, ECX };

struct feature {
    const char *name;
    unsigned leaf;
    enum part part;
    unsigned bit;
};

static const struct feature needed[] = {
    {"AVX", 1, ECX, 28},   {"FMA", 1, ECX, 12},   {"F16C", 1, ECX, 29}, {"MOVBE", 1, ECX, 22},
    {"AVX2", 7, EBX, 5},   {"BMI1", 7, EBX, 3},   {"BMI2", 7, EBX, 8},  {"LZCNT", 0x80000001, ECX, 5},
#ifdef WITH_AVX512
    {"AVX-512", 7, EBX, 16},
#endif
};

static int has(const struct feature *feature) {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid_count(feature->leaf, 0, &eax, &ebx, &ecx, &edx)) {
        return 0;
    }
    return (feature->part == EBX ? ebx : ecx) >> feature->bit & 1;
}

/* Whether the system keeps the wide registers of a process. */
static int keeps_registers(void) {
    static const struct feature xsave = {"OSXSAVE", 1, ECX, 27};
    unsigned low, high;
    if (!has(&xsave)) {
        return 0;
    }
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

static void say(const char *text) {
    /* Nobody can be told that stderr is closed. */
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        return;
    }
}

__attribute__((constructor)) static void refuse_processor(void) {
    const char *before = "error: this program was built for processors with AVX2 and FMA (x86-64-v3), and this one lacks ";
    for (unsigned at = 0; at < sizeof needed / sizeof needed[0]; at++) {
        if (!has(&needed[at])) {
            say(before);
            say(needed[at].name);
            before = ", ";
        }
    }
    if (before[0] == 'e' && keeps_registers()) {
        return;
    }
    if (before[0] == 'e') {
        say("error: the system does not keep the AVX registers that this program was built for");
    }
    say("\nhint: Build it on this machine: `RUSTFLAGS=\"-C target-cpu=native\" cargo build --release`\n");
    _exit(1);
}
