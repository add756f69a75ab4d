// Tile sizes that are built and tested, for each width of a head: `Small` with 64 own rows a block, `Large` with 128
// wherever registers and shared memory allow it.
//
// In `Large` a warp has two bands of 16 rows: each fragment from shared memory serves two products instead of one.
// Which of the two is faster only a card can tell; README.md has what can be counted.
#pragma once
#include "backward_keys.cuh"
#include "backward_queries.cuh"
#include "forward.cuh"
#include "preprocess.cuh"

namespace forest {

template <int D>
struct Small;
template <int D>
struct Large;

template <>
struct Small<64> {
    using Forward = forest::Forward<64, 4, 1, 64>;
    using BackwardQueries = forest::BackwardQueries<64, 4, 1, 64>;
    using BackwardKeys = forest::BackwardKeys<64, 4, 1, 64>;
};
template <>
struct Large<64> {
    using Forward = forest::Forward<64, 4, 2, 64>;
    using BackwardQueries = forest::BackwardQueries<64, 4, 2, 32>;
    using BackwardKeys = forest::BackwardKeys<64, 4, 2, 16>;
};

template <>
struct Small<96> {
    using Forward = forest::Forward<96, 4, 1, 64>;
    using BackwardQueries = forest::BackwardQueries<96, 4, 1, 64>;
    using BackwardKeys = forest::BackwardKeys<96, 4, 1, 32>;
};
template <>
struct Large<96> {
    using Forward = forest::Forward<96, 4, 2, 32>;
    using BackwardQueries = forest::BackwardQueries<96, 4, 2, 32>;
    using BackwardKeys = forest::BackwardKeys<96, 4, 1, 32>;
};

template <>
struct Small<128> {
    using Forward = forest::Forward<128, 4, 1, 64>;
    using BackwardQueries = forest::BackwardQueries<128, 4, 1, 32>;
    using BackwardKeys = forest::BackwardKeys<128, 4, 1, 32>;
};
template <>
struct Large<128> {
    using Forward = forest::Forward<128, 4, 2, 32>;
    using BackwardQueries = forest::BackwardQueries<128, 4, 2, 32>;
    using BackwardKeys = forest::BackwardKeys<128, 8, 1, 32>;
};

}  // namespace forest
