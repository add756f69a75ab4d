// What the tests of attention kernels share: random numbers, launches in a random order of blocks and warps with a log of
// their reports, checks of bank conflicts and coalescing.
#pragma once
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "emulator.h"

namespace trial {

using Random = std::mt19937_64;

inline int below(Random& random, int end) { return int(random() % std::uint64_t(end)); }

template <class To, class From>
std::vector<To> reinterpret(const std::vector<From>& from) {
    static_assert(sizeof(To) == sizeof(From), "another layout");
    std::vector<To> to(from.size());
    if (!from.empty()) std::memcpy(static_cast<void*>(to.data()), from.data(), from.size() * sizeof(To));
    return to;
}

inline std::string read_file(const std::string& path) {
    std::ifstream in(path);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
}

// What went wrong in launches so far, and the sum of their reports by kernel.
struct Log {
    bool good = true;
    std::map<std::string, emu::Report> reports;

    void fail(const std::string& what) {
        good = false;
        std::printf("  %s\n", what.c_str());
    }

    emu::Report launch(Random& random, const std::string& name, std::size_t blocks, int threads, int shared_bytes,
                       bool count_traffic, const std::function<void()>& body) {
        emu::Options options;
        options.reverse_warps = random() & 1;
        options.reverse_blocks = random() & 1;
        options.count_traffic = count_traffic;
        auto report =
            emu::launch(name.c_str(), unsigned(blocks), unsigned(threads), std::size_t(shared_bytes), body, options);
        if (!report.clean()) {
            fail(name + ": faults");
            report.print_faults(stdout);
        }
        reports[name] += report;
        return report;
    }

    // No bank conflict, no copy that is not coalesced.
    void check_traffic() const {
        for (auto& [name, report] : reports) {
            std::printf("  %s\n", name.c_str());
            report.print_traffic();
            for (auto& [kind, traffic] : report.banks)
                check::that(traffic.excess() == 1, (name + ": bank conflicts of " + kind).c_str());
            if (report.sectors.count("cp.async"))
                check::that(report.sectors.at("cp.async").excess() == 1, (name + ": uncoalesced copies").c_str());
        }
    }
};

}  // namespace trial
