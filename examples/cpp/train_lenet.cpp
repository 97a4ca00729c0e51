/*
 * Trains LeNet-5 under a chosen Jacobian of max pooling, and says how far another one would have been.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Build, at the root of the repository, after `cargo build --release`:
 *
 *   c++ -std=c++17 -O2 -Iinclude examples/cpp/train_lenet.cpp -o train_lenet -DTIEBREAK_ZLIB -lz \
 *       -Ltarget/release -ltiebreak -Wl,-rpath,"$PWD/target/release"
 *
 * `./train_lenet` trains on digits that it draws, `./train_lenet --data DIR` on MNIST.
 */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "digits.hpp"
#include "tiebreak.hpp"

struct Arguments {
    std::string data, precision = "f32";
    std::size_t epochs = 3, limit = 60000, batch = 32;
    tiebreak::Kink kink;
    tiebreak::Device device = tiebreak::Device::automatic;
};

static tiebreak::Kink jacobian(const std::string& name) {
    if (name == "native") return tiebreak::Kink::maxpool(tiebreak::Jacobian::native);
    if (name == "last") return tiebreak::Kink::maxpool(tiebreak::Jacobian::last);
    if (name == "minimal") return tiebreak::Kink::maxpool(tiebreak::Jacobian::minimal);
    return tiebreak::Kink::maxpool_beta(std::stod(name));
}

static Arguments parse(int argc, char** argv) {
    Arguments a;
    for (int i = 1; i < argc; i += 2) {
        const std::string name = argv[i];
        if (i + 1 == argc) throw std::invalid_argument(name);
        const std::string value = argv[i + 1];
        if (name == "--data") a.data = value;
        else if (name == "--precision") a.precision = value;
        else if (name == "--epochs") a.epochs = std::stoul(value);
        else if (name == "--limit") a.limit = std::stoul(value);
        else if (name == "--jacobian") a.kink = jacobian(value);
        else if (name == "--device") a.device = value == "cpu" ? tiebreak::Device::cpu : tiebreak::Device::gpu;
        else throw std::invalid_argument(name);
    }
    return a;
}

// T: the network's type.
template <class T>
static void train(const Arguments& a, const Digits& training, const Digits& test) {
    const std::vector<T> images(training.images.begin(), training.images.end());
    const std::vector<T> unseen(test.images.begin(), test.images.end());
    const auto engine = tiebreak::Engine::create(a.device);
    const auto network = tiebreak::Network::create(engine, "lenet5", a.precision);
    network.set_kink(a.kink);
    tiebreak::OptimizerOptions sgd = tiebreak::Algorithm::sgd;
    sgd.learning_rate = 0.05;
    sgd.momentum = 0.9;
    const auto optimizer = tiebreak::Optimizer::create(network, sgd);
    std::printf("%s, %s, %zu training and %zu test images\n", engine.info().name.c_str(), a.precision.c_str(),
                training.size(), test.size());

    // The gradients under the present choice against those under another, on one forward pass.
    const std::size_t n = std::min<std::size_t>(a.batch, training.size());
    const auto compare = [&] {
        const tiebreak::View x = {images.data(), {n, 1, 28, 28}};
        const auto apart = network.compare(x, {training.labels.data(), n}, {{jacobian("native")}, {jacobian("minimal")}});
        std::printf("L1 distance of the gradients to native %.3e, to minimal %.3e\n", apart[0].l1, apart[1].l1);
    };
    compare();

    std::vector<std::size_t> order(training.size());
    std::iota(order.begin(), order.end(), 0);
    std::mt19937 random(1);
    std::vector<T> x(n * Digits::pixels);
    std::vector<std::int64_t> labels(n);
    for (std::size_t epoch = 1; epoch <= a.epochs; epoch++) {
        std::shuffle(order.begin(), order.end(), random);
        double loss = 0;
        std::size_t steps = 0, correct = 0;
        for (std::size_t start = 0; start + n <= order.size(); start += n, steps++) {
            for (std::size_t i = 0; i < n; i++) {
                const std::size_t from = order[start + i];
                std::copy_n(images.data() + from * Digits::pixels, Digits::pixels, x.data() + i * Digits::pixels);
                labels[i] = training.labels[from];
            }
            loss += optimizer.train_step({x, {n, 1, 28, 28}}, labels).loss;
        }
        for (std::size_t start = 0; start < test.size(); start += 500) {
            const std::size_t count = std::min<std::size_t>(500, test.size() - start);
            const tiebreak::View batch = {unseen.data() + start * Digits::pixels, {count, 1, 28, 28}};
            correct += network.evaluate(batch, {test.labels.data() + start, count}).correct;
        }
        std::printf("epoch %zu/%zu  loss %.4f  test accuracy %.2f %%\n", epoch, a.epochs,
                    loss / static_cast<double>(steps),
                    100 * static_cast<double>(correct) / static_cast<double>(test.size()));
    }
    compare();
}

int main(int argc, char** argv) {
    Arguments a;
    try {
        a = parse(argc, argv);
        if (a.precision != "f32" && a.precision != "f64") throw std::invalid_argument("--precision");
    } catch (const std::logic_error& error) {
        std::fprintf(stderr,
                     "train_lenet: %s\nusage: train_lenet [--data DIR] [--jacobian native|last|minimal|BETA] "
                     "[--precision f32|f64] [--epochs N] [--limit N] [--device cpu|gpu]\n",
                     error.what());
        return 2;
    }
    try {
        Digits training = a.data.empty() ? draw_digits(2000, 1) : load_mnist(a.data, "train");
        Digits test = a.data.empty() ? draw_digits(500, 2) : load_mnist(a.data, "t10k");
        training.limit(a.limit);
        test.limit(a.limit);
        if (a.precision == "f64") train<double>(a, training, test);
        else train<float>(a, training, test);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "train_lenet: %s\n", error.what());
        return 1;
    }
}
