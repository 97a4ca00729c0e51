// Every function of tiebreak.hpp, with failures thrown and returned, and what C++ adds: owners that move, views that
// know their size, a lambda that takes the log.
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "check.hpp"

using namespace tiebreak;

std::string unknown_network();

static std::string folder() {
    const char* set = std::getenv("TIEBREAK_TEST_FOLDER");
    return set ? set : ".";
}

static void names() {
    CHECK(abi_version() == TB_ABI_VERSION);
    CHECK(std::strchr(version(), '.'));
    CHECK(std::string(status_name(Status::shape_mismatch)) == "TB_STATUS_SHAPE_MISMATCH");
    CHECK(to_string(Shape{2, 3}) == "[2, 3]");
    CHECK(Shape({2, 3}) == Shape(std::vector<std::int64_t>{2, 3}) && Shape({2, 3}) != Shape({3, 2}));
    CHECK(Shape({2, 3}).elements() == std::size_t{6} && !Shape({2, -3}).elements());
    const std::int64_t huge = std::int64_t{1} << 40;
    CHECK(!Shape({huge, huge}).elements() && !Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}).elements());
    static_assert(!std::is_copy_constructible_v<Engine> && std::is_nothrow_move_constructible_v<Engine>);
    static_assert(!std::is_copy_assignable_v<Network> && std::is_nothrow_move_assignable_v<Network>);
    static_assert(!std::is_constructible_v<View, std::vector<int>, Shape>);
    static_assert(!std::is_constructible_v<ViewMut, const std::vector<float>&, Shape>);
}

static void options() {
    CHECK(EngineOptions().device == Device::automatic && EngineOptions().threads == 0);
    CHECK(Pool2dOptions().kernel[1] == 2 && Pool2dOptions(3, 1).stride[0] == 1);
    CHECK(Conv2dOptions().groups == 1 && Conv2dOptions(3, 1).padding[0] == 1 && Conv2dOptions(3).stride[0] == 1);
    CHECK(BatchnormOptions().eps == 1e-5);
    CHECK(OptimizerOptions().learning_rate == 0.01 && OptimizerOptions(Algorithm::adam).betas[1] == 0.999);
    CHECK(OptimizerOptions(Algorithm::adamw).c().algorithm == TB_ALGORITHM_ADAMW);
    CHECK(ParameterGroup().learning_rate_factor == 1 && !ParameterGroup().c().names);
    CHECK(ZooOptions().base_width == 64 && ZooOptions().hidden[0] == 120);
    CHECK(NetworkOptions("f16").precision == "f16");
    CHECK(Kink().kind == KinkKind::maxpool && Kink().jacobian == Jacobian::native);
    const Kink beta = Kink::maxpool_beta(10, Composition::coupled);
    CHECK(beta.c().jacobian == TB_JACOBIAN_BETA && beta.c().composition == TB_COMPOSITION_COUPLED);
    CHECK(Kink::maxpool(Jacobian::first_column).c().jacobian == TB_JACOBIAN_FIRST_COLUMN);
    CHECK(Kink::maxpool(Jacobian::all).c().jacobian == TB_JACOBIAN_ALL);
    CHECK(Kink::maxpool(Jacobian::scaled).c().jacobian == TB_JACOBIAN_SCALED);
    CHECK(Kink::maxpool_beta(1, Composition::forward).c().composition == TB_COMPOSITION_FORWARD);
    CHECK(Kink::maxpool_random(7).c().seed == 7 && Kink::relu(0.5).c().alpha == 0.5);
    CHECK(Kink::norm_pool(0.25).c().at_zero == 0.25 && Kink(beta.c()).beta == 10);

    Schedule schedule = ScheduleKind::multi_step;
    schedule.milestones = {2, 4};
    CHECK(std::abs(ok(schedule.learning_rate(1, 3)) - 0.1) < 1e-15);
    FAILS(schedule.learning_rate(-1, 3), Status::invalid_argument, "tb_schedule_learning_rate: ", "`base`");
}

