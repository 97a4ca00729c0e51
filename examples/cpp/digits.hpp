// MNIST from its four IDX files, or digits drawn as bars where there are none.
//
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Plain files always; with -DTIEBREAK_ZLIB (and -lz) those that end in .gz too.
#ifndef DIGITS_HPP
#define DIGITS_HPP

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef TIEBREAK_ZLIB
#include <zlib.h>
#endif

struct Digits {
    static constexpr std::size_t side = 28, pixels = side * side;

    std::vector<float> images;         // [N, 1, 28, 28], 0 to 1
    std::vector<std::int64_t> labels;  // [N]

    std::size_t size() const { return labels.size(); }

    // Images `start` to `start + count`, by pointer.
    const float* at(std::size_t start) const { return images.data() + start * pixels; }

    void limit(std::size_t count) {
        if (count >= size()) return;
        labels.resize(count);
        images.resize(count * pixels);
    }
};

inline std::vector<unsigned char> read_idx(const std::string& path, std::size_t header) {
    std::vector<unsigned char> bytes;
#ifdef TIEBREAK_ZLIB
    gzFile file = gzopen(path.c_str(), "rb");
    if (!file) file = gzopen((path + ".gz").c_str(), "rb");
    if (!file) throw std::runtime_error(path + ": neither this file nor its .gz can be opened");
    unsigned char part[1 << 16];
    int got = 0;
    while ((got = gzread(file, part, sizeof part)) > 0) bytes.insert(bytes.end(), part, part + got);
    gzclose(file);
    if (got < 0) throw std::runtime_error(path + ": is damaged");
#else
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be opened; unpack it, or build with -DTIEBREAK_ZLIB and -lz");
    bytes.assign(std::istreambuf_iterator<char>(file), {});
#endif
    if (bytes.size() < header) throw std::runtime_error(path + ": ends within its header");
    return bytes;
}

// `part`: "train" or "t10k".
inline Digits load_mnist(const std::string& folder, const std::string& part) {
    const auto images = read_idx(folder + "/" + part + "-images-idx3-ubyte", 16);
    const auto labels = read_idx(folder + "/" + part + "-labels-idx1-ubyte", 8);
    Digits digits;
    const std::size_t count = labels.size() - 8;
    if (images.size() != 16 + count * Digits::pixels) throw std::runtime_error(folder + ": images and labels differ in number");
    digits.images.resize(count * Digits::pixels);
    std::transform(images.begin() + 16, images.end(), digits.images.begin(), [](unsigned char v) { return v / 255.0f; });
    digits.labels.assign(labels.begin() + 8, labels.end());
    if (std::any_of(labels.begin() + 8, labels.end(), [](unsigned char v) { return v > 9; })) {
        throw std::runtime_error(folder + ": a label is no digit");
    }
    return digits;
}

// A bar whose height says which digit it is, of any length and ink, on a dark ground.
inline Digits draw_digits(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    const auto draw = [&](unsigned n) { return random() % n; };
    Digits digits;
    digits.images.resize(count * Digits::pixels);
    for (std::size_t i = 0; i < count; i++) {
        const unsigned digit = draw(10), first = draw(8), last = 16 + draw(8);
        const float ink = 0.5f + static_cast<float>(draw(50)) / 100;
        digits.labels.push_back(digit);
        for (std::size_t row = 2 * digit + 4; row < 2 * digit + 6; row++) {
            for (std::size_t column = first; column < last; column++) {
                digits.images[i * Digits::pixels + row * Digits::side + column] = ink;
            }
        }
    }
    return digits;
}

#endif
