/*
 * A dlib trainer, LeNet-5 on MNIST, that hands only its max pooling to tiebreak.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Build, at the root of the repository, after `cargo build --release` (Debian: libdlib-dev, libblas-dev, liblapack-dev, zlib1g-dev):
 *
 *   c++ -std=c++17 -O2 -Iinclude examples/cpp/dlib_maxpool.cpp -o dlib_maxpool -DTIEBREAK_ZLIB -lz \
 *       -ldlib -lblas -llapack -lpthread -Ltarget/release -ltiebreak -Wl,-rpath,"$PWD/target/release"
 *
 * `./dlib_maxpool` trains on digits that it draws, `./dlib_maxpool DIR [IMAGES]` on MNIST.
 */
#include <dlib/dnn.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "digits.hpp"
#include "tiebreak.hpp"

// ---- tiebreak: a layer, max pooling 2x2 whose Jacobian at ties is a choice ----

struct Pooling {
    tiebreak::Engine engine = tiebreak::Engine::create(tiebreak::Device::cpu);
    tiebreak::Kink kink;
};

// dlib makes its layers itself.
static Pooling& pooling() {
    static Pooling instance;
    return instance;
}

static tiebreak::Shape shape(const dlib::tensor& t) { return {t.num_samples(), t.k(), t.nr(), t.nc()}; }

class tiebreak_pool_ {
  public:
    template <class Subnet>
    void setup(const Subnet&) {}

    template <class Subnet>
    void forward(const Subnet& sub, dlib::resizable_tensor& output) {
        const dlib::tensor& x = sub.get_output();
        const auto out = tiebreak::pool2d_output_shape(shape(x));
        output.set_size(out.shape[0], out.shape[1], out.shape[2], out.shape[3]);
        ties_.resize(out.ties_size);
        pooling().engine.maxpool2d_forward({x.host(), shape(x)}, {output.host_write_only(), out.shape}, ties_, {},
                                           pooling().kink);
    }

    template <class Subnet>
    void backward(const dlib::tensor& gradient_input, Subnet& sub, dlib::tensor&) {
        dlib::tensor& sum = sub.get_gradient_input();
        gradient_.copy_size(sum);
        pooling().engine.maxpool2d_backward({gradient_input.host(), shape(gradient_input)}, ties_,
                                            {gradient_.host_write_only(), shape(sum)}, {}, pooling().kink);
        dlib::tt::add(1, sum, 1, gradient_);
    }

    const dlib::tensor& get_layer_params() const { return parameters_; }
    dlib::tensor& get_layer_params() { return parameters_; }
    dlib::dpoint map_input_to_output(const dlib::dpoint& p) const { return p / 2; }
    dlib::dpoint map_output_to_input(const dlib::dpoint& p) const { return p * 2; }

    friend void serialize(const tiebreak_pool_&, std::ostream& out) { dlib::serialize("tiebreak_pool_", out); }
    friend void deserialize(tiebreak_pool_&, std::istream& in) {
        std::string name;
        dlib::deserialize(name, in);
        if (name != "tiebreak_pool_") throw dlib::serialization_error("expected tiebreak_pool_, got " + name);
    }
    friend std::ostream& operator<<(std::ostream& out, const tiebreak_pool_&) { return out << "tiebreak_pool"; }
    friend void to_xml(const tiebreak_pool_&, std::ostream& out) { out << "<tiebreak_pool/>\n"; }

  private:
    std::vector<std::uint8_t> ties_;
    dlib::resizable_tensor gradient_, parameters_;
};

template <class Subnet>
using tiebreak_pool = dlib::add_layer<tiebreak_pool_, Subnet>;

// ---- The trainer as it was; only its pooling has another name ----

using Image = dlib::matrix<float>;

template <template <class> class POOL>
using LeNet = dlib::loss_multiclass_log<dlib::fc<
    10, dlib::relu<dlib::fc<
            84, dlib::relu<dlib::fc<
                    120, POOL<dlib::relu<dlib::con<
                             16, 5, 5, 1, 1, POOL<dlib::relu<dlib::con<6, 5, 5, 1, 1, dlib::input<Image>>>>>>>>>>>>>;

template <class Subnet>
using own_pool = dlib::max_pool<2, 2, 2, 2, Subnet>;