static void operators(const Engine& engine) {
    // 2x2 windows over a 4x4 image: two of them tie.
    const float x[16] = {3, 3, 0, 1, 3, 0, 1, 1, 5, 4, 2, 0, 1, 2, 0, 1};
    std::array<float, 4> y{};
    std::vector<float> gx(16);
    const Shape in = {1, 1, 4, 4};
    const auto out = ok(pool2d_output_shape(in));
    CHECK(out.shape == Shape({1, 1, 2, 2}) && out.ties_size == 4);
    FAILS(pool2d_output_shape({4, 4}), Status::shape_mismatch, "tb_pool2d_output_shape: ", "[4, 4]");
    std::vector<std::uint8_t> ties(out.ties_size);
    DONE(engine.maxpool2d_forward({x, in}, {y, out.shape}, ties));
    CHECK((y == std::array<float, 4>{3, 1, 5, 2}));
    const float ones[4] = {1, 1, 1, 1};
    DONE(engine.maxpool2d_backward({ones, out.shape}, ties, {gx, in}, {}, Kink::maxpool(Jacobian::minimal)));
    CHECK(gx[0] == 1.0f / 3 && gx[1] == 1.0f / 3 && gx[4] == 1.0f / 3 && gx[5] == 0);
    DONE(engine.maxpool2d_backward({ones, out.shape}, ties, {gx.data(), in}));
    CHECK(gx[0] == 1 && gx[1] == 0 && gx[4] == 0);

    const auto diagnosis = ok(engine.maxpool2d_diagnose({x, in}));
    CHECK(diagnosis.windows == 4 && diagnosis.tied_elsewhere == 2 && diagnosis.untied == 2 && diagnosis.alive == 2);
    CHECK(diagnosis.predicted_ties_bf16 == 0 && diagnosis.tied_at_zero == 0 && diagnosis.nan == 0);
    const float one_alive[4] = {0, 1, 1, 1};
    CHECK(ok(engine.maxpool2d_diagnose({x, in}, {one_alive, out.shape})).alive == 1);
    FAILS(engine.maxpool2d_diagnose({x, in}, {ones, {1, 1, 4, 1}}), Status::shape_mismatch, "`gy`");

    // A view must have as many elements as its shape; a pointer is taken at its word.
    FAILS(engine.maxpool2d_forward({x, {1, 1, 4, 5}}, {y, out.shape}, ties), Status::shape_mismatch,
          "tb_maxpool2d_forward: argument `x`: expected memory for [1, 1, 4, 5], 20 elements, got 16");
    gx.pop_back();
    FAILS(engine.maxpool2d_backward({ones, out.shape}, ties, {gx, in}), Status::shape_mismatch,
          "argument `gx`", "16 elements, got 15");
    gx.push_back(0);
    // What the library finds.
    FAILS(engine.maxpool2d_forward({x, in}, {y, {1, 1, 1, 4}}, ties), Status::shape_mismatch,
          "tb_maxpool2d_forward: ", "[1, 1, 2, 2]");
    std::vector<double> wide(4);
    FAILS(engine.maxpool2d_forward({x, in}, {wide, out.shape}, ties), Status::dtype_mismatch, "f32", "f64");
    FAILS(engine.maxpool2d_forward({}, {y, out.shape}, ties), Status::null_pointer, "`x`");
    FAILS(engine.maxpool2d_forward({x, in}, {y, out.shape}, {}), Status::shape_mismatch, "`ties`");
    FAILS(engine.relu_forward({x, {1, 1, 1, 1, 1, 1, 1, 1, 16}}, {gx, {16}}), Status::invalid_argument, "rank");

    DONE(engine.norm_pool2d_forward({x, in}, {y, out.shape}));
    CHECK(std::abs(y[0] - std::sqrt(27.0f)) < 1e-6f);
    DONE(engine.norm_pool2d_backward({x, in}, {y, out.shape}, {ones, out.shape}, {gx, in}));
    DONE(engine.avgpool2d_forward({x, in}, {y, out.shape}));
    CHECK(y[0] == 2.25f);
    DONE(engine.avgpool2d_backward({ones, out.shape}, {gx, in}));
    CHECK(gx[0] == 0.25f);
    DONE(engine.adaptive_avgpool2d_forward({x, in}, {y.data(), {1, 1, 1, 1}}));
    CHECK(y[0] == 27.0f / 16);
    DONE(engine.adaptive_avgpool2d_backward({&ones[0], {1, 1, 1, 1}}, {gx, in}));
    CHECK(gx[3] == 1.0f / 16);

    const float zero[2] = {0, -1};
    float g2[2] = {1, 1}, gz[2], copy[2];
    DONE(engine.relu_forward({zero, {2}}, {copy, {2}}));
    DONE(engine.relu_backward({zero, {2}}, {g2, {2}}, {gz, {2}}, Kink::relu(0.5)));
    CHECK(gz[0] == 0.5f && gz[1] == 0);
    FAILS(engine.relu_backward({zero, {2}}, {g2, {2}}, {gz, {2}}, Kink()), Status::invalid_argument, "kink");

    const float w[4] = {1, 2, 3, 4}, b[1] = {1};
    float c[9], gw[4], gb[1];
    DONE(engine.conv2d_forward({x, in}, {w, {1, 1, 2, 2}}, {b, {1}}, {c, {1, 1, 3, 3}}));
    CHECK(c[0] == 3 + 6 + 9 + 0 + 1);
    DONE(engine.conv2d_backward_input({c, {1, 1, 3, 3}}, {w, {1, 1, 2, 2}}, {gx, in}));
    DONE(engine.conv2d_backward_weight({x, in}, {c, {1, 1, 3, 3}}, {gw, {1, 1, 2, 2}}, {gb, {1}}));
    DONE(engine.conv2d_backward_weight({x, in}, {c, {1, 1, 3, 3}}, {gw, {1, 1, 2, 2}}, {}));

    float l[2];
    DONE(engine.linear_forward({g2, {1, 2}}, {w, {2, 2}}, {}, {l, {1, 2}}));
    CHECK(l[0] == 3 && l[1] == 7);
    DONE(engine.linear_backward_input({l, {1, 2}}, {w, {2, 2}}, {gz, {1, 2}}));
    DONE(engine.linear_backward_weight({g2, {1, 2}}, {l, {1, 2}}, {gw, {2, 2}}, {copy, {2}}));
    DONE(engine.add({g2, {2}}, {l, {2}}, {gz, {2}}));
    CHECK(gz[0] == 4 && gz[1] == 8);
    float joined[4], parts[2][2];
    DONE(engine.concat({View{g2, {1, 2}}, View{l, {1, 2}}}, {joined, {1, 4}}));
    CHECK(joined[1] == 1 && joined[3] == 7);
    const std::vector<ViewMut> split = {{parts[0], {1, 2}}, {parts[1], {1, 2}}};
    DONE(engine.concat_backward({joined, {1, 4}}, split));
    CHECK(parts[1][0] == 3);
    FAILS(engine.concat({View{g2, {1, 2}}, View{l, {1, 3}}}, {joined, {1, 4}}), Status::shape_mismatch,
          "tb_concat: tensor 1: ", "3 elements, got 2");
    DONE(engine.dropout_forward({w, {4}}, 0.5, 1, 2, {joined, {4}}));
    DONE(engine.dropout_backward({w, {4}}, 0.5, 1, 2, {gw, {4}}));
    CHECK(std::memcmp(joined, gw, sizeof gw) == 0);
    CHECK(std::abs(ok(engine.cross_entropy({g2, {1, 2}}, {1}, {gz, {1, 2}})) - std::log(2.0)) < 1e-6);
    FAILS(engine.cross_entropy({g2, {1, 2}}, {1, 0}, {gz, {1, 2}}), Status::shape_mismatch, "label");
    float third[1] = {1.0f / 3};
    DONE(engine.quantize("bf16", 0, {third, {1}}));
    CHECK(third[0] == 0.333984375f);
    FAILS(engine.quantize("e99", 0, {third, {1}}), Status::invalid_argument, "`format`");

    const float bx[4] = {0, 2, 4, 6}, bw[2] = {1, 1}, bb[2] = {0, 0};
    float by[4], mean[2], inv_std[2], rm[2] = {0, 0}, rv[2] = {1, 1}, bgx[4], bgw[2], bgb[2];
    const Shape nc = {2, 2};
    DONE(engine.batchnorm_forward({bx, nc}, {bw, {2}}, {bb, {2}}, {by, nc}, {mean, {2}}, {inv_std, {2}}, {rm, {2}},
                                  {rv, {2}}));
    CHECK(mean[0] == 2 && rm[0] == 0.2f);
    DONE(engine.batchnorm_backward({bx, nc}, {by, nc}, {bw, {2}}, {mean, {2}}, {inv_std, {2}}, {bgx, nc}, {bgw, {2}},
                                   {bgb, {2}}));
    DONE(engine.batchnorm_inference({bx, nc}, {bw, {2}}, {bb, {2}}, {rm, {2}}, {rv, {2}}, {by, nc}));
    DONE(engine.batchnorm_inference_backward({bx, nc}, {by, nc}, {bw, {2}}, {rm, {2}}, {rv, {2}}, {bgx, nc},
                                             {bgw, {2}}, {bgb, {2}}));

    std::vector<float> param = {1}, state = {0}, second = {0};
    const std::vector<float> grad = {2};
    DONE(engine.sgd_step({}, true, {grad, {1}}, {param, {1}}));
    CHECK(param[0] == 0.98f);
    DONE(engine.adam_step(Algorithm::adam, 1, {grad, {1}}, {param, {1}}, {state, {1}}, {second, {1}}));
    DONE(engine.rms_prop_step(Algorithm::rms_prop, {grad, {1}}, {param, {1}}, {state, {1}}));
    FAILS(engine.sgd_step(Algorithm::adam, true, {grad, {1}}, {param, {1}}), Status::invalid_argument, "tb_sgd_step");

    // 16 bits: bits of ours, or whatever type says that it is one.
    const Half h[4] = {{0x3c00}, {0x4000}, {0x3c00}, {0x0000}};
    Half m[1];
    DONE(engine.maxpool2d_forward({h, {1, 1, 2, 2}}, {m, {1, 1, 1, 1}}, Span<std::uint8_t>(ties.data(), 1)));
    CHECK(m[0].bits == 0x4000);
    DONE(engine.relu_forward({static_cast<const void*>(x), DType::f32, {16}}, {gx, {16}}));
}

