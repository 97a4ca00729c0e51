// The C++ side of overhead.py: times Engine::maxpool2d_backward and prints a line of JSON.
//
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tiebreak.hpp"

// Arguments: N C H W, seconds, threads.
int main(int count, char **arguments) {
    if (count != 7) return 2;
    std::size_t n[4], length = 1;
    for (int i = 0; i < 4; i++) length *= n[i] = std::strtoull(arguments[1 + i], nullptr, 10);
    const double spend = std::atof(arguments[5]);
    tiebreak::EngineOptions options;
    options.device = tiebreak::Device::cpu;
    options.threads = static_cast<std::uint32_t>(std::atoi(arguments[6]));
    const auto engine = tiebreak::Engine::create(options);

    std::vector<float> x(length), gx(length), y(length / 4), gy(length / 4);
    std::vector<std::uint8_t> ties(length / 4);
    for (std::size_t i = 0; i < length; i++) x[i] = static_cast<float>(i * 2654435761u % 2048) / 1024 - 1;
    for (std::size_t i = 0; i < length / 4; i++) gy[i] = static_cast<float>(i * 40503u % 2048) / 1024 - 1;
    const tiebreak::Shape in{n[0], n[1], n[2], n[3]}, out{n[0], n[1], n[2] / 2, n[3] / 2};
    engine.maxpool2d_forward({x, in}, {y, out}, ties);

    engine.maxpool2d_backward({gy, out}, ties, {gx, in});
    std::printf("{\"seconds\": [");
    double spent = 0;
    for (int runs = 0; runs < 3 || (spent < spend && runs < 1000); runs++) {
        const auto start = std::chrono::steady_clock::now();
        engine.maxpool2d_backward({gy, out}, ties, {gx, in});
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        std::printf(runs ? ", %.9f" : "%.9f", seconds);
        spent += seconds;
    }
    std::printf("]}\n");
}
