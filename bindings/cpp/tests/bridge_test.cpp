// The bridge from C++: a few steps of LeNet-5, two Jacobians, failures as exceptions, and the C API of the same library.
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "rust/cxx.h"
#include "tiebreak-cxx/src/lib.rs.h"
#include "tiebreak.hpp"

namespace bridge = tiebreak::bridge;

static int failed = 0;

static void check(bool condition, const char* text, int line) {
    if (condition) return;
    failed++;
    std::printf("line %d: %s\n", line, text);
}

#define CHECK(condition) check(condition, #condition, __LINE__)

template <class Call>
static std::string failure(Call call) {
    try {
        call();
    } catch (const rust::Error& error) {
        return error.what();
    }
    return {};
}

template <class T>
static rust::Slice<const T> slice(const std::vector<T>& values) {
    return {values.data(), values.size()};
}

int main() {
    auto engine = bridge::new_engine("cpu", 1);
    CHECK(engine->name() == "cpu");
    CHECK(std::string(bridge::version()) == tiebreak::version());
    CHECK(failure([] { bridge::new_engine("tpu", 0); }).find("`device`: expected auto, cpu or gpu") != std::string::npos);

    // One window whose first three elements tie.
    const std::vector<float> x = {2, 2, 2, 1}, gy = {3};
    std::vector<float> y(1), gx(4);
    const auto out = bridge::pool2d_output({1, 1, 2, 2}, {2, 0, 0});
    CHECK(out.shape[2] == 1 && out.ties_size == 1);
    std::vector<std::uint8_t> ties(out.ties_size);
    const auto native = bridge::maxpool_kink(bridge::Jacobian::Native);
    const auto minimal = bridge::maxpool_kink(bridge::Jacobian::Minimal);
    engine->maxpool2d_forward(slice(x), {1, 1, 2, 2}, {2, 0, 0}, native, {y.data(), 1}, {ties.data(), 1});
    CHECK(y[0] == 2 && ties[0] == 7);
    engine->maxpool2d_backward(slice(gy), slice(ties), {2, 0, 0}, minimal, {gx.data(), 4}, {1, 1, 2, 2});
    CHECK((gx == std::vector<float>{1, 1, 1, 0}));
    // The first in column-major order, each of them, and k / n to each.
    const std::vector<std::pair<bridge::Jacobian, std::vector<float>>> others = {
        {bridge::Jacobian::FirstColumn, {3, 0, 0, 0}},
        {bridge::Jacobian::All, {3, 3, 3, 0}},
        {bridge::Jacobian::Scaled, {2.25, 2.25, 2.25, 0}}};
    for (const auto& [jacobian, expected] : others) {
        engine->maxpool2d_backward(slice(gy), slice(ties), {2, 0, 0}, bridge::maxpool_kink(jacobian), {gx.data(), 4},
                                   {1, 1, 2, 2});
        CHECK(gx == expected);
    }
    auto forward = bridge::maxpool_kink(bridge::Jacobian::Beta);
    forward.composition = bridge::Composition::Forward;
    engine->maxpool2d_backward(slice(gy), slice(ties), {2, 0, 0}, forward, {gx.data(), 4}, {1, 1, 2, 2});
    CHECK((gx == std::vector<float>{3, 0, 0, 0}));
    auto unknown = minimal;
    unknown.jacobian = static_cast<bridge::Jacobian>(77);
    const auto message = failure([&] {
        engine->maxpool2d_backward(slice(gy), slice(ties), {2, 0, 0}, unknown, {gx.data(), 4}, {1, 1, 2, 2});
    });
    CHECK(message.find("`jacobian`") != std::string::npos && message.find("77") != std::string::npos);

    const std::size_t n = 20;
    std::vector<float> images(n * 784);
    std::vector<std::int64_t> labels(n);
    for (std::size_t i = 0; i < n; i++) {
        labels[i] = static_cast<std::int64_t>(i % 10);
        for (std::size_t j = 4; j < 24; j++) images[(i * 28 + 2 * (i % 10) + 4) * 28 + j] = 1;
    }
    for (const char* precision : {"f32", "f16"}) {
        auto network = bridge::new_network(*engine, "lenet5", precision, 1);
        const auto parameters = network->parameters();
        CHECK(parameters.size() == 10 && parameters[0].name == "features.0.weight" && parameters[0].shape.size() == 4);
        std::vector<bridge::MaxPoolKink> kinks = {native, minimal};
        const auto apart = network->compare(slice(images), slice(labels), slice(kinks));
        CHECK(apart.size() == 2 && apart[0].l1 == 0 && apart[1].l1 > 0 && apart[1].differing > 0);
        network->set_maxpool_kink("", minimal);
        network->set_relu_kink("features.1", 0);
        auto optimizer = bridge::new_sgd(*network, 0.05, 0.9, 0);
        const double before = network->loss_and_gradients(slice(images), slice(labels));
        CHECK(std::abs(before - std::log(10.0)) < 0.3);
        CHECK(network->gradient("features.0.weight").size() == network->parameter("features.0.weight").size());
        double loss = 0;
        for (int i = 0; i < 40; i++) loss = optimizer->train_step(*network, slice(images), slice(labels));
        CHECK(loss < 0.8 * before);
        CHECK(network->evaluate(slice(images), slice(labels)).correct > n / 2);
        CHECK(network->forward(slice(images)).size() == 10 * n);
        optimizer->set_learning_rate(0);
        const auto bias = network->parameter("features.0.bias");
        network->set_parameter("features.0.bias", {bias.data(), bias.size()});
        optimizer->train_step(*network, slice(images), slice(labels));
        CHECK(network->parameter("features.0.bias")[0] == bias[0]);
        auto other = bridge::new_network(*engine, "lenet5", precision, 2);
        CHECK(failure([&] { optimizer->train_step(*other, slice(images), slice(labels)); }) != "");
        images.pop_back();
        CHECK(failure([&] { network->forward(slice(images)); }).find("784") != std::string::npos);
        images.push_back(0);
        CHECK(failure([&] { network->load("missing.safetensors"); }).find("missing") != std::string::npos);
        auto adam = bridge::new_adam(*other, 1e-3, 0);
        adam->train_step(*other, slice(images), slice(labels));
    }
    CHECK(failure([&] { bridge::new_network(*engine, "lenet6", "f32", 1); }).find("lenet6") != std::string::npos);

    // The C API, and tiebreak.hpp over it, from the same library.
    auto c = tiebreak::Engine::create(tiebreak::Device::cpu);
    c.maxpool2d_forward({x, {1, 1, 2, 2}}, {y, {1, 1, 1, 1}}, ties);
    CHECK(ties[0] == 7);

    std::printf("bridge_test: %d failed%s\n", failed, failed ? "" : ": ok");
    return failed != 0;
}