static void graphs(const Engine& engine) {
    const auto graph = ok(Graph::create({1, 8, 8}));
    const auto a = ok(graph.conv2d("a", Node::input, 4, Conv2dOptions(3, 1)));
    const auto b = ok(graph.relu("b", ok(graph.batchnorm("n", a))));
    const auto c = ok(graph.maxpool2d("c", b));
    const auto d = ok(graph.norm_pool2d("d", b));
    const auto e = ok(graph.avgpool2d("e", b));
    const auto f = ok(graph.concat("f", {c, d, ok(graph.add("s", c, e))}));
    const auto g = ok(graph.adaptive_avgpool2d("g", f));
    const auto h = ok(graph.dropout("h", ok(graph.flatten("flat", g)), 0.25));
    ok(graph.linear("out", h, 3));
    const auto info = ok(graph.info());
    CHECK(info.layer_count == 13 && info.input_shape == Shape({1, 8, 8}));
    const auto layer = ok(graph.layer_info(f));
    CHECK(layer.name == "f" && layer.kind == "concat" && layer.shape == Shape({12, 4, 4}));
    FAILS(graph.linear("out", h, 3), Status::invalid_argument, "tb_graph_linear", "out");
    const auto network = ok(Network::create(engine, graph, "f64"));
    CHECK(ok(network.info()).classes == 3 && ok(network.info()).dtype == DType::f64);
    CHECK(ok(network.info()).buffer_count == 2);
    CHECK(ok(network.buffer_info(0)).name == "n.running_mean");
    std::vector<double> mean(4, 0.5);
    DONE(network.write_buffer("n.running_mean", {mean, {4}}));
    DONE(network.read_buffer("n.running_mean", {mean, {4}}));
    CHECK(mean[3] == 0.5);
    DONE(network.freeze_batchnorm(true));
    ZooOptions zoo;
    zoo.classes = 7;
    CHECK(ok(ok(Graph::from_zoo("vgg9_bn", zoo)).info()).layer_count > 10);
    const auto description = ok(graph.to_json());
    CHECK(description.find("\"flat\"") != std::string::npos);
    CHECK(ok(ok(Graph::from_json(description)).to_json()) == description);
    FAILS(Graph::from_json("[]"), Status::invalid_argument, "tb_graph_from_json", "`description`");
}

