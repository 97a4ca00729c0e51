/*
 * How far two Jacobians of max pooling lie apart while LeNet-5 trains on bars, through the cxx bridge.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Build, in bindings/cpp, on Linux:
 *
 *   cargo build --release
 *   c++ -std=c++17 -Itarget/cxxbridge examples/compare_jacobians.cpp -o compare_jacobians \
 *       target/release/libtiebreak_cxx.a -lpthread -ldl -lm
 */
#include <cstdio>
#include <vector>

#include "rust/cxx.h"
#include "tiebreak-cxx/src/lib.rs.h"

namespace bridge = tiebreak::bridge;

int main() try {
    auto engine = bridge::new_engine("auto", 0);
    auto network = bridge::new_network(*engine, "lenet5", "f16", 1);
    auto optimizer = bridge::new_sgd(*network, 0.05, 0.9, 0);

    // A bright bar on a dark ground, whose place is the label: windows tie all over.
    const std::size_t n = 50;
    std::vector<float> images(n * 28 * 28);
    std::vector<std::int64_t> labels(n);
    for (std::size_t i = 0; i < n; i++) {
        labels[i] = static_cast<std::int64_t>(i % 10);
        for (std::size_t column = i / 10; column < 24; column++) images[(i * 28 + 2 * (i % 10) + 4) * 28 + column] = 1;
    }
    const rust::Slice<const float> x(images.data(), images.size());
    const rust::Slice<const std::int64_t> y(labels.data(), labels.size());

    const bridge::MaxPoolKink minimal[] = {bridge::maxpool_kink(bridge::Jacobian::Minimal)};
    for (int step = 0; step <= 60; step++) {
        if (step % 20 == 0) {
            const auto apart = network->compare(x, y, {minimal, 1});
            std::printf("step %2d  loss %.4f  L1 between the gradients of native and minimal %.3e, %zu elements differ\n",
                        step, apart[0].losses[0], apart[0].l1, apart[0].differing);
        }
        optimizer->train_step(*network, x, y);
    }
    std::printf("%zu of %zu right\n", network->evaluate(x, y).correct, n);
} catch (const rust::Error& error) {
    std::fprintf(stderr, "compare_jacobians: %s\n", error.what());
    return 1;
}
