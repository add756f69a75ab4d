// Counts of checks for the test programs of this folder's neighbours: what failed is printed, what held is counted.
#pragma once
#include <cstdio>

namespace check {

inline int failures = 0, checks = 0;

inline bool that(bool holds, const char* what) {
    ++checks;
    if (holds) return true;
    ++failures;
    std::printf("FAIL  %s\n", what);
    std::fflush(stdout);
    return false;
}

// The exit status of a test program.
inline int summary(const char* name) {
    std::printf("%s: %d of %d checks failed\n", name, failures, checks);
    return failures != 0;
}

}  // namespace check