// Pictures with a bright bar whose place is the label: windows tie on the dark ground.
static std::vector<float> pictures(std::size_t n, std::vector<std::int64_t>& labels) {
    std::vector<float> x(n * 28 * 28);
    labels.resize(n);
    for (std::size_t i = 0; i < n; i++) {
        const std::size_t label = (i * 7 + i / 10) % 10;
        labels[i] = static_cast<std::int64_t>(label);
        for (std::size_t j = 4; j < 24; j++) x[(i * 28 + 2 * label + 4) * 28 + j] = 1;
    }
    return x;
}

static void training(const Engine& engine) {
    std::vector<std::int64_t> labels;
    const std::size_t n = 40;
    const auto images = pictures(n, labels);
    const View x = {images, {n, 1, 28, 28}};
    NetworkOptions seeded;
    seeded.seed = 3;
    auto network = ok(Network::create(engine, "lenet5", seeded));
    const auto info = ok(network.info());
    CHECK(info.parameter_count == 10 && info.input_shape == Shape({1, 28, 28}) && info.precision == "f32");
    CHECK(ok(network.layer_info(3)).kind == "maxpool2d" && info.placement.empty());
    const auto first = ok(network.parameter_info(0));
    CHECK(first.name == "features.0.weight" && first.kind == "parameter");

    // Two choices on one forward pass.
    const auto apart = ok(network.compare(x, labels, {{Kink::maxpool(Jacobian::minimal)},
                                                      {{"features.2", Kink::maxpool(Jacobian::native)}},
                                                      {Kink::relu(1), Kink::maxpool_beta(1e6, Composition::coupled)}}));
    CHECK(apart.size() == 3 && apart[0].l1 > 0 && apart[0].shared_forward && apart[0].differences.size() == 10);
    CHECK(apart[0].differences[0].name == "features.0.weight" && apart[0].differences[0].l1 > 0);
    CHECK(apart[1].l1 == 0 && apart[1].differing == 0);
    CHECK(!apart[2].shared_forward && apart[2].losses[0] != apart[2].losses[1]);
    FAILS(network.compare(x, labels, {{{"features.9", Kink()}}}), Status::not_found, "features.9");

    DONE(network.set_kink("features.2", Kink::maxpool_beta(2)));
    CHECK(ok(network.kink("features.2")).beta == 2);
    DONE(network.set_kink(Kink::relu(0.25)));
    CHECK(ok(network.kink("features.1")).alpha == 0.25);
    FAILS(network.set_kink("features.77", Kink()), Status::not_found, "tb_network_set_kink", "features.77");
    DONE(network.set_kink(Kink::maxpool(Jacobian::minimal)));
    DONE(network.set_kink(Kink::relu(0)));
    DONE(network.set_reduction_order(ReductionOrder::seeded, 4));
    DONE(network.set_reduction_order(ReductionOrder::fixed));
    DONE(network.set_loss_scale(8));

    const double before = ok(network.loss_and_gradients(x, labels));
    CHECK(std::abs(before - std::log(10.0)) < 0.3);
    const Shape shape = first.shape;
    std::vector<float> weight(*shape.elements()), gradient(weight.size()), again(weight.size());
    DONE(network.read_gradient("features.0.weight", {gradient, shape}));
    DONE(network.backward());
    DONE(network.read_gradient("features.0.weight", {again, shape}));
    CHECK(gradient == again);
    FAILS(network.read_gradient("features.0.weight", {gradient, {1}}), Status::shape_mismatch, "`values`");
    const auto norms = ok(network.gradient_norms());
    double sum = 0;
    for (const float g : gradient) sum += std::abs(g);
    CHECK(norms.size() == 10 && std::abs(norms[0].l1 - sum) < 1e-4 * sum && norms[0].non_finite == 0);
    DONE(network.set_loss_scale(1));

    const auto pool = ok(network.layer_info(3));
    std::vector<std::uint8_t> ties(n * *pool.shape.elements());
    DONE(network.ties(pool.name, ties));
    std::size_t tied = 0;
    for (const auto k : ties) tied += k > 1;
    CHECK(tied > 0);
    const auto census = ok(network.census(x, labels));
    CHECK(census.size() == info.census_count && census[0].layer == "features.1" && census[0].kind == KinkKind::relu);
    std::uint64_t counted = 0;
    for (const auto& e : census) counted += e.layer == pool.name && e.ties > 1 ? e.zero + e.nonzero : 0;
    CHECK(counted == tied);
    DONE(network.loss_and_gradients(x, labels));
    const auto classes = ok(network.tie_classes());
    CHECK(classes.size() == 2 && classes[0].layer == pool.name && classes[0].windows == ties.size());
    CHECK(classes[0].masked + classes[0].structural + classes[0].accidental == tied);
    CHECK(classes[0].untied + classes[0].nan + tied == classes[0].windows);

    // The same branches in f64, where the choice can cancel.
    auto wide = ok(Network::create(engine, "lenet5", "f64"));
    const double replayed = ok(wide.replay(network));
    CHECK(std::abs(replayed - before) < 1e-4);
    const auto stored = ok(wide.compare_stored({{Kink::maxpool(Jacobian::minimal)}, {Kink::maxpool(Jacobian::last)}}));
    CHECK(stored.size() == 2 && stored[0].shared_forward && stored[0].losses[0] == replayed);
    CHECK(stored[1].differences.size() == 10 && stored[1].differences[0].name == "features.0.weight");
    FAILS(wide.replay(wide), Status::invalid_argument, "tb_network_replay", "`recorded`");
    FAILS(wide.compare_stored({{Kink::maxpool_beta(2, Composition::coupled)}}), Status::unsupported,
          "tb_network_compare_stored");
    auto twin = ok(Network::create(engine, "lenet5"));
    DONE(twin.copy_state(wide));
    CHECK(std::abs(ok(twin.loss_and_gradients(x, labels)) - before) < 1e-4);
    FAILS(twin.copy_state(twin), Status::invalid_argument, "tb_network_copy_state", "`from`");
    DONE(twin.set_kinks("theano"));
    CHECK(ok(twin.kink("features.2")).jacobian == Jacobian::all && ok(twin.kink("features.1")).alpha == 0.5);
    FAILS(twin.set_kinks("caffe"), Status::invalid_argument, "tb_network_set_kinks", "caffe");

    // Where a value beyond f32 arises, and why.
    DONE(twin.set_kink(Kink::maxpool_beta(1e38, Composition::coupled)));
    DONE(twin.loss_and_gradients(x, labels));
    CHECK(ok(twin.non_finite()).empty());
    DONE(twin.watch_non_finite());
    std::vector<float> bright(images);
    for (float& v : bright) v *= 1000;
    DONE(twin.loss_and_gradients({bright, {n, 1, 28, 28}}, labels));
    const auto found = ok(twin.non_finite());
    CHECK(found.size() > 3 && found[0].pass == Pass::forward && found[0].layer == "features.2" && !found[0].lasts);
    CHECK(found[0].operator_name == "maxpool2d_forward" && found[0].tensor == "output");
    CHECK(found[0].element < n * 6 * 12 * 12 && !std::isfinite(found[0].value));
    CHECK(found[0].cause.find("coupled") != std::string::npos);
    DONE(twin.set_kinks("pytorch"));
    DONE(twin.loss_and_gradients(x, labels));
    CHECK(ok(twin.non_finite()).empty());

    std::vector<float> logits(n * 10), kept(n * 10);
    DONE(network.loss_and_gradients(x, labels));
    DONE(network.read_activation(ok(network.layer_info(info.layer_count - 1)).name, {kept, {n, 10}}));
    DONE(network.forward(x, {logits, {n, 10}}));
    CHECK(logits == kept);
    const auto plan = ok(network.memory_plan(n, true));
    CHECK(plan.total > plan.parameters && plan.parameters > 0);
    CHECK(ok(engine.memory()).host_bytes > 0);

    // Train.
    OptimizerOptions sgd = Algorithm::sgd;
    sgd.learning_rate = 0.05;
    sgd.momentum = 0.9;
    sgd.clip_norm = 5;
    ParameterGroup bias;
    bias.names = "*.bias";
    bias.weight_decay = 0;
    sgd.groups = {bias};
    auto optimizer = ok(Optimizer::create(network, sgd));
    StepReport report{};
    for (int i = 0; i < 40; i++) report = ok(optimizer.train_step(x, labels));
    CHECK(report.loss < 0.8 * before && report.gradient_norm > 0 && !report.skipped);
    const auto evaluation = ok(network.evaluate(x, labels));
    CHECK(evaluation.correct > n / 2 && evaluation.loss < before);
    CHECK(ok(optimizer.info()).steps == 40 && ok(optimizer.info()).algorithm == Algorithm::sgd);
    DONE(optimizer.set_learning_rate(0.01));
    CHECK(ok(optimizer.info()).learning_rate == 0.01);
    DONE(optimizer.submit_step(x, labels));
    DONE(network.loss_and_gradients(x, labels));
    ok(optimizer.step());
    CHECK(ok(optimizer.info()).steps == 42);
    sgd.groups[0].names = "nothing*";
    FAILS(Optimizer::create(network, sgd), Status::invalid_argument, "nothing*");

    // Files.
    const std::string state = folder() + "/hpp_state.safetensors", run = folder() + "/hpp_run.safetensors";
    DONE(network.save(state));
    DONE(optimizer.save(run));
    auto other = ok(Network::create(engine, "lenet5"));
    DONE(other.load(state));
    DONE(network.read_parameter("features.0.weight", {weight, shape}));
    DONE(other.read_parameter("features.0.weight", {again, shape}));
    CHECK(weight == again);
    DONE(other.write_parameter("features.0.weight", {gradient, shape}));
    DONE(other.read_parameter("features.0.weight", {again, shape}));
    CHECK(gradient == again);
    DONE(optimizer.load(run));
    FAILS(other.load(folder() + "/missing"), Status::io, "tb_network_load");
    auto half = ok(Network::create(engine, "lenet5", "f16"));
    FAILS(half.load(state), Status::format, "f32");
    DONE(half.load(state, true));

    // The optimizer keeps its network alive.
    network = std::move(other);
    ok(optimizer.train_step(x, labels));
}

