// Property tests of the forest attention kernels through the emulator, against f64.
//
//     test [seed [rounds]]     random forests; with 0 rounds the fixed ones alone
//
// A case fails by a fault of the emulator, an error above the bound, an output that is not written, work that differs
// from the plan's, bank conflicts, or a bit that depends on the order of blocks and warps.
#include <chrono>
#include <cstdlib>
#include <sstream>

#include "../emulator/check.h"
#include "launcher.h"

using namespace reference;

// The planting of faults compiles the kernels anew for each: one width instead of three, and the first failure ends it.
#ifdef FAULTS_QUICK
#define WIDTH(D) 64
constexpr bool STOP_AT_FAILURE = true;
#else
#define WIDTH(D) D
constexpr bool STOP_AT_FAILURE = false;
#endif

static void stop_if_failed() {
    if (STOP_AT_FAILURE && check::failures > 0) std::exit(check::summary("attention"));
}

// Table, lists and items against the mask's definition, pair by pair.
static bool plan_is_right(Random& random) {
    const auto segments = random_forest(random, 700);
    const int rows = forest::count_rows(segments);
    const auto table = forest::make_table(segments);
    std::vector<std::vector<char>> mask(table.size(), std::vector<char>(table.size(), 0));
    const auto seen = seen_rows(segments);
    for (std::size_t row = 0; row < seen.size(); ++row)
        for (int key : seen[row]) mask[row][std::size_t(key)] = 1;
    bool good = table.size() % 128 == 0 && int(table.size()) >= rows;
    for (std::size_t i = 0; i < table.size(); ++i)
        for (std::size_t j = 0; j < table.size(); ++j)
            good = good && forest::sees(table[i].position, table[j].position, table[j].reach) == bool(mask[i][j]);
    for (forest::TileShape shape : {forest::TileShape{64, 64, 16}, {128, 32, 32}, {128, 16, 32}, {128, 32, 16}}) {
        const auto query = forest::query_lists(segments, shape), key = forest::key_lists(segments, shape);
        for (bool by_key : {false, true}) {
            const auto& lists = by_key ? key : query;
            good = good && int(lists.size()) == forest::tiles(rows, shape.own);
            for (int own = 0; own < int(lists.size()); ++own) {
                std::vector<std::uint32_t> expected;
                for (int other = 0; other * shape.other < rows; ++other) {
                    std::uint32_t visible = 0, masked = 0;
                    for (int warp = 0; warp < shape.warps(); ++warp) {
                        int pairs = 0;
                        for (int i = own * shape.own + warp * shape.warp_rows, n = i + shape.warp_rows;
                             i < std::min(n, rows); ++i)
                            for (int j = other * shape.other; j < std::min(rows, (other + 1) * shape.other); ++j)
                                pairs += by_key ? mask[std::size_t(j)][std::size_t(i)]
                                                : mask[std::size_t(i)][std::size_t(j)];
                        visible |= std::uint32_t(pairs > 0) << warp;
                        masked |= std::uint32_t(pairs > 0 && pairs < shape.warp_rows * shape.other) << warp;
                    }
                    if (visible) expected.push_back(std::uint32_t(other) << 16 | masked << 8 | visible);
                }
                good = good && lists[std::size_t(own)] == expected && !expected.empty();
            }
        }
        // Pieces cover the entries of each tile once and in order, and their slots are those that reduce adds.
        const int group = 1 + below(random, 4), longest = 1 + below(random, 9);
        const auto work = forest::key_work(segments, shape, group, longest);
        std::vector<int> next(key.size(), -1), slots(std::size_t(work.slots), -1);
        auto items = work.items;
        std::sort(items.begin(), items.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
        int at = 0, length = 1 << 30;
        for (auto& item : items) {
            good = good && item.begin == at && item.end > item.begin && item.end - item.begin <= longest;
            at = item.end;
            if (item.slot >= 0) slots[std::size_t(item.slot)] = item.tile;
        }
        good = good && at == int(work.list.size()) * group;
        for (auto& item : work.items) {
            good = good && item.end - item.begin <= length;
            length = item.end - item.begin;
        }
        int slot = 0;
        for (auto& tile : work.reduce)
            for (int piece = 0; piece < tile.end; ++piece)
                good = good && slot == tile.begin + piece && slots[std::size_t(slot++)] == tile.tile;
        good = good && slot == work.slots;
    }
    return good;
}

template <class Call>
static bool throws(Call call) {
    try {
        call();
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

static void plan_at_its_limits() {
    const forest::TileShape shape{64, 16, 16};
    const auto nothing = forest::key_work({}, shape, 2, 5);
    check::that(nothing.items.empty() && nothing.list.empty() && nothing.slots == 0, "a plan of no rows has no work");
    check::that(forest::query_work({}, shape).items.empty() && forest::make_table({}).empty(), "nor a table");
    check::that(throws([] { forest::make_table({{0, 4, 0}}); }), "a segment is no prefix of its own");
    check::that(throws([] { forest::make_table({{0, 4, 1}, {4, 8, -1}}); }), "a prefix is not a later segment");
    check::that(throws([&] { forest::query_work({{0, 64, -1}}, {144, 16, 16}); }), "nine warps do not fit an entry");
    check::that(throws([&] { forest::key_work({{0, (1 << 20) + 1, -1}}, shape, 1, 0); }), "nor do 65,537 tiles");
}

// kernels.tsv, which launchers read, says what the templates say.
static std::string table_of_kernels() {
    std::ostringstream out;
    out << "kernel\tthreads\tshared_bytes\town\tother\twarp_rows\n";
    auto line = [&](const char* kernel, const char* configuration, int width, auto tile) {
        using Kernel = decltype(tile);
        out << "forest_" << kernel << "_" << configuration << "_" << width << "\t" << Kernel::THREADS << "\t"
            << Kernel::SHARED << "\t" << Kernel::OWN << "\t" << Kernel::OTHER << "\t" << Kernel::WARP_ROWS << "\n";
    };
    auto lines = [&](const char* name, int width, auto configuration) {
        using Configuration = decltype(configuration);
        line("forward", name, width, typename Configuration::Forward{});
        line("dq", name, width, typename Configuration::BackwardQueries{});
        line("dkv", name, width, typename Configuration::BackwardKeys{});
    };
    lines("small", 64, forest::Small<64>{});
    lines("large", 64, forest::Large<64>{});
    lines("small", 96, forest::Small<96>{});
    lines("large", 96, forest::Large<96>{});
    lines("small", 128, forest::Small<128>{});
    lines("large", 128, forest::Large<128>{});
    return out.str();
}

// ------------------------------------------------------------------------------------------------------- kernels, by
// case

// Bounds of the errors. The roundings of weights, dS and out to bf16 give 2e-3 to 5e-3, a wrong pair of rows 1e-1 or
// more.
constexpr double BOUND = 1e-2, LSE_BOUND = 1e-4;
constexpr int OUTPUTS = 5;
static const char* const OUTPUT_NAMES[OUTPUTS] = {"out", "lse", "dq", "dk", "dv"};
static double worst[OUTPUTS];
static int cases = 0;
static trial::Log history;

template <int D>
static void test(const char* what, Segments segments, int group, int kv_heads, double sharpness, int longest,
                 Random& random) {
    const Problem p = random_problem(std::move(segments), D, group, kv_heads, sharpness, random);
    const bool large = cases++ % 2;
    auto once = [&] {
        return large ? launcher::attention<forest::Large<D>, D>("large", p, longest, history, random)
                     : launcher::attention<forest::Small<D>, D>("small", p, longest, history, random);
    };
    history.good = true;
    const launcher::Output got = once();
    const Result expected = attention(p);
    const double errors[OUTPUTS] = {
        relative_error(widen(got.out), expected.out),
        // The largest difference, for lse may itself be 0.
        largest_difference(std::vector<double>(got.lse.begin(), got.lse.end()), expected.lse),
        relative_error(widen(got.dq), expected.dq), relative_error(widen(got.dk), expected.dk),
        relative_error(widen(got.dv), expected.dv)};
    bool good = history.good;
    for (int i = 0; i < OUTPUTS; ++i) {
        good = good && errors[i] < (i == 1 ? LSE_BOUND : BOUND);
        worst[i] = std::max(worst[i], errors[i]);
    }
    // Once more, with other orders of blocks and warps: not a bit may differ.
    if (cases % 3 == 0 && !(once() == got)) {
        good = false;
        std::printf("  two runs differ\n");
    }
    std::printf("%s %-13s %s D %3d, heads %2d/%d, %2zu segments, %4d rows:", good ? "ok  " : "FAIL", what,
                large ? "large" : "small", D, p.heads, p.kv_heads, p.segments.size(), p.rows);
    for (int i = 0; i < OUTPUTS; ++i) std::printf(" %s %.1e", OUTPUT_NAMES[i], errors[i]);
    std::printf("\n");
    if (!good)
        for (auto& s : p.segments) std::printf("      rows %d..%d after %d\n", s.start, s.end, s.prefix);
    check::that(good, what);
    stop_if_failed();
}

static void fixed_cases(Random& random) {
    const Segments group = {{0, 130, -1}, {130, 200, 0}, {200, 201, 0}, {201, 330, 0}, {330, 394, 0}, {394, 401, 0}};
    test<WIDTH(64)>("one row", {{0, 1, -1}}, 1, 1, 1, 0, random);
    test<WIDTH(128)>("one tile", {{0, 64, -1}}, 2, 1, 1, 0, random);
    test<WIDTH(64)>("group", group, 2, 1, 1, 0, random);
    test<WIDTH(128)>("group, cut", group, 2, 1, 1, 3, random);
    test<WIDTH(64)>("sharp", group, 1, 1, 12, 4, random);  // scores of size 100: the running maximum matters
    test<WIDTH(128)>("chain", {{0, 33, -1}, {33, 80, 0}, {80, 81, 1}, {81, 190, 2}}, 1, 2, 1, 0, random);
    test<WIDTH(64)>("7 heads a group", {{0, 50, -1}, {50, 97, 0}, {97, 150, 0}}, 7, 2, 1, 5, random);  // Qwen2.5-0.5B
    Segments short_ones = {{0, 90, -1}};
    for (int start = 90; start < 250; start += 20) short_ones.push_back({start, start + 20, 0});
    test<WIDTH(96)>("short", short_ones, 2, 1, 1, 7, random);
}

static void random_case(int round, Random& random) {
    const int group = 1 << below(random, 4), kv_heads = group >= 4 ? 1 : 1 + below(random, 2);
    const int longest = below(random, 2) ? 0 : 1 + below(random, 6);
    const auto segments = random_forest(random, 120 + below(random, group >= 4 ? 200 : 420));
    const double sharpness = below(random, 4) == 0 ? 4 : 1;
    switch (round % 5) {
        case 0:
        case 3:
            return test<WIDTH(64)>("random", segments, group, kv_heads, sharpness, longest, random);
        case 1:
        case 4:
            return test<WIDTH(128)>("random", segments, group, kv_heads, sharpness, longest, random);
        default:
            return test<WIDTH(96)>("random", segments, group, kv_heads, sharpness, longest, random);
    }
}

int main(int argc, char** argv) {
    const std::uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
    const int rounds = argc > 2 ? std::atoi(argv[2]) : 16;
    std::printf("seed %llu, %d rounds\n", (unsigned long long)seed, rounds);
    Random random(seed);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 40; ++i) check::that(plan_is_right(random), "a plan equals the mask's definition");
    plan_at_its_limits();
    const std::string here = __FILE__, folder = here.substr(0, here.find_last_of('/') + 1);
    check::that(trial::read_file(folder + "kernels.tsv") == table_of_kernels(), "kernels.tsv is that of the kernels");
    stop_if_failed();
    fixed_cases(random);
    for (int round = 0; round < rounds; ++round) random_case(round, random);
    history.check_traffic();
    std::printf("worst:");
    for (int i = 0; i < OUTPUTS; ++i) std::printf(" %s %.2e", OUTPUT_NAMES[i], worst[i]);
    std::printf("\n%.0f s\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return check::summary("attention");
}
