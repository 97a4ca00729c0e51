/*
 * A LibTorch trainer, LeNet-5 on MNIST, that hands only its max pooling to tiebreak.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Build, at the root of the repository, after `cargo build --release` (Debian: libtorch-dev, zlib1g-dev):
 *
 *   c++ -std=c++17 -O1 -Iinclude -isystem /usr/include/torch/csrc/api/include examples/cpp/libtorch_maxpool.cpp \
 *       -o libtorch_maxpool -DTIEBREAK_ZLIB -lz -ltorch -ltorch_cpu -lc10 \
 *       -Ltarget/release -ltiebreak -Wl,-rpath,"$PWD/target/release"
 *
 * `./libtorch_maxpool` trains on digits that it draws, `./libtorch_maxpool DIR [IMAGES]` on MNIST.
 */
#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "digits.hpp"
#include "tiebreak.hpp"

// ---- tiebreak: max pooling 2x2 whose Jacobian at ties is a choice ----

struct Pooling {
    tiebreak::Engine engine = tiebreak::Engine::create(tiebreak::Device::cpu);
    tiebreak::Kink kink;
};

template <class V>
static V view(const torch::Tensor& t) {
    return {t.data_ptr<float>(), t.sizes()};
}

struct MaxPool : torch::autograd::Function<MaxPool> {
    static torch::Tensor forward(torch::autograd::AutogradContext* context, torch::Tensor x, Pooling* pooling) {
        x = x.contiguous();
        const auto out = tiebreak::pool2d_output_shape(x.sizes());
        auto y = torch::empty({out.shape[0], out.shape[1], out.shape[2], out.shape[3]}, x.options());
        auto ties = torch::empty({static_cast<std::int64_t>(out.ties_size)}, torch::kUInt8);
        pooling->engine.maxpool2d_forward(view<tiebreak::View>(x), view<tiebreak::ViewMut>(y),
                                          {ties.data_ptr<std::uint8_t>(), out.ties_size}, {}, pooling->kink);
        context->save_for_backward({ties});
        context->saved_data["shape"] = x.sizes().vec();
        context->saved_data["pooling"] = reinterpret_cast<std::int64_t>(pooling);
        return y;
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        const auto* pooling = reinterpret_cast<const Pooling*>(context->saved_data["pooling"].toInt());
        const auto ties = context->get_saved_variables()[0];
        const auto gy = gradients[0].contiguous();
        auto gx = torch::empty(context->saved_data["shape"].toIntVector(), gy.options());
        pooling->engine.maxpool2d_backward(view<tiebreak::View>(gy),
                                           {ties.data_ptr<std::uint8_t>(), static_cast<std::size_t>(ties.numel())},
                                           view<tiebreak::ViewMut>(gx), {}, pooling->kink);
        return {gx, torch::Tensor()};
    }
};

// ---- The trainer as it was, but for one line ----

struct LeNet : torch::nn::Module {
    torch::nn::Conv2d conv1{nullptr}, conv2{nullptr};
    torch::nn::Linear fc1{nullptr}, fc2{nullptr}, fc3{nullptr};
    Pooling* pooling;  // NULL: PyTorch's own

    explicit LeNet(Pooling* with) : pooling(with) {
        conv1 = register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 6, 5).padding(2)));
        conv2 = register_module("conv2", torch::nn::Conv2d(6, 16, 5));
        fc1 = register_module("fc1", torch::nn::Linear(400, 120));
        fc2 = register_module("fc2", torch::nn::Linear(120, 84));
        fc3 = register_module("fc3", torch::nn::Linear(84, 10));
    }

    torch::Tensor pool(const torch::Tensor& x) {
        return pooling ? MaxPool::apply(x, pooling) : torch::max_pool2d(x, 2);  // tiebreak: this line
    }

    torch::Tensor forward(torch::Tensor x) {
        x = pool(torch::relu(conv1(x)));
        x = pool(torch::relu(conv2(x)));
        x = torch::relu(fc1(x.flatten(1)));
        return fc3(torch::relu(fc2(x)));
    }
};

struct Batch {
    torch::Tensor images, labels;
};

static Batch batch(const Digits& digits, std::size_t start, std::size_t count) {
    const auto n = static_cast<std::int64_t>(count);
    auto* images = const_cast<float*>(digits.at(start));
    auto* labels = const_cast<std::int64_t*>(digits.labels.data() + start);
    return {torch::from_blob(images, {n, 1, 28, 28}), torch::from_blob(labels, {n}, torch::kInt64)};
}

// Gradient of the first layer.
static torch::Tensor gradient(LeNet& net, const Batch& b) {
    net.zero_grad();
    torch::cross_entropy_loss(net.forward(b.images), b.labels).backward();
    return net.conv1->weight.grad().clone();
}

// One model, one batch: PyTorch's own pooling, and ours under two Jacobians.
static void compare(LeNet& net, Pooling& pooling, const Batch& b) {
    net.pooling = nullptr;
    const auto own = gradient(net, b);
    net.pooling = &pooling;
    const auto chosen = pooling.kink;
    pooling.kink = tiebreak::Kink::maxpool(tiebreak::Jacobian::native);
    const auto native = gradient(net, b);
    pooling.kink = tiebreak::Kink::maxpool(tiebreak::Jacobian::minimal);
    const auto minimal = gradient(net, b);
    pooling.kink = chosen;
    std::printf("first layer: native against PyTorch's own L1 %.3e, minimal against native L1 %.3e\n",
                (native - own).abs().sum().item<double>(), (minimal - native).abs().sum().item<double>());
}

int main(int argc, char** argv) try {
    torch::manual_seed(1);
    Digits training = argc > 1 ? load_mnist(argv[1], "train") : draw_digits(2000, 1);
    Digits test = argc > 1 ? load_mnist(argv[1], "t10k") : draw_digits(500, 2);
    if (argc > 2) training.limit(std::stoul(argv[2]));
    if (argc > 2) test.limit(std::stoul(argv[2]));

    Pooling pooling;
    pooling.kink = tiebreak::Kink::maxpool(tiebreak::Jacobian::minimal);
    LeNet net(&pooling);
    torch::optim::SGD optimizer(net.parameters(), torch::optim::SGDOptions(0.02).momentum(0.9));
    const std::size_t n = 50;
    compare(net, pooling, batch(training, 0, n));
    for (int epoch = 1; epoch <= 3; epoch++) {
        double loss = 0;
        std::size_t steps = 0;
        for (std::size_t start = 0; start + n <= training.size(); start += n, steps++) {
            const auto b = batch(training, start, n);
            optimizer.zero_grad();
            const auto l = torch::cross_entropy_loss(net.forward(b.images), b.labels);
            l.backward();
            optimizer.step();
            loss += l.item<double>();
        }
        torch::NoGradGuard evaluation;
        const auto b = batch(test, 0, test.size());
        const auto hits = net.forward(b.images).argmax(1).eq(b.labels).sum().item<std::int64_t>();
        std::printf("epoch %d/3  loss %.4f  test accuracy %.2f %%\n", epoch, loss / static_cast<double>(steps),
                    100 * static_cast<double>(hits) / static_cast<double>(test.size()));
    }
    compare(net, pooling, batch(training, 0, n));
} catch (const std::exception& error) {
    std::fprintf(stderr, "libtorch_maxpool: %s\n", error.what());
    return 1;
}