static void moves(Engine& engine) {
    Engine other = std::move(engine);
    CHECK(!engine.handle() && other.handle());
    FAILS(engine.info(), Status::null_pointer, "tb_engine_info: ", "`engine`");
    FAILS(Network::create(engine, "lenet5"), Status::null_pointer, "`engine`");
    engine = std::move(other);
    CHECK(ok(engine.info()).name == "cpu" && !ok(engine.info()).gpu);
    auto network = ok(Network::create(engine, "lenet5"));
    auto moved = std::move(network);
    FAILS(network.info(), Status::null_pointer, "tb_network_info");
    FAILS(network.gradient_norms(), Status::null_pointer, "tb_network_info");
    FAILS(Optimizer::create(network), Status::null_pointer, "`network`");
    FAILS(Network::create(engine, "lenet6"), Status::not_found, "lenet6");
    CHECK(unknown_network().find("lenet6") != std::string::npos);
}

// Memory of the engine in place of the caller's.
static void tensors(const Engine& engine) {
    const Shape in = {1, 1, 2, 2}, out = {1, 1, 1, 1};
    const float values[4] = {2, 2, 2, 1};
    float got[4] = {};
    auto x = ok(Tensor::create(engine, DType::f32, in));
    const auto y = ok(Tensor::create(engine, DType::f32, out));
    const auto gx = ok(Tensor::create(engine, DType::f32, in));
    const auto ties = ok(Tensor::create(engine, DType::byte, {1}));
    DONE(x.write({values, in}));
    DONE(engine.maxpool2d_forward(x, y, ties));
    DONE(y.read({&got[0], out}));
    CHECK(got[0] == 2);
    DONE(engine.maxpool2d_backward(y, ties, gx, {}, Kink::maxpool(Jacobian::minimal)));
    DONE(gx.read({got, in}));
    CHECK(got[0] == 2.0f / 3 && got[3] == 0);
    // Both kinds of memory in one call.
    DONE(engine.relu_forward({values, in}, gx));
    DONE(engine.add(gx, {values, in}, x));
    DONE(x.read({got, in}));
    CHECK(got[3] == 2);
    FAILS(y.read({got, in}), Status::shape_mismatch, "tb_tensor_read: ", "[1, 1, 1, 1]");
    FAILS(y.read({got, out}), Status::shape_mismatch, "argument `values`", "got 4");
    const auto info = ok(gx.info());
    CHECK(info.shape == in && info.dtype == DType::f32 && info.kind == "tensor" && !info.gpu);
    const auto moved = std::move(x);
    FAILS(engine.relu_forward(x, gx), Status::null_pointer, "`x`");
    FAILS(x.info(), Status::null_pointer, "tb_tensor_info");
    FAILS(Tensor::create(engine, DType::f32, {-1}), Status::invalid_argument, "tb_tensor_create");

    for (const bool versioned : {false, true}) {
        void* managed = ok(dlpack_export(moved, versioned));
        const auto view = ok(dlpack_view(managed, versioned));
        DONE(gx.write(view));
        DONE(gx.read({got, in}));
        CHECK(got[0] == 4);
        DONE(y.write({&values[3], out}));
        DONE(moved.read(ok(dlpack_view_mut(managed, versioned))));
        // Where DLPack's own structs, whose header this program does not have, hold their deleter.
        const std::size_t offset = versioned ? 16 : 56;
        void (*deleter)(void*);
        std::memcpy(&deleter, static_cast<const char*>(managed) + offset, sizeof deleter);
        deleter(managed);
    }
    FAILS(dlpack_view(nullptr, true), Status::null_pointer, "tb_dlpack_view");
    FAILS(dlpack_view_mut(nullptr, true), Status::null_pointer, "tb_dlpack_view_mut");
    for (const auto& adapter : ok(adapters())) CHECK(!adapter.name.empty());
}

