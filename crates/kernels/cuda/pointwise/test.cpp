// Property tests of the kernels of this folder in the emulator, against f64 (against the CPU's bits where those are
// promised).
//
//   test [SEED [ROUNDS]]   a fault of the emulator, an error above its bound, or a bit that should be equal and is not,
//                          fails; ROUNDS random cases of each family more than the 8 that always run
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "test_activation.h"
#include "test_log_prob.h"
#include "test_norm.h"
#include "test_optimizer.h"
#include "test_rope.h"
#include "test_rows.h"

// Every kernel of kernels.tsv was launched, none else, and with no more threads and shared memory than are written
// there.
static void check_table() {
    const std::string here = __FILE__;
    std::ifstream table(here.substr(0, here.rfind("test.cpp")) + "kernels.tsv");
    std::string kernel;
    std::getline(table, kernel);
    unsigned threads, shared_bytes;
    std::size_t rows = 0;
    while (table >> kernel >> threads >> shared_bytes) {
        ++rows;
        auto found = test::launched.find(kernel);
        const bool within = found != test::launched.end() && found->second.threads <= threads &&
                            found->second.shared_bytes <= shared_bytes;
        if (!check::that(within, "launches are those of kernels.tsv")) std::printf("      %s\n", kernel.c_str());
    }
    check::that(rows == test::launched.size(), "kernels.tsv names all kernels");
}

int main(int argc, char** argv) {
    emu::machine.stacks.get(1023);  // those of the largest block, before any is in use
    const auto start = std::chrono::steady_clock::now();
    test::Random random(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1);
    const int rounds = 8 + (argc > 2 ? std::atoi(argv[2]) : 100);
    test::test_norms(random, rounds);
    test::test_ropes(random, rounds);
    test::test_activations(random, rounds);
    test::test_log_probs(random, rounds);
    test::test_rows(random, rounds);
    test::test_optimizer(random, 4 + rounds / 4);
    for (auto& [what, w] : test::worst) std::printf("  %-28s %.1e of %.1e\n", what.c_str(), w.error, w.bound);
    for (auto& [kernel, all] : test::launched) {
        std::printf("  %s: %llu blocks\n", kernel.c_str(), (unsigned long long)all.report.blocks);
        all.report.print_traffic();
    }
    check_table();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%.1f s\n", seconds);
    return check::summary("pointwise");
}