static std::vector<Image> images_of(const Digits& digits) {
    std::vector<Image> images;
    for (std::size_t i = 0; i < digits.size(); i++) images.push_back(dlib::mat(digits.at(i), 28, 28));
    return images;
}

// Gradient of the first layer.
template <class Net>
static std::vector<float> gradient(Net& net, const std::vector<Image>& images, const std::vector<unsigned long>& labels) {
    net.compute_parameter_gradients(images.begin(), images.end(), labels.begin());
    const auto& g = dlib::layer<Net::num_layers - 2>(net).get_parameter_gradient();
    return {g.begin(), g.end()};
}

static double l1(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); i++) sum += std::abs(double(a[i]) - double(b[i]));
    return sum;
}

template <class Net>
static void compare(Net& net, const std::vector<Image>& images, const std::vector<unsigned long>& labels) {
    const auto chosen = pooling().kink;
    pooling().kink = tiebreak::Kink::maxpool(tiebreak::Jacobian::native);
    const auto native = gradient(net, images, labels);
    pooling().kink = tiebreak::Kink::maxpool(tiebreak::Jacobian::minimal);
    const auto minimal = gradient(net, images, labels);
    pooling().kink = chosen;
    std::printf("first layer: minimal against native L1 %.3e\n", l1(native, minimal));
}

// Both poolings of one network: dlib's own, too, gives all of the gradient to one element of a tie.
static void compare_with_own(const LeNet<tiebreak_pool>& net, const std::vector<Image>& images,
                             const std::vector<unsigned long>& labels) {
    LeNet<tiebreak_pool> ours = net;
    LeNet<own_pool> own;
    // A first image gives the layers their parameters.
    own(images[0]);
    ours(images[0]);
    std::vector<const dlib::tensor*> parameters;
    dlib::visit_layer_parameters(ours, [&](std::size_t, dlib::tensor& t) { parameters.push_back(&t); });
    dlib::visit_layer_parameters(own, [&](std::size_t i, dlib::tensor& t) {
        if (t.size()) memcpy(t, *parameters[i]);
    });
    pooling().kink = tiebreak::Kink::maxpool(tiebreak::Jacobian::native);
    std::printf("first layer: native against dlib's own L1 %.3e\n",
                l1(gradient(ours, images, labels), gradient(own, images, labels)));
}

int main(int argc, char** argv) try {
    Digits training = argc > 1 ? load_mnist(argv[1], "train") : draw_digits(2000, 1);
    Digits test = argc > 1 ? load_mnist(argv[1], "t10k") : draw_digits(500, 2);
    if (argc > 2) training.limit(std::stoul(argv[2]));
    if (argc > 2) test.limit(std::stoul(argv[2]));
    const auto images = images_of(training), unseen = images_of(test);
    const std::vector<unsigned long> labels(training.labels.begin(), training.labels.end());

    const std::size_t n = 50;
    const std::vector<Image> first(images.begin(), images.begin() + n);
    const std::vector<unsigned long> first_labels(labels.begin(), labels.begin() + n);
    LeNet<tiebreak_pool> net;
    compare(net, first, first_labels);
    compare_with_own(net, first, first_labels);
    pooling().kink = tiebreak::Kink::maxpool(tiebreak::Jacobian::minimal);

    dlib::dnn_trainer<LeNet<tiebreak_pool>> trainer(net, dlib::sgd(0, 0.9));
    trainer.set_learning_rate(0.02);
    for (int epoch = 1; epoch <= 3; epoch++) {
        for (std::size_t start = 0; start + n <= images.size(); start += n) {
            trainer.train_one_step(images.begin() + start, images.begin() + start + n, labels.begin() + start);
        }
        trainer.get_net();
        const auto predicted = net(unseen, n);
        std::size_t hits = 0;
        for (std::size_t i = 0; i < test.size(); i++) hits += predicted[i] == static_cast<unsigned long>(test.labels[i]);
        std::printf("epoch %d/3  loss %.4f  test accuracy %.2f %%\n", epoch, trainer.get_average_loss(),
                    100 * static_cast<double>(hits) / static_cast<double>(test.size()));
    }
    compare(net, first, first_labels);
} catch (const std::exception& error) {
    std::fprintf(stderr, "dlib_maxpool: %s\n", error.what());
    return 1;
}