static void datasets(const Engine& engine) {
    std::uint64_t heard = 0;
    const Progress progress = [&](std::uint64_t done, std::uint64_t total) {
        heard = done;
        return done <= total;
    };
    const auto digits = ok(Dataset::digits(200, 1, progress));
    CHECK(heard == 200);
    FAILS(Dataset::digits(200, 1, [](std::uint64_t, std::uint64_t) { return false; }), Status::cancelled,
          "tb_dataset_digits");
    const auto info = ok(digits.info());
    CHECK(info.count == 200 && info.classes == 10 && info.shape == Shape({1, 28, 28}));
    const auto order = ok(digits.order(1, 0));
    CHECK(order.size() == 200 && order != ok(digits.order(1, 1)));
    std::vector<float> x(4 * 784), moved(4 * 784);
    const Span<const std::size_t> four(order.data(), 4);
    const auto labels = ok(digits.batch(four, {x, {4, 1, 28, 28}}));
    CHECK(labels.size() == 4 && labels[0] >= 0 && labels[0] < 10);
    Augmentation crop;
    crop.crop_padding = 4;
    ok(digits.batch(four, {moved, {4, 1, 28, 28}}, crop));
    CHECK(x != moved);
    Augmentation part;
    part.resized_crop = true;
    CHECK(part.c().ratio[1] == 4.0 / 3.0);
    part.scale = {0.5, 2.0};
    FAILS(digits.batch(four, {moved, {4, 1, 28, 28}}, part), Status::invalid_argument, "`scale`");
    CHECK(ok(ok(Dataset::shapes(3, 1)).info()).shape == Shape({3, 32, 32}));
    FAILS(digits.batch({std::size_t{200}}, {x.data(), {1, 1, 28, 28}}), Status::invalid_argument, "tb_dataset_batch");

    const std::vector<std::uint8_t> pixels(2 * 4, 255);
    const auto own = ok(Dataset::create("own", pixels, {1, 2, 2}, {0, 1}, 2));
    CHECK(ok(own.info()).name == "own" && ok(own.info()).mean[0] == 0.5);
    FAILS(Dataset::create("own", pixels, {1, 2, 3}, {0, 1}, 2), Status::shape_mismatch, "`images`", "got 8 bytes");
    FAILS(Dataset::open(folder() + "/nowhere"), Status::io, "tb_dataset_open");
    DatasetOptions some;
    some.limit = 5;
    some.from_files = true;
    CHECK(some.c().limit == 5 && some.c().image_size == 224 && some.c().resize == 0 && some.c().from_files == 1);

    const auto network = ok(Network::create(engine, "lenet5"));
    const auto optimizer = ok(Optimizer::create(network, Algorithm::adam));
    const auto report = ok(optimizer.train_epoch(digits, 32, 1, 0, crop, progress));
    CHECK(report.steps == 7 && report.loss > 0 && heard == 200);
    CHECK(ok(network.evaluate(digits, 64)).correct <= 200);
    FAILS(network.evaluate(digits, 64, [](std::uint64_t, std::uint64_t) { return false; }), Status::cancelled,
          "tb_network_evaluate_dataset");
#if TIEBREAK_EXCEPTIONS
    // What the listener throws reaches the caller.
    bool caught = false;
    try {
        optimizer.train_epoch(digits, 32, 1, 0, {}, [](std::uint64_t, std::uint64_t) -> bool { throw 7; });
    } catch (int thrown) {
        caught = thrown == 7;
    }
    CHECK(caught);
#endif
    CHECK(ok(network.work(4, true)).operations > ok(network.work(4, false)).operations);
    const auto kernels = ok(optimizer.profile_step({x, {4, 1, 28, 28}}, labels));
    CHECK(kernels.size() > 10 && kernels[0].seconds >= 0 && !kernels[0].layer.empty() && !kernels[0].kernel.empty());
    std::uint64_t operations = 0;
    for (const auto& k : kernels) operations += k.operations;
    CHECK(operations > 0);
}

static void experiments(const Engine& engine) {
    const auto known = ok(tiebreak::experiments());
    CHECK(known.size() >= 19 && known[0].name == "zero_program" && known[0].about.rfind("E1: ", 0) == 0);
    CHECK(ok(experiment_defaults("relu")).find("\"seeds\":200") != std::string::npos);
    CHECK(ok(experiment_defaults("relu", true)).find("\"seeds\":1000") != std::string::npos);
    FAILS(experiment_defaults("zero"), Status::not_found, "tb_experiment_defaults", "zero_program");
    FAILS(Experiment::create("relu", "{\"seed\": 1}"), Status::not_found, "no field named `seed`", "seeds");
    FAILS(Experiment::create("relu", "{\"seeds\": \"1\"}"), Status::invalid_argument, "`seeds`", "a whole number");
    FAILS(Experiment::create("training"), Status::invalid_argument, "expected a data set");

    const auto zero = ok(Experiment::create("zero_program"));
    CHECK(ok(zero.info()).name == "zero_program" && ok(zero.info()).unit_count == 18);
    const auto whole = ok(zero.run(engine));
    CHECK(whole.row_count == 90 && whole.finished == 18 && whole.missing == 0 && !whole.cancelled);
    CHECK(whole.sentences.size() == 4 && whole.sentences[0].find("-1.5") != std::string::npos);
    const Column* derivative = whole.column("derivative");
    CHECK(derivative && derivative->kind() == ColumnKind::numbers && derivative->as<double>()->at(2) == -1.5);
    const Column* precision = whole.column("precision");
    CHECK(precision && precision->as<std::uint64_t>()->back() == 64 && !precision->as<double>());
    const Column* program = whole.column("program");
    CHECK(program && program->kind() == ColumnKind::texts && program->as<std::string>()->back() == "relu");
    CHECK(!whole.column("nothing"));

    const auto stop = [](std::uint64_t done, std::uint64_t) { return done < 3000; };
    const auto part = ok(zero.run(engine, {}, {2, 3}, stop));
    CHECK(part.cancelled && part.finished == 3 && part.row_count == 15 && part.missing == 15);
    FAILS(zero.run(engine, {}, {4, 3}), Status::invalid_argument, "shard");
    const auto folded = ok(zero.run(engine, folder() + "/zero_program", {1, 3}));
    CHECK(folded.finished + folded.skipped == 6);

    const auto digits = ok(Dataset::digits(64, 1));
    const std::string protocol = "{\"precisions\": [16], \"layers\": [1], \"width\": 8, \"seeds\": 2}";
    const auto relu = ok(Experiment::create("relu", protocol, &digits));
    CHECK(ok(relu.run(engine)).column("loss")->as<double>()->size() == 2);
}

static void logs() {
    // The network outlives its engine and what the caller has of the log; a GPU engine that has f64 to do says so.
    auto count = std::make_shared<int>(0);
    std::string last;
    EngineOptions options = Device::cpu;
    options.log = [count, &last](LogLevel level, std::string_view message) {
        ++*count;
        last = std::string(status_name(Status::ok)) + std::to_string(static_cast<int>(level));
        last = message;
#if TIEBREAK_EXCEPTIONS
        throw std::runtime_error("dropped");
#endif
    };
    {
        std::optional<Network> network;
        {
            auto engine = ok(Engine::create(options));
            options.log = nullptr;
            CHECK(*count > 0 && !last.empty());
            network = ok(Network::create(engine, "lenet5"));
        }
        CHECK(count.use_count() > 1);
        CHECK(ok(network->info()).parameter_count == 10);
    }
    CHECK(count.use_count() == 1);
    options.adapter = "no such adapter";
    options.device = Device::gpu;
    FAILS(Engine::create(options), Status::unsupported, "tb_engine_create");
}

int main() {
    auto engine = ok(Engine::create(Device::cpu));
    names();
    options();
    operators(engine);
    graphs(engine);
    training(engine);
    tensors(engine);
    datasets(engine);
    experiments(engine);
    moves(engine);
    logs();
    return finish("hpp_test");
}
