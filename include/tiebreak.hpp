// Tiebreak for C++17 and later: header-only, over tiebreak.h, whose functions it names and whose comments are the manual.
//
// SPDX-License-Identifier: MIT OR Apache-2.0
//
//     auto engine = tiebreak::Engine::create();
//     auto network = tiebreak::Network::create(engine, "lenet5");
//     auto optimizer = tiebreak::Optimizer::create(network, tiebreak::Algorithm::sgd);
//     network.set_kink(tiebreak::Kink::maxpool(tiebreak::Jacobian::minimal));
//     double loss = optimizer.train_step({images, {n, 1, 28, 28}}, labels).loss;
//
// Failures. A function that returns Result<T> gives a T and throws tiebreak::Error. Where exceptions are off, or
// TIEBREAK_NO_EXCEPTIONS is defined, Result<T> is an object that holds a T or an Error, as std::expected does.
//
// Objects are move-only owners of a handle. One that was moved from holds none: its functions fail with
// Status::null_pointer. Objects may be destroyed in any order, and used from any thread.
//
// Memory is the caller's: a View is a pointer or a container with a shape, and lives for the length of a call.

#ifndef TIEBREAK_HPP
#define TIEBREAK_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "tiebreak.h"

#if !defined(TIEBREAK_NO_EXCEPTIONS) && (defined(__cpp_exceptions) || defined(_CPPUNWIND))
/// 1 where failures are thrown, 0 where they are returned.
#define TIEBREAK_EXCEPTIONS 1
#else
#define TIEBREAK_EXCEPTIONS 0
#endif

namespace tiebreak {
// Files of one program may differ in how they take failures: their functions then differ in name.
#if TIEBREAK_EXCEPTIONS
inline namespace throwing {
#else
inline namespace returning {
#endif

// ---- Enumerations: the constants of tiebreak.h ----------------------------------------------------------------

enum class Status : tb_status {
    ok = TB_STATUS_OK,
    null_pointer = TB_STATUS_NULL_POINTER,
    invalid_handle = TB_STATUS_INVALID_HANDLE,
    invalid_argument = TB_STATUS_INVALID_ARGUMENT,
    shape_mismatch = TB_STATUS_SHAPE_MISMATCH,
    dtype_mismatch = TB_STATUS_DTYPE_MISMATCH,
    not_found = TB_STATUS_NOT_FOUND,
    io = TB_STATUS_IO,
    format = TB_STATUS_FORMAT,
    unsupported = TB_STATUS_UNSUPPORTED,
    device = TB_STATUS_DEVICE,
    device_lost = TB_STATUS_DEVICE_LOST,
    out_of_memory = TB_STATUS_OUT_OF_MEMORY,
    cancelled = TB_STATUS_CANCELLED,
    panic = TB_STATUS_PANIC,
};

/// `byte`: tie sets in a Tensor, nothing else.
enum class DType : tb_dtype { f16 = TB_DTYPE_F16, f32 = TB_DTYPE_F32, f64 = TB_DTYPE_F64, byte = TB_DTYPE_BYTE };

enum class Device : tb_device { automatic = TB_DEVICE_AUTO, cpu = TB_DEVICE_CPU, gpu = TB_DEVICE_GPU };

enum class AdapterKind : tb_adapter_kind {
    other = TB_ADAPTER_OTHER,
    discrete = TB_ADAPTER_DISCRETE,
    integrated = TB_ADAPTER_INTEGRATED,
    virtual_gpu = TB_ADAPTER_VIRTUAL,
    software = TB_ADAPTER_SOFTWARE,
};

enum class LogLevel : tb_log_level { warning = TB_LOG_LEVEL_WARNING, info = TB_LOG_LEVEL_INFO };

enum class KinkKind : tb_kink_kind {
    maxpool = TB_KINK_MAXPOOL,
    relu = TB_KINK_RELU,
    norm_pool = TB_KINK_NORM_POOL,
};

enum class Jacobian : tb_jacobian {
    native = TB_JACOBIAN_NATIVE,
    last = TB_JACOBIAN_LAST,
    minimal = TB_JACOBIAN_MINIMAL,
    beta = TB_JACOBIAN_BETA,
    random = TB_JACOBIAN_RANDOM,
    first_column = TB_JACOBIAN_FIRST_COLUMN,
    all = TB_JACOBIAN_ALL,
    scaled = TB_JACOBIAN_SCALED,
};

enum class Composition : tb_composition {
    exact = TB_COMPOSITION_EXACT,
    split = TB_COMPOSITION_SPLIT,
    coupled = TB_COMPOSITION_COUPLED,
    forward = TB_COMPOSITION_FORWARD,
};

enum class Pass : tb_pass {
    forward = TB_PASS_FORWARD,
    loss = TB_PASS_LOSS,
    backward = TB_PASS_BACKWARD,
    optimizer = TB_PASS_OPTIMIZER,
};

enum class Algorithm : tb_algorithm {
    sgd = TB_ALGORITHM_SGD,
    adam = TB_ALGORITHM_ADAM,
    adamw = TB_ALGORITHM_ADAMW,
    rms_prop = TB_ALGORITHM_RMS_PROP,
};

enum class ReductionOrder : tb_reduction_order {
    fixed = TB_REDUCTION_ORDER_FIXED,
    seeded = TB_REDUCTION_ORDER_SEEDED,
};

enum class ScheduleKind : tb_schedule_kind {
    constant = TB_SCHEDULE_CONSTANT,
    step = TB_SCHEDULE_STEP,
    multi_step = TB_SCHEDULE_MULTI_STEP,
    exponential = TB_SCHEDULE_EXPONENTIAL,
    cosine = TB_SCHEDULE_COSINE,
};

enum class ColumnKind : tb_column_kind {
    numbers = TB_COLUMN_NUMBERS,
    integers = TB_COLUMN_INTEGERS,
    texts = TB_COLUMN_TEXTS,
};

/// A layer of a graph.
enum class Node : tb_node { input = TB_GRAPH_INPUT };

// ---- Failures -------------------------------------------------------------------------------------------------

/// "TB_STATUS_SHAPE_MISMATCH" ...
inline const char* status_name(Status status) { return tb_status_name(static_cast<tb_status>(status)); }

/// Why a call failed: what() names the function, the argument, what was expected and what came.
class Error : public std::runtime_error {
  public:
    Error(Status why, const std::string& message) : std::runtime_error(message), status_(why) {}
    Status status() const noexcept { return status_; }

  private:
    Status status_;
};

#if TIEBREAK_EXCEPTIONS

template <class T>
using Result = T;

namespace detail {

inline void finish(std::optional<Error> error) {
    if (error) throw *std::move(error);
}

template <class T>
T finish(std::optional<Error> error, T value) {
    if (error) throw *std::move(error);
    return value;
}

}  // namespace detail

#else

/// What a call gives, or why it failed. To take the value of one that failed ends the program.
template <class T>
class [[nodiscard]] Result {
  public:
    Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : content_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return content_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    T& value() & { return *held(std::get_if<0>(&content_)); }
    const T& value() const& { return *held(std::get_if<0>(&content_)); }
    T&& value() && { return std::move(*held(std::get_if<0>(&content_))); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }
    /// Only where there is no value.
    const Error& error() const { return *held(std::get_if<1>(&content_)); }

  private:
    template <class P>
    static P held(P content) {
        if (!content) std::abort();
        return content;
    }
    std::variant<T, Error> content_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}

    bool has_value() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return has_value(); }
    /// Only where the call failed.
    const Error& error() const {
        if (!error_) std::abort();
        return *error_;
    }

  private:
    std::optional<Error> error_;
};

namespace detail {

inline Result<void> finish(std::optional<Error> error) {
    if (error) return *std::move(error);
    return {};
}

template <class T>
Result<T> finish(std::optional<Error> error, T value) {
    if (error) return *std::move(error);
    return value;
}

}  // namespace detail

#endif

// ---- Memory of the caller -------------------------------------------------------------------------------------

class Tensor;

/// IEEE binary16, as its bits.
struct Half {
    std::uint16_t bits;
};

/// The DType of an element type; specialise it for a 16-bit type of your own: `value` is DType::f16.
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<Half> : std::integral_constant<DType, DType::f16> {};
template <>
struct DTypeOf<float> : std::integral_constant<DType, DType::f32> {};
template <>
struct DTypeOf<double> : std::integral_constant<DType, DType::f64> {};

/// Consecutive elements that belong to somebody else: a container's, an array's, or `count` from a pointer.
template <class T>
class Span {
  public:
    Span() = default;
    Span(T* data, std::size_t size) : data_(data), size_(size) {}
    template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::data(std::declval<C&>())), T*>>>
    Span(C&& container) : data_(std::data(container)), size_(std::size(container)) {}
    /// For the length of a call.
    template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
    Span(std::initializer_list<std::remove_const_t<T>> list) : Span(std::data(list), list.size()) {}

    T* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    T* begin() const noexcept { return data_; }
    T* end() const noexcept { return data_ + size_; }

  private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Dimensions, outermost first: {n, c, h, w}. At most 8.
class Shape {
  public:
    template <class... I, class = std::enable_if_t<(std::is_integral_v<I> && ...)>>
    Shape(I... dimensions) : Shape(Span<const std::int64_t>({static_cast<std::int64_t>(dimensions)...})) {}
    template <class C, class = std::enable_if_t<!std::is_integral_v<C>>,
              class = std::enable_if_t<std::is_convertible_v<const C&, Span<const std::int64_t>>>>
    Shape(const C& dimensions) : rank_(std::size(dimensions)) {
        const std::int64_t* from = std::data(dimensions);
        for (std::size_t i = 0; i < rank_ && i < dimensions_.size(); i++) dimensions_[i] = from[i];
    }

    std::size_t rank() const noexcept { return rank_; }
    const std::int64_t* data() const noexcept { return dimensions_.data(); }
    std::size_t size() const noexcept { return rank_; }
    std::int64_t operator[](std::size_t i) const { return dimensions_[i]; }

    /// Product of the dimensions; none where the library refuses the shape.
    std::optional<std::size_t> elements() const noexcept {
        if (rank_ > dimensions_.size()) return std::nullopt;
        std::size_t product = 1;
        for (std::size_t i = 0; i < rank_; i++) {
            const auto d = static_cast<std::size_t>(dimensions_[i]);
            if (dimensions_[i] < 0 || (d != 0 && product > SIZE_MAX / d)) return std::nullopt;
            product *= d;
        }
        return product;
    }

    friend bool operator==(const Shape& a, const Shape& b) {
        return a.rank_ == b.rank_ && a.dimensions_ == b.dimensions_;
    }
    friend bool operator!=(const Shape& a, const Shape& b) { return !(a == b); }

    /// "[2, 1, 28, 28]"
    friend std::string to_string(const Shape& shape) {
        std::string text = "[";
        for (std::size_t i = 0; i < shape.rank_ && i < shape.dimensions_.size(); i++) {
            text += (i ? ", " : "") + std::to_string(shape.dimensions_[i]);
        }
        return text + "]";
    }

  private:
    std::size_t rank_;
    std::array<std::int64_t, 8> dimensions_{};
};

namespace detail {

/// Number of elements behind a bare pointer.
inline constexpr std::size_t unknown = SIZE_MAX;

template <class D>
constexpr auto pointer(D& memory) {
    if constexpr (std::is_pointer_v<D>) {
        return memory;
    } else {
        return std::data(memory);
    }
}

template <class D>
constexpr std::size_t count(const D& memory) {
    if constexpr (std::is_pointer_v<D>) {
        return unknown;
    } else {
        return std::size(memory);
    }
}

template <class D>
using Element = std::remove_pointer_t<decltype(pointer(std::declval<D&>()))>;

/// A struct of tiebreak.h for the length of a call.
template <class T>
struct Argument {
    T value;
    bool absent = false;
    operator const T*() const { return absent ? nullptr : &value; }
};

template <class CView, class P>
class BasicView {
  public:
    BasicView() = default;
    BasicView(P data, std::size_t count, DType type, const Shape& dimensions)
        : data_(data), count_(count), dtype_(static_cast<tb_dtype>(type)), shape_(dimensions), absent_(false) {}
    /// In place of memory of the caller.
    explicit BasicView(tb_tensor* tensor)
        : data_(tensor), count_(unknown), dtype_(TB_DTYPE_TENSOR), absent_(tensor == nullptr) {}

    /// Points into this object.
    Argument<CView> c() const {
        const bool tensor = dtype_ == TB_DTYPE_TENSOR;
        return {{data_, tensor ? nullptr : shape_.data(), static_cast<std::int32_t>(shape_.rank()), dtype_}, absent_};
    }

    /// What is wrong, where a container holds another number of elements than the shape says.
    std::string misfit() const {
        const auto expected = shape_.elements();
        if (absent_ || count_ == unknown || !expected || *expected == count_) return {};
        return "expected memory for " + to_string(shape_) + ", " + std::to_string(*expected) + " elements, got " +
               std::to_string(count_);
    }

  private:
    P data_ = nullptr;
    std::size_t count_ = 0;
    tb_dtype dtype_ = TB_DTYPE_F32;
    Shape shape_;
    bool absent_ = true;
};

}  // namespace detail

/// Memory that the library reads (`tb_view`): a container or array of exactly the shape's elements, a pointer, or a Tensor.
/// `{}` where a function takes NULL.
class View : public detail::BasicView<tb_view, const void*> {
  public:
    View() = default;
    View(const Tensor& tensor);
    template <class D, class T = std::remove_const_t<detail::Element<const D>>, DType type = DTypeOf<T>::value>
    View(const D& memory, const Shape& dimensions)
        : BasicView(detail::pointer(memory), detail::count(memory), type, dimensions) {}
    View(const void* data, DType type, const Shape& dimensions)
        : BasicView(data, detail::unknown, type, dimensions) {}
};

/// Memory that the library writes (`tb_view_mut`), else like View.
class ViewMut : public detail::BasicView<tb_view_mut, void*> {
  public:
    ViewMut() = default;
    ViewMut(const Tensor& tensor);
    template <class D, class T = detail::Element<std::remove_reference_t<D>>, DType type = DTypeOf<T>::value>
    ViewMut(D&& memory, const Shape& dimensions)
        : BasicView(detail::pointer(memory), detail::count(memory), type, dimensions) {}
    ViewMut(void* data, DType type, const Shape& dimensions)
        : BasicView(data, detail::unknown, type, dimensions) {}
};

/// N class numbers.
using Labels = Span<const std::int64_t>;

// ---- Calls ----------------------------------------------------------------------------------------------------

namespace detail {

inline std::optional<Error> error(tb_status status) {
    if (status == TB_STATUS_OK) return std::nullopt;
    return Error(static_cast<Status>(status), tb_last_error_message());
}

// How an argument reaches C: strings and structs as pointers, the rest as it is.
template <class T, class = void>
struct ToC {
    static const T& convert(const T& argument) { return argument; }
};
template <>
struct ToC<std::string> {
    static const char* convert(const std::string& argument) { return argument.c_str(); }
};
template <class T>
struct ToC<T, std::void_t<decltype(std::declval<const T&>().c())>> {
    static auto convert(const T& argument) {
        if constexpr (std::is_base_of_v<View, T> || std::is_base_of_v<ViewMut, T>) {
            return argument.c();
        } else {
            return Argument<decltype(argument.c())>{argument.c()};
        }
    }
};

template <class T>
std::string misfit(const T& argument) {
    if constexpr (std::is_same_v<T, View> || std::is_same_v<T, ViewMut>) {
        return argument.misfit();
    } else {
        static_cast<void>(argument);
        return {};
    }
}

/// One of the names that `names` lists.
inline std::string nth(std::string_view names, std::size_t n) {
    for (; n > 0; n--) names.remove_prefix(names.find(", ") + 2);
    return std::string(names.substr(0, names.find(',')));
}

/// Calls a function of tiebreak.h where all views fit; `names` are those of the arguments.
template <class... P, class... A>
std::optional<Error> call(const char* name, const char* names, tb_status (*function)(P...), const A&... arguments) {
    std::string problem;
    std::size_t number = 0;
    const auto check = [&](const std::string& misfit) {
        if (problem.empty() && !misfit.empty()) {
            problem = std::string(name) + ": argument `" + nth(names, number) + "`: " + misfit;
        }
        number++;
    };
    (check(misfit(arguments)), ...);
    if (!problem.empty()) return Error(Status::shape_mismatch, problem);
    return error(function(static_cast<P>(ToC<A>::convert(arguments))...));
}

/// A struct of options as its `_init` function fills it.
template <class T, class... A>
T defaults(tb_status (*init)(T*, std::size_t, A...), A... arguments) {
    T options{};
    static_cast<void>(init(&options, sizeof options, arguments...));
    return options;
}

/// A struct that the library fills.
template <class T>
T sized() {
    T properties{};
    properties.struct_size = sizeof properties;
    return properties;
}

/// An array that the library fills.
template <class T>
std::vector<T> sized(std::size_t count) {
    return std::vector<T>(count, sized<T>());
}

/// The owner of a handle, and of what the library calls back as long as it lives.
template <class T, tb_status (*Free)(T*)>
struct Deleter {
    std::shared_ptr<const void> kept;
    void operator()(T* handle) const noexcept { static_cast<void>(Free(handle)); }
};
template <class T, tb_status (*Free)(T*)>
using Handle = std::unique_ptr<T, Deleter<T, Free>>;

/// Hands the progress of one call on. What it throws stops the call, and then reaches the caller.
class Listener {
  public:
    explicit Listener(const std::function<bool(std::uint64_t, std::uint64_t)>& progress) : progress_(progress) {}
    tb_progress_callback callback() const { return progress_ ? &Listener::on_progress : nullptr; }
    void rethrow() const {
#if TIEBREAK_EXCEPTIONS
        if (thrown_) std::rethrow_exception(thrown_);
#endif
    }

  private:
    static std::int32_t on_progress(std::uint64_t done, std::uint64_t total, void* user_data) {
        auto& listener = *static_cast<Listener*>(user_data);
#if TIEBREAK_EXCEPTIONS
        try {
            return !listener.progress_(done, total);
        } catch (...) {
            listener.thrown_ = std::current_exception();
            return 1;
        }
#else
        return !listener.progress_(done, total);
#endif
    }

    const std::function<bool(std::uint64_t, std::uint64_t)>& progress_;
#if TIEBREAK_EXCEPTIONS
    std::exception_ptr thrown_;
#endif
};

using Pair = std::array<std::int64_t, 2>;

inline Pair pair(const std::int64_t* values) { return {values[0], values[1]}; }

inline void copy(const Pair& from, std::int64_t* to) {
    to[0] = from[0];
    to[1] = from[1];
}

}  // namespace detail

// A call that knows the names of the function and its arguments.
#define TIEBREAK_CALL(function, ...) detail::call(#function, #__VA_ARGS__, function, __VA_ARGS__)

// ---- Options: the structs of tiebreak.h, made with the library's defaults --------------------------------------

/// Where log messages go: any thread, one at a time. What it throws is dropped.
using Log = std::function<void(LogLevel, std::string_view message)>;

/// Hears how far long work has come, on the thread of the call; false stops it: Status::cancelled.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// See tb_engine_options.
struct EngineOptions {
    Device device;
    std::uint32_t threads;
    /// Empty takes the best.
    std::string adapter;
    /// Empty: nowhere. Kept as long as the engine or a network on it lives.
    Log log;
    std::size_t memory_limit;

    EngineOptions() {
        const auto o = detail::defaults(tb_engine_options_init);
        device = static_cast<Device>(o.device);
        threads = o.threads;
        memory_limit = o.memory_limit;
    }
    EngineOptions(Device where) : EngineOptions() { device = where; }
};

/// See tb_kink: a choice where there is no derivative.
struct Kink {
    KinkKind kind;
    Jacobian jacobian;
    Composition composition;
    double beta;
    std::uint64_t seed;
    double alpha;
    double at_zero;

    Kink() : Kink(detail::defaults(tb_kink_init)) {}
    explicit Kink(const tb_kink& k)
        : kind(static_cast<KinkKind>(k.kind)),
          jacobian(static_cast<Jacobian>(k.jacobian)),
          composition(static_cast<Composition>(k.composition)),
          beta(k.beta),
          seed(k.seed),
          alpha(k.alpha),
          at_zero(k.at_zero) {}

    /// MaxPool: native, last, minimal, first_column, all or scaled.
    static Kink maxpool(Jacobian chosen) {
        Kink k;
        k.kind = KinkKind::maxpool;
        k.jacobian = chosen;
        return k;
    }
    /// MaxPool: beta * minimal + (1 - beta) * native.
    static Kink maxpool_beta(double weight, Composition evaluation = Composition::exact) {
        Kink k = maxpool(Jacobian::beta);
        k.beta = weight;
        k.composition = evaluation;
        return k;
    }
    /// MaxPool: one of the tied elements, drawn from a seed.
    static Kink maxpool_random(std::uint64_t drawn_from) {
        Kink k = maxpool(Jacobian::random);
        k.seed = drawn_from;
        return k;
    }
    /// The derivative of ReLU at 0.
    static Kink relu(double derivative) {
        Kink k;
        k.kind = KinkKind::relu;
        k.alpha = derivative;
        return k;
    }
    /// Norm pooling: what each element of a window of zeros gets.
    static Kink norm_pool(double share) {
        Kink k;
        k.kind = KinkKind::norm_pool;
        k.at_zero = share;
        return k;
    }

    tb_kink c() const {
        auto k = detail::defaults(tb_kink_init);
        k.kind = static_cast<tb_kink_kind>(kind);
        k.jacobian = static_cast<tb_jacobian>(jacobian);
        k.composition = static_cast<tb_composition>(composition);
        k.beta = beta;
        k.seed = seed;
        k.alpha = alpha;
        k.at_zero = at_zero;
        return k;
    }
};

/// See tb_conv2d_options.
struct Conv2dOptions {
    std::array<std::int64_t, 2> stride, padding, dilation;
    std::int64_t groups;
    std::array<std::int64_t, 2> kernel;

    Conv2dOptions() {
        const auto o = detail::defaults(tb_conv2d_options_init);
        stride = detail::pair(o.stride);
        padding = detail::pair(o.padding);
        dilation = detail::pair(o.dilation);
        groups = o.groups;
        kernel = detail::pair(o.kernel);
    }
    /// A square kernel.
    explicit Conv2dOptions(std::int64_t side, std::int64_t padded = 0, std::int64_t step = 1) : Conv2dOptions() {
        kernel = {side, side};
        padding = {padded, padded};
        stride = {step, step};
    }

    tb_conv2d_options c() const {
        auto o = detail::defaults(tb_conv2d_options_init);
        detail::copy(stride, o.stride);
        detail::copy(padding, o.padding);
        detail::copy(dilation, o.dilation);
        o.groups = groups;
        detail::copy(kernel, o.kernel);
        return o;
    }
};

/// See tb_pool2d_options.
struct Pool2dOptions {
    std::array<std::int64_t, 2> kernel, stride, padding;

    Pool2dOptions() {
        const auto o = detail::defaults(tb_pool2d_options_init);
        kernel = detail::pair(o.kernel);
        stride = detail::pair(o.stride);
        padding = detail::pair(o.padding);
    }
    /// A square window; a stride of 0 is the kernel's.
    explicit Pool2dOptions(std::int64_t side, std::int64_t step = 0, std::int64_t padded = 0)
        : kernel{side, side}, stride{step, step}, padding{padded, padded} {}

    tb_pool2d_options c() const {
        auto o = detail::defaults(tb_pool2d_options_init);
        detail::copy(kernel, o.kernel);
        detail::copy(stride, o.stride);
        detail::copy(padding, o.padding);
        return o;
    }
};

/// See tb_batchnorm_options.
struct BatchnormOptions {
    double eps, momentum;

    BatchnormOptions() {
        const auto o = detail::defaults(tb_batchnorm_options_init);
        eps = o.eps;
        momentum = o.momentum;
    }

    tb_batchnorm_options c() const {
        auto o = detail::defaults(tb_batchnorm_options_init);
        o.eps = eps;
        o.momentum = momentum;
        return o;
    }
};

/// See tb_parameter_group.
struct ParameterGroup {
    /// A pattern; none means biases, and weights and biases of batch normalisation.
    std::optional<std::string> names;
    double learning_rate_factor, weight_decay;

    ParameterGroup() {
        const auto g = detail::defaults(tb_parameter_group_init);
        learning_rate_factor = g.learning_rate_factor;
        weight_decay = g.weight_decay;
    }

    /// Points into this object.
    tb_parameter_group c() const {
        auto g = detail::defaults(tb_parameter_group_init);
        g.names = names ? names->c_str() : nullptr;
        g.learning_rate_factor = learning_rate_factor;
        g.weight_decay = weight_decay;
        return g;
    }
};

/// See tb_optimizer_options.
struct OptimizerOptions {
    Algorithm algorithm;
    bool nesterov, amsgrad, centered;
    double learning_rate, weight_decay, momentum, dampening;
    std::array<double, 2> betas;
    double alpha, eps;
    std::vector<ParameterGroup> groups;
    double clip_norm;
    bool grad_scaler;
    std::uint32_t growth_interval;
    double loss_scale, growth_factor, backoff_factor;

    /// The defaults of an algorithm.
    OptimizerOptions(Algorithm which = Algorithm::sgd) : algorithm(which) {
        const auto o = detail::defaults(tb_optimizer_options_init, static_cast<tb_algorithm>(which));
        nesterov = o.nesterov != 0;
        amsgrad = o.amsgrad != 0;
        centered = o.centered != 0;
        learning_rate = o.learning_rate;
        weight_decay = o.weight_decay;
        momentum = o.momentum;
        dampening = o.dampening;
        betas = {o.betas[0], o.betas[1]};
        alpha = o.alpha;
        eps = o.eps;
        clip_norm = o.clip_norm;
        grad_scaler = o.grad_scaler != 0;
        growth_interval = o.growth_interval;
        loss_scale = o.loss_scale;
        growth_factor = o.growth_factor;
        backoff_factor = o.backoff_factor;
    }

    /// Without the groups, which Optimizer::create adds.
    tb_optimizer_options c() const {
        auto o = detail::defaults(tb_optimizer_options_init, static_cast<tb_algorithm>(algorithm));
        o.algorithm = static_cast<tb_algorithm>(algorithm);
        o.nesterov = nesterov;
        o.amsgrad = amsgrad;
        o.centered = centered;
        o.learning_rate = learning_rate;
        o.weight_decay = weight_decay;
        o.momentum = momentum;
        o.dampening = dampening;
        o.betas[0] = betas[0];
        o.betas[1] = betas[1];
        o.alpha = alpha;
        o.eps = eps;
        o.clip_norm = clip_norm;
        o.grad_scaler = grad_scaler;
        o.growth_interval = growth_interval;
        o.loss_scale = loss_scale;
        o.growth_factor = growth_factor;
        o.backoff_factor = backoff_factor;
        return o;
    }
};

/// See tb_zoo_options.
struct ZooOptions {
    std::uint32_t classes;
    bool batch_norm;
    std::uint32_t base_width;
    std::array<std::uint32_t, 2> hidden;
    std::array<std::int64_t, 3> input_shape;
    /// "cifar", "imagenet" or "torchvision"; empty means "cifar".
    std::string variant;

    ZooOptions() {
        const auto o = detail::defaults(tb_zoo_options_init);
        classes = o.classes;
        batch_norm = o.batch_norm != 0;
        base_width = o.base_width;
        hidden = {o.hidden[0], o.hidden[1]};
        input_shape = {o.input_shape[0], o.input_shape[1], o.input_shape[2]};
    }

    /// Points into this object.
    tb_zoo_options c() const {
        auto o = detail::defaults(tb_zoo_options_init);
        o.classes = classes;
        o.batch_norm = batch_norm;
        o.base_width = base_width;
        for (std::size_t i = 0; i < 2; i++) o.hidden[i] = hidden[i];
        for (std::size_t i = 0; i < 3; i++) o.input_shape[i] = input_shape[i];
        o.variant = variant.empty() ? nullptr : variant.c_str();
        return o;
    }
};

/// See tb_network_options.
struct NetworkOptions {
    /// "f16", "f32", "f64", "mixed", "bf16" ...; empty means "f32".
    std::string precision;
    /// Empty means "pytorch".
    std::string initialization;
    std::uint64_t seed;

    NetworkOptions() : seed(detail::defaults(tb_network_options_init).seed) {}
    NetworkOptions(std::string arithmetic) : NetworkOptions() { precision = std::move(arithmetic); }
    NetworkOptions(const char* arithmetic) : NetworkOptions(std::string(arithmetic)) {}

    /// Points into this object.
    tb_network_options c() const {
        auto o = detail::defaults(tb_network_options_init);
        o.precision = precision.empty() ? nullptr : precision.c_str();
        o.initialization = initialization.empty() ? nullptr : initialization.c_str();
        o.seed = seed;
        return o;
    }
};

/// See tb_schedule.
struct Schedule {
    ScheduleKind kind;
    double gamma;
    std::uint64_t step_size;
    std::vector<std::uint64_t> milestones;
    std::uint64_t t_max;
    double eta_min;

    Schedule() {
        const auto s = detail::defaults(tb_schedule_init);
        kind = static_cast<ScheduleKind>(s.kind);
        gamma = s.gamma;
        step_size = s.step_size;
        t_max = s.t_max;
        eta_min = s.eta_min;
    }
    Schedule(ScheduleKind which) : Schedule() { kind = which; }

    /// The rate of an epoch, from 0.
    Result<double> learning_rate(double base, std::uint64_t epoch) const {
        double rate = 0;
        auto error = TIEBREAK_CALL(tb_schedule_learning_rate, *this, base, epoch, &rate);
        return detail::finish(std::move(error), rate);
    }

    /// Points into this object.
    tb_schedule c() const {
        auto s = detail::defaults(tb_schedule_init);
        s.kind = static_cast<tb_schedule_kind>(kind);
        s.gamma = gamma;
        s.step_size = step_size;
        s.milestones = milestones.data();
        s.milestone_count = milestones.size();
        s.t_max = t_max;
        s.eta_min = eta_min;
        return s;
    }
};

/// See tb_dataset_options.
struct DatasetOptions {
    std::size_t image_size, limit_per_class, limit, resize;
    bool from_files;

    DatasetOptions() {
        const auto o = detail::defaults(tb_dataset_options_init);
        image_size = o.image_size;
        limit_per_class = o.limit_per_class;
        limit = o.limit;
        resize = o.resize;
        from_files = o.from_files != 0;
    }

    tb_dataset_options c() const {
        auto o = detail::defaults(tb_dataset_options_init);
        o.image_size = image_size;
        o.limit_per_class = limit_per_class;
        o.limit = limit;
        o.resize = resize;
        o.from_files = from_files;
        return o;
    }
};

/// See tb_augmentation; none by default.
struct Augmentation {
    std::size_t crop_padding;
    bool horizontal_flip, resized_crop;
    std::uint64_t seed, epoch;
    std::array<double, 2> scale, ratio;

    Augmentation() {
        const auto a = detail::defaults(tb_augmentation_init);
        crop_padding = a.crop_padding;
        horizontal_flip = a.horizontal_flip != 0;
        resized_crop = a.resized_crop != 0;
        seed = a.seed;
        epoch = a.epoch;
        scale = {a.scale[0], a.scale[1]};
        ratio = {a.ratio[0], a.ratio[1]};
    }

    tb_augmentation c() const {
        auto a = detail::defaults(tb_augmentation_init);
        a.crop_padding = crop_padding;
        a.horizontal_flip = horizontal_flip;
        a.resized_crop = resized_crop;
        a.seed = seed;
        a.epoch = epoch;
        for (std::size_t i = 0; i < 2; i++) a.scale[i] = scale[i], a.ratio[i] = ratio[i];
        return a;
    }
};

// ---- What the library tells -----------------------------------------------------------------------------------

// Numbers alone: as C has them.
using MemoryUse = tb_memory_use;
using MemoryPlan = tb_memory_plan;
using StepReport = tb_step_report;
using EpochReport = tb_epoch_report;
using Work = tb_work;
using MaxPool2dDiagnosis = tb_maxpool2d_diagnosis;

/// See tb_engine_properties.
struct EngineProperties {
    bool gpu, gpu_f16;
    std::uint32_t threads;
    std::string name, driver;
};

/// See tb_adapter_properties.
struct AdapterProperties {
    std::string name, driver;
    AdapterKind kind;
    bool f16, timestamps;
    std::uint64_t largest_buffer, largest_binding;
    /// Why it cannot be used; empty where it can.
    std::string unusable;
};

/// See tb_tensor_properties: a layer, a parameter, a buffer or a tensor.
struct TensorProperties {
    std::string name, kind;
    Shape shape;
    /// None of a graph's layers.
    std::optional<DType> dtype;
    bool gpu;

    explicit TensorProperties(const tb_tensor_properties& p)
        : name(p.name),
          kind(p.kind),
          shape(Span<const std::int64_t>(p.shape, static_cast<std::size_t>(p.rank))),
          gpu(p.gpu != 0) {
        if (p.dtype != 0) dtype = static_cast<DType>(p.dtype);
    }
};

/// See tb_dataset_properties.
struct DatasetProperties {
    std::size_t count, classes;
    Shape shape;
    std::string name;
    std::uint32_t fingerprint;
    std::array<double, 4> mean, std;
};

/// See tb_kernel_profile.
struct KernelProfile {
    std::string layer, kernel;
    double seconds;
    std::uint64_t operations, bytes;
};

/// See tb_graph_properties.
struct GraphProperties {
    std::size_t layer_count;
    Shape input_shape;
};

/// See tb_network_properties.
struct NetworkProperties {
    DType dtype, parameter_dtype;
    bool gpu;
    std::size_t parameter_count, buffer_count, layer_count, census_count, classes, allocated_bytes;
    Shape input_shape;
    std::string precision, placement;
};

/// See tb_optimizer_properties.
struct OptimizerProperties {
    double learning_rate, loss_scale;
    std::uint64_t steps;
    Algorithm algorithm;
};

/// Loss and hits on a batch.
struct Evaluation {
    double loss;
    std::size_t correct;
};

/// Shape of a pooling's output, and bytes of the tie sets of a max pooling.
struct Pool2dOutput {
    Shape shape;
    std::size_t ties_size;
};

/// What replaces a present choice; see tb_choice.
struct Choice {
    Kink kink;
    /// None for every layer of the kink's kind.
    std::optional<std::string> layer;

    Choice(const Kink& everywhere) : kink(everywhere) {}
    Choice(std::string where, const Kink& there) : kink(there), layer(std::move(where)) {}
};

/// See tb_difference.
struct Difference {
    std::string name;
    double l1, l2, linf;
    std::uint64_t differing;
};

/// See tb_comparison.
struct Comparison {
    double l1, l2, linf;
    std::uint64_t differing;
    std::array<double, 2> losses;
    bool shared_forward;
    /// By parameter.
    std::vector<Difference> differences;
};

/// See tb_norms.
struct Norms {
    std::string name;
    double l1, l2, linf;
    std::uint64_t non_finite;
};

/// See tb_census_entry.
struct CensusEntry {
    std::string layer;
    KinkKind kind;
    std::uint32_t ties;
    std::uint64_t zero, zero_alive, nonzero, nonzero_alive;
};

/// See tb_tie_classes.
struct TieClasses {
    std::string layer;
    std::uint64_t windows, nan, untied, masked, structural, accidental;
};

/// See tb_non_finite.
struct NonFinite {
    Pass pass;
    bool lasts;
    std::string layer, operator_name, tensor;
    std::uint64_t element;
    double value;
    std::string cause;
};

/// See tb_experiment_properties.
struct ExperimentProperties {
    std::string name, about;
    std::size_t unit_count;
};

/// A column of a table, a cell for each row; see tb_column_properties.
struct Column {
    std::string name;
    /// By ColumnKind.
    std::variant<std::vector<double>, std::vector<std::uint64_t>, std::vector<std::string>> cells;

    ColumnKind kind() const noexcept { return static_cast<ColumnKind>(cells.index()); }
    /// The cells, if they are doubles, std::uint64_t or std::string; else nullptr.
    template <class T>
    const std::vector<T>* as() const noexcept {
        return std::get_if<std::vector<T>>(&cells);
    }
};

/// What a run of an experiment measured; see tb_experiment_result and its properties.
struct ExperimentResult {
    std::size_t unit_count = 0, skipped = 0, finished = 0, missing = 0, row_count = 0;
    /// The progress stopped the run: the rows are those of the units that had finished.
    bool cancelled = false;
    std::vector<Column> columns;
    /// The answer.
    std::vector<std::string> sentences;

    /// nullptr where there is none of that name.
    const Column* column(std::string_view name) const noexcept {
        const auto is = [&](const Column& column) { return column.name == name; };
        const auto found = std::find_if(columns.begin(), columns.end(), is);
        return found == columns.end() ? nullptr : &*found;
    }
};

/// Every `count`-th unit from number `number` on, 1 to count; all where both are 0.
struct Shard {
    std::size_t number = 0, count = 0;
};

inline std::uint32_t abi_version() noexcept { return tb_abi_version(); }

/// "0.1.0"
inline const char* version() noexcept { return tb_version_string(); }

/// The GPU adapters that there are.
inline Result<std::vector<AdapterProperties>> adapters() {
    std::size_t count = 0;
    std::vector<tb_adapter_properties> found;
    auto error = TIEBREAK_CALL(tb_adapters, nullptr, std::size_t{0}, &count);
    if (!error && count > 0) {
        found = detail::sized<tb_adapter_properties>(count);
        error = TIEBREAK_CALL(tb_adapters, found.data(), found.size(), &count);
        found.resize(std::min(found.size(), count), detail::sized<tb_adapter_properties>());
    }
    std::vector<AdapterProperties> result;
    for (const auto& a : found) {
        result.push_back({a.name, a.driver, static_cast<AdapterKind>(a.kind), a.f16 != 0, a.timestamps != 0,
                          a.largest_buffer, a.largest_binding, a.unusable});
    }
    return detail::finish(std::move(error), std::move(result));
}

/// The experiments that there are.
inline Result<std::vector<ExperimentProperties>> experiments() {
    std::size_t count = 0;
    std::vector<tb_experiment_properties> found;
    auto error = TIEBREAK_CALL(tb_experiments, nullptr, std::size_t{0}, &count);
    if (!error && count > 0) {
        found = detail::sized<tb_experiment_properties>(count);
        error = TIEBREAK_CALL(tb_experiments, found.data(), found.size(), &count);
    }
    std::vector<ExperimentProperties> result;
    for (const auto& e : found) result.push_back({e.name, e.about, e.unit_count});
    return detail::finish(std::move(error), std::move(result));
}

/// The protocol of an experiment where nothing is chosen, as JSON; `full`: of the published size.
inline Result<std::string> experiment_defaults(const std::string& name, bool full = false) {
    std::size_t size = 0;
    auto error = TIEBREAK_CALL(tb_experiment_defaults, name, full, nullptr, std::size_t{0}, &size);
    std::vector<char> text(size + 1);
    if (!error) error = TIEBREAK_CALL(tb_experiment_defaults, name, full, text.data(), text.size(), &size);
    return detail::finish(std::move(error), std::string(text.data()));
}

inline Result<Pool2dOutput> pool2d_output_shape(const Shape& x, const Pool2dOptions& options = {}) {
    std::int64_t y[4] = {};
    std::size_t ties = 0;
    if (x.rank() != 4) {
        return detail::finish(std::optional<Error>(Error(Status::shape_mismatch,
                                                         "tb_pool2d_output_shape: argument `x_shape`: expected "
                                                         "[N, C, H, W], got " + to_string(x))),
                              Pool2dOutput{});
    }
    auto error = TIEBREAK_CALL(tb_pool2d_output_shape, x.data(), options, &y[0], &ties);
    return detail::finish(std::move(error), Pool2dOutput{Span<const std::int64_t>(y), ties});
}

namespace detail {

/// Alternatives as C has them; points into them and into itself.
struct Choices {
    std::vector<tb_kink> kinks;
    std::vector<tb_choice> list;

    explicit Choices(const std::vector<std::vector<Choice>>& alternatives) {
        for (const auto& alternative : alternatives) {
            for (const auto& choice : alternative) kinks.push_back(choice.kink.c());
        }
        for (std::size_t i = 0; i < alternatives.size(); i++) {
            for (const auto& choice : alternatives[i]) {
                tb_choice c{};
                c.alternative = i;
                c.layer = choice.layer ? choice.layer->c_str() : nullptr;
                c.kink = &kinks[list.size()];
                list.push_back(c);
            }
        }
    }
    Choices(const Choices&) = delete;
    Choices& operator=(const Choices&) = delete;
};

/// Where comparisons go, with the differences of every parameter.
struct Compared {
    std::vector<tb_comparison> comparisons;
    std::vector<tb_difference> differences;

    Compared(std::size_t count, std::size_t parameters)
        : comparisons(sized<tb_comparison>(count)), differences(sized<tb_difference>(count * parameters)) {}

    std::vector<Comparison> read(std::size_t parameters) const {
        std::vector<Comparison> result;
        for (std::size_t i = 0; i < comparisons.size(); i++) {
            const auto& c = comparisons[i];
            result.push_back(
                {c.l1, c.l2, c.linf, c.differing, {c.losses[0], c.losses[1]}, c.shared_forward != 0, {}});
            for (std::size_t j = 0; j < parameters; j++) {
                const auto& d = differences[i * parameters + j];
                result.back().differences.push_back({d.name, d.l1, d.l2, d.linf, d.differing});
            }
        }
        return result;
    }
};

}  // namespace detail

// ---- Objects --------------------------------------------------------------------------------------------------

/// Runs operators and networks; see tb_engine. Operators take tensors of the caller, inputs before outputs.
class Engine {
  public:
    static Result<Engine> create(const EngineOptions& options = {}) {
        auto o = detail::defaults(tb_engine_options_init);
        o.device = static_cast<tb_device>(options.device);
        o.threads = options.threads;
        o.adapter = options.adapter.empty() ? nullptr : options.adapter.c_str();
        o.memory_limit = options.memory_limit;
        std::shared_ptr<Log> log;
        if (options.log) {
            log = std::make_shared<Log>(options.log);
            o.log = &Engine::on_log;
            o.log_user_data = log.get();
        }
        tb_engine* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_engine_create, &o, &handle);
        return detail::finish(std::move(error), Engine(handle, std::move(log)));
    }

    Result<EngineProperties> info() const {
        auto p = detail::sized<tb_engine_properties>();
        auto error = TIEBREAK_CALL(tb_engine_info, handle(), &p);
        return detail::finish(std::move(error),
                              EngineProperties{p.gpu != 0, p.gpu_f16 != 0, p.threads, p.name, p.driver});
    }

    Result<MemoryUse> memory() const {
        auto m = detail::sized<tb_memory_use>();
        auto error = TIEBREAK_CALL(tb_engine_memory, handle(), &m);
        return detail::finish(std::move(error), m);
    }

    Result<void> conv2d_forward(const View& x, const View& weight, const View& bias, const ViewMut& y,
                                const Conv2dOptions& options = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_conv2d_forward, handle(), x, weight, bias, options, y));
    }
    Result<void> conv2d_backward_input(const View& gy, const View& weight, const ViewMut& gx,
                                       const Conv2dOptions& options = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_conv2d_backward_input, handle(), gy, weight, options, gx));
    }
    Result<void> conv2d_backward_weight(const View& x, const View& gy, const ViewMut& gweight, const ViewMut& gbias,
                                        const Conv2dOptions& options = {}) const {
        return detail::finish(
            TIEBREAK_CALL(tb_conv2d_backward_weight, handle(), x, gy, options, gweight, gbias));
    }

    /// `ties`: as many bytes as pool2d_output_shape says.
    Result<void> maxpool2d_forward(const View& x, const ViewMut& y, Span<std::uint8_t> ties,
                                   const Pool2dOptions& options = {}, const Kink& kink = {}) const {
        return detail::finish(
            TIEBREAK_CALL(tb_maxpool2d_forward, handle(), x, options, kink, y, ties.data(), ties.size()));
    }
    Result<void> maxpool2d_backward(const View& gy, Span<const std::uint8_t> ties, const ViewMut& gx,
                                    const Pool2dOptions& options = {}, const Kink& kink = {}) const {
        return detail::finish(
            TIEBREAK_CALL(tb_maxpool2d_backward, handle(), gy, ties.data(), ties.size(), options, kink, gx));
    }

    /// As above, with the tie sets in a Tensor of DType::byte.
    Result<void> maxpool2d_forward(const View& x, const ViewMut& y, const Tensor& ties,
                                   const Pool2dOptions& options = {}, const Kink& kink = {}) const;
    Result<void> maxpool2d_backward(const View& gy, const Tensor& ties, const ViewMut& gx,
                                    const Pool2dOptions& options = {}, const Kink& kink = {}) const;

    /// How often the windows tie, and how often they would in narrower arithmetic; `gy`: the gradient of the output, whose
    /// zeros `alive` leaves out.
    Result<MaxPool2dDiagnosis> maxpool2d_diagnose(const View& x, const View& gy = {},
                                                  const Pool2dOptions& options = {}) const {
        auto diagnosis = detail::sized<tb_maxpool2d_diagnosis>();
        auto error = TIEBREAK_CALL(tb_maxpool2d_diagnose, handle(), x, gy, options, &diagnosis);
        return detail::finish(std::move(error), diagnosis);
    }

    Result<void> norm_pool2d_forward(const View& x, const ViewMut& y, const Pool2dOptions& options = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_norm_pool2d_forward, handle(), x, options, y));
    }
    Result<void> norm_pool2d_backward(const View& x, const View& y, const View& gy, const ViewMut& gx,
                                      const Pool2dOptions& options = {},
                                      const Kink& kink = Kink::norm_pool(0)) const {
        return detail::finish(TIEBREAK_CALL(tb_norm_pool2d_backward, handle(), x, y, gy, options, kink, gx));
    }

    Result<void> avgpool2d_forward(const View& x, const ViewMut& y, const Pool2dOptions& options = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_avgpool2d_forward, handle(), x, options, y));
    }
    Result<void> avgpool2d_backward(const View& gy, const ViewMut& gx, const Pool2dOptions& options = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_avgpool2d_backward, handle(), gy, options, gx));
    }
    Result<void> adaptive_avgpool2d_forward(const View& x, const ViewMut& y) const {
        return detail::finish(TIEBREAK_CALL(tb_adaptive_avgpool2d_forward, handle(), x, y));
    }
    Result<void> adaptive_avgpool2d_backward(const View& gy, const ViewMut& gx) const {
        return detail::finish(TIEBREAK_CALL(tb_adaptive_avgpool2d_backward, handle(), gy, gx));
    }

    Result<void> relu_forward(const View& x, const ViewMut& y) const {
        return detail::finish(TIEBREAK_CALL(tb_relu_forward, handle(), x, y));
    }
    Result<void> relu_backward(const View& x, const View& gy, const ViewMut& gx,
                               const Kink& kink = Kink::relu(0)) const {
        return detail::finish(TIEBREAK_CALL(tb_relu_backward, handle(), x, gy, kink, gx));
    }

    Result<void> batchnorm_forward(const View& x, const View& weight, const View& bias, const ViewMut& y,
                                   const ViewMut& mean, const ViewMut& inv_std, const ViewMut& running_mean = {},
                                   const ViewMut& running_var = {}, const BatchnormOptions& options = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_batchnorm_forward, handle(), x, weight, bias, options, y, mean,
                                            inv_std, running_mean, running_var));
    }
    Result<void> batchnorm_backward(const View& x, const View& gy, const View& weight, const View& mean,
                                    const View& inv_std, const ViewMut& gx, const ViewMut& gweight,
                                    const ViewMut& gbias) const {
        return detail::finish(TIEBREAK_CALL(tb_batchnorm_backward, handle(), x, gy, weight, mean, inv_std, gx,
                                            gweight, gbias));
    }
    Result<void> batchnorm_inference(const View& x, const View& weight, const View& bias, const View& running_mean,
                                     const View& running_var, const ViewMut& y,
                                     const BatchnormOptions& options = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_batchnorm_inference, handle(), x, weight, bias, running_mean,
                                            running_var, options, y));
    }
    Result<void> batchnorm_inference_backward(const View& x, const View& gy, const View& weight,
                                              const View& running_mean, const View& running_var, const ViewMut& gx,
                                              const ViewMut& gweight, const ViewMut& gbias,
                                              const BatchnormOptions& options = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_batchnorm_inference_backward, handle(), x, gy, weight, running_mean,
                                            running_var, options, gx, gweight, gbias));
    }

    Result<void> linear_forward(const View& x, const View& weight, const View& bias, const ViewMut& y) const {
        return detail::finish(TIEBREAK_CALL(tb_linear_forward, handle(), x, weight, bias, y));
    }
    Result<void> linear_backward_input(const View& gy, const View& weight, const ViewMut& gx) const {
        return detail::finish(TIEBREAK_CALL(tb_linear_backward_input, handle(), gy, weight, gx));
    }
    Result<void> linear_backward_weight(const View& x, const View& gy, const ViewMut& gweight,
                                        const ViewMut& gbias) const {
        return detail::finish(TIEBREAK_CALL(tb_linear_backward_weight, handle(), x, gy, gweight, gbias));
    }

    Result<void> add(const View& a, const View& b, const ViewMut& y) const {
        return detail::finish(TIEBREAK_CALL(tb_add, handle(), a, b, y));
    }
    Result<void> concat(Span<const View> inputs, const ViewMut& y) const {
        std::vector<tb_view> c;
        if (auto error = collect("tb_concat", inputs, c)) return detail::finish(std::move(error));
        return detail::finish(TIEBREAK_CALL(tb_concat, handle(), c.data(), c.size(), y));
    }
    Result<void> concat_backward(const View& gy, Span<const ViewMut> gradients) const {
        std::vector<tb_view_mut> c;
        if (auto error = collect("tb_concat_backward", gradients, c)) return detail::finish(std::move(error));
        return detail::finish(TIEBREAK_CALL(tb_concat_backward, handle(), gy, c.data(), c.size()));
    }

    Result<void> dropout_forward(const View& x, double p, std::uint64_t seed, std::uint64_t step,
                                 const ViewMut& y) const {
        return detail::finish(TIEBREAK_CALL(tb_dropout_forward, handle(), x, p, seed, step, y));
    }
    Result<void> dropout_backward(const View& gy, double p, std::uint64_t seed, std::uint64_t step,
                                  const ViewMut& gx) const {
        return detail::finish(TIEBREAK_CALL(tb_dropout_backward, handle(), gy, p, seed, step, gx));
    }

    /// The loss; its gradient goes to `glogits`.
    Result<double> cross_entropy(const View& logits, Labels labels, const ViewMut& glogits) const {
        double loss = 0;
        auto error = TIEBREAK_CALL(tb_cross_entropy, handle(), logits, labels.data(), labels.size(), glogits, &loss);
        return detail::finish(std::move(error), loss);
    }

    Result<void> quantize(const std::string& format, std::uint64_t step, const ViewMut& x) const {
        return detail::finish(TIEBREAK_CALL(tb_quantize, handle(), format, step, x));
    }

    Result<void> sgd_step(const OptimizerOptions& options, bool first, const View& grad, const ViewMut& param,
                          const ViewMut& momentum_buffer = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_sgd_step, handle(), options, first, grad, param, momentum_buffer));
    }
    Result<void> adam_step(const OptimizerOptions& options, std::uint64_t step, const View& grad,
                           const ViewMut& param, const ViewMut& exp_avg, const ViewMut& exp_avg_sq,
                           const ViewMut& max_exp_avg_sq = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_adam_step, handle(), options, step, grad, param, exp_avg, exp_avg_sq,
                                            max_exp_avg_sq));
    }
    Result<void> rms_prop_step(const OptimizerOptions& options, const View& grad, const ViewMut& param,
                               const ViewMut& square_avg, const ViewMut& momentum_buffer = {},
                               const ViewMut& grad_avg = {}) const {
        return detail::finish(TIEBREAK_CALL(tb_rms_prop_step, handle(), options, grad, param, square_avg,
                                            momentum_buffer, grad_avg));
    }

    /// For functions of tiebreak.h; stays this object's.
    tb_engine* handle() const noexcept { return handle_.get(); }

  private:
    friend class Network;

    Engine(tb_engine* handle, std::shared_ptr<const void> log) : handle_(handle, {std::move(log)}) {}

    static void on_log(tb_log_level level, const char* message, void* user_data) {
        const Log& log = *static_cast<const Log*>(user_data);
#if TIEBREAK_EXCEPTIONS
        // No exception may reach the library.
        try {
            log(static_cast<LogLevel>(level), message);
        } catch (...) {
        }
#else
        log(static_cast<LogLevel>(level), message);
#endif
    }

    template <class V, class C>
    static std::optional<Error> collect(const char* function, Span<const V> views, std::vector<C>& out) {
        for (const V& view : views) {
            const auto problem = view.misfit();
            if (!problem.empty()) {
                return Error(Status::shape_mismatch,
                             std::string(function) + ": tensor " + std::to_string(out.size()) + ": " + problem);
            }
            out.push_back(view.c().value);
        }
        return std::nullopt;
    }

    detail::Handle<tb_engine, tb_engine_free> handle_;
};

/// Memory of an engine, which its operators use where it lies; see tb_tensor. Stands where a View or a ViewMut does.
class Tensor {
  public:
    /// Of zeros.
    static Result<Tensor> create(const Engine& engine, DType dtype, const Shape& shape) {
        tb_tensor* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_tensor_create, engine.handle(), dtype, shape.data(), shape.rank(), &handle);
        return detail::finish(std::move(error), Tensor(handle));
    }

    Result<TensorProperties> info() const {
        auto p = detail::sized<tb_tensor_properties>();
        auto error = TIEBREAK_CALL(tb_tensor_info, handle(), &p);
        return detail::finish(std::move(error), TensorProperties(p));
    }
    Result<void> write(const View& values) const {
        return detail::finish(TIEBREAK_CALL(tb_tensor_write, handle(), values));
    }
    Result<void> read(const ViewMut& values) const {
        return detail::finish(TIEBREAK_CALL(tb_tensor_read, handle(), values));
    }

    /// For functions of tiebreak.h; stays this object's.
    tb_tensor* handle() const noexcept { return handle_.get(); }

  private:
    explicit Tensor(tb_tensor* handle) : handle_(handle) {}

    detail::Handle<tb_tensor, tb_tensor_free> handle_;
};

inline View::View(const Tensor& tensor) : BasicView(tensor.handle()) {}
inline ViewMut::ViewMut(const Tensor& tensor) : BasicView(tensor.handle()) {}

inline Result<void> Engine::maxpool2d_forward(const View& x, const ViewMut& y, const Tensor& ties,
                                              const Pool2dOptions& options, const Kink& kink) const {
    auto* handle_of_ties = reinterpret_cast<std::uint8_t*>(ties.handle());
    return detail::finish(TIEBREAK_CALL(tb_maxpool2d_forward, handle(), x, options, kink, y, handle_of_ties,
                                        std::size_t{TB_TIES_TENSOR}));
}
inline Result<void> Engine::maxpool2d_backward(const View& gy, const Tensor& ties, const ViewMut& gx,
                                               const Pool2dOptions& options, const Kink& kink) const {
    const auto* handle_of_ties = reinterpret_cast<const std::uint8_t*>(ties.handle());
    return detail::finish(TIEBREAK_CALL(tb_maxpool2d_backward, handle(), gy, handle_of_ties,
                                        std::size_t{TB_TIES_TENSOR}, options, kink, gx));
}

/// A DLPack tensor seen as a view, which is valid until its deleter runs; see tb_dlpack_view.
inline Result<View> dlpack_view(const void* managed, bool versioned) {
    tb_view v{};
    auto error = TIEBREAK_CALL(tb_dlpack_view, managed, versioned, &v);
    if (error) return detail::finish(std::move(error), View());
    const Span<const std::int64_t> dimensions(v.shape, static_cast<std::size_t>(v.rank));
    return detail::finish(std::move(error), View(v.data, static_cast<DType>(v.dtype), dimensions));
}
inline Result<ViewMut> dlpack_view_mut(void* managed, bool versioned) {
    tb_view_mut v{};
    auto error = TIEBREAK_CALL(tb_dlpack_view_mut, managed, versioned, &v);
    if (error) return detail::finish(std::move(error), ViewMut());
    const Span<const std::int64_t> dimensions(v.shape, static_cast<std::size_t>(v.rank));
    return detail::finish(std::move(error), ViewMut(v.data, static_cast<DType>(v.dtype), dimensions));
}
/// A DLPack struct, which whoever has it deletes by its `deleter`; see tb_dlpack_export.
inline Result<void*> dlpack_export(const View& view, bool versioned) {
    void* managed = nullptr;
    auto error = TIEBREAK_CALL(tb_dlpack_export, view, versioned, &managed);
    return detail::finish(std::move(error), managed);
}

/// Labelled images; see tb_dataset.
class Dataset {
  public:
    struct Parts;

    /// Whichever data set a folder holds: MNIST, Fashion-MNIST, CIFAR-10, SVHN, or photos in folders.
    static Result<Parts> open(const std::string& path, const DatasetOptions& options = {},
                              const Progress& progress = {});
    /// Digits [1, 28, 28] drawn from a seed.
    static Result<Dataset> digits(std::size_t count, std::uint64_t seed, const Progress& progress = {}) {
        detail::Listener listener(progress);
        tb_dataset* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_dataset_digits, count, seed, listener.callback(), &listener, &handle);
        listener.rethrow();
        return detail::finish(std::move(error), Dataset(handle));
    }
    /// Coloured shapes [3, 32, 32] drawn from a seed.
    static Result<Dataset> shapes(std::size_t count, std::uint64_t seed, const Progress& progress = {}) {
        detail::Listener listener(progress);
        tb_dataset* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_dataset_shapes, count, seed, listener.callback(), &listener, &handle);
        listener.rethrow();
        return detail::finish(std::move(error), Dataset(handle));
    }
    /// Of the caller's images [N, C, H, W], which are copied; `shape`: [C, H, W].
    static Result<Dataset> create(const std::string& name, Span<const std::uint8_t> images,
                                  std::array<std::int64_t, 3> shape, Labels labels, std::size_t classes) {
        const Shape all = {labels.size(), shape[0], shape[1], shape[2]};
        const auto expected = all.elements();
        if (expected && *expected != images.size()) {
            return detail::finish(std::optional<Error>(Error(Status::shape_mismatch,
                                                             "tb_dataset_create: argument `images`: expected memory "
                                                             "for " + to_string(all) + ", got " +
                                                                 std::to_string(images.size()) + " bytes")),
                                  Dataset(nullptr));
        }
        tb_dataset* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_dataset_create, name, images.data(), shape.data(), labels.data(), labels.size(),
                                   classes, &handle);
        return detail::finish(std::move(error), Dataset(handle));
    }

    Result<DatasetProperties> info() const {
        auto p = detail::sized<tb_dataset_properties>();
        auto error = TIEBREAK_CALL(tb_dataset_info, handle(), &p);
        return detail::finish(std::move(error),
                              DatasetProperties{p.count, p.classes, Span<const std::int64_t>(p.shape), p.name,
                                                p.fingerprint, {p.mean[0], p.mean[1], p.mean[2], p.mean[3]},
                                                {p.std[0], p.std[1], p.std[2], p.std[3]}});
    }
    /// The order of an epoch, a permutation of all indices.
    Result<std::vector<std::size_t>> order(std::uint64_t seed, std::uint64_t epoch) const {
        auto p = detail::sized<tb_dataset_properties>();
        auto error = TIEBREAK_CALL(tb_dataset_info, handle(), &p);
        std::vector<std::size_t> indices(p.count);
        if (!error) error = TIEBREAK_CALL(tb_dataset_order, handle(), seed, epoch, indices.data(), indices.size());
        return detail::finish(std::move(error), std::move(indices));
    }
    /// Images as a batch x, and their labels.
    Result<std::vector<std::int64_t>> batch(Span<const std::size_t> indices, const ViewMut& x,
                                            const Augmentation& augmentation = {}) const {
        std::vector<std::int64_t> labels(indices.size());
        auto error = TIEBREAK_CALL(tb_dataset_batch, handle(), indices.data(), indices.size(), augmentation, x,
                                   labels.data());
        return detail::finish(std::move(error), std::move(labels));
    }

    /// For functions of tiebreak.h; stays this object's.
    tb_dataset* handle() const noexcept { return handle_.get(); }

  private:
    explicit Dataset(tb_dataset* handle) : handle_(handle) {}

    detail::Handle<tb_dataset, tb_dataset_free> handle_;
};

/// The training part of a data set, and its test or validation part.
struct Dataset::Parts {
    Dataset train, test;
};

inline Result<Dataset::Parts> Dataset::open(const std::string& path, const DatasetOptions& options,
                                            const Progress& progress) {
    detail::Listener listener(progress);
    tb_dataset *train = nullptr, *test = nullptr;
    auto error = TIEBREAK_CALL(tb_dataset_open, path, options, listener.callback(), &listener, &train, &test);
    listener.rethrow();
    return detail::finish(std::move(error), Parts{Dataset(train), Dataset(test)});
}

/// The layers of a network to be; see tb_graph. A layer is named as PyTorch would, and not used before.
class Graph {
  public:
    /// [C, H, W] of a sample.
    static Result<Graph> create(std::array<std::int64_t, 3> input_shape) {
        tb_graph* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_graph_create, input_shape.data(), &handle);
        return detail::finish(std::move(error), Graph(handle));
    }
    static Result<Graph> from_zoo(const std::string& name, const ZooOptions& options = {}) {
        tb_graph* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_graph_from_zoo, name, options, &handle);
        return detail::finish(std::move(error), Graph(handle));
    }

    /// Of a description; see tb_graph_from_json.
    static Result<Graph> from_json(const std::string& description) {
        tb_graph* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_graph_from_json, description, &handle);
        return detail::finish(std::move(error), Graph(handle));
    }
    /// The description that from_json reads.
    Result<std::string> to_json() const {
        std::size_t size = 0;
        auto error = TIEBREAK_CALL(tb_graph_to_json, handle(), nullptr, std::size_t{0}, &size);
        std::vector<char> text(size + 1);
        if (!error) error = TIEBREAK_CALL(tb_graph_to_json, handle(), text.data(), text.size(), &size);
        return detail::finish(std::move(error), std::string(text.data()));
    }

    Result<GraphProperties> info() const {
        auto p = detail::sized<tb_graph_properties>();
        auto error = TIEBREAK_CALL(tb_graph_info, handle(), &p);
        return detail::finish(std::move(error),
                              GraphProperties{p.layer_count, Span<const std::int64_t>(p.input_shape)});
    }
    Result<TensorProperties> layer_info(Node node) const {
        auto p = detail::sized<tb_tensor_properties>();
        auto error = TIEBREAK_CALL(tb_graph_layer_info, handle(), node, &p);
        return detail::finish(std::move(error), TensorProperties(p));
    }

    /// `options` with a kernel: Conv2dOptions(3).
    Result<Node> conv2d(const std::string& name, Node x, std::size_t out_channels, const Conv2dOptions& options,
                        bool bias = true) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_conv2d, handle(), name, x, out_channels, options, bias, &node), node);
    }
    Result<Node> relu(const std::string& name, Node x) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_relu, handle(), name, x, &node), node);
    }
    Result<Node> maxpool2d(const std::string& name, Node x, const Pool2dOptions& options = {}) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_maxpool2d, handle(), name, x, options, &node), node);
    }
    Result<Node> norm_pool2d(const std::string& name, Node x, const Pool2dOptions& options = {}) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_norm_pool2d, handle(), name, x, options, &node), node);
    }
    Result<Node> avgpool2d(const std::string& name, Node x, const Pool2dOptions& options = {}) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_avgpool2d, handle(), name, x, options, &node), node);
    }
    Result<Node> adaptive_avgpool2d(const std::string& name, Node x) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_adaptive_avgpool2d, handle(), name, x, &node), node);
    }
    Result<Node> batchnorm(const std::string& name, Node x, const BatchnormOptions& options = {}) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_batchnorm, handle(), name, x, options, &node), node);
    }
    Result<Node> dropout(const std::string& name, Node x, double p) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_dropout, handle(), name, x, p, &node), node);
    }
    Result<Node> linear(const std::string& name, Node x, std::size_t out_features, bool bias = true) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_linear, handle(), name, x, out_features, bias, &node), node);
    }
    Result<Node> flatten(const std::string& name, Node x) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_flatten, handle(), name, x, &node), node);
    }
    Result<Node> add(const std::string& name, Node a, Node b) const {
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_add, handle(), name, a, b, &node), node);
    }
    Result<Node> concat(const std::string& name, Span<const Node> inputs) const {
        std::vector<tb_node> nodes;
        for (const Node input : inputs) nodes.push_back(static_cast<tb_node>(input));
        tb_node node = 0;
        return added(TIEBREAK_CALL(tb_graph_concat, handle(), name, nodes.data(), nodes.size(), &node), node);
    }

    /// For functions of tiebreak.h; stays this object's.
    tb_graph* handle() const noexcept { return handle_.get(); }

  private:
    explicit Graph(tb_graph* handle) : handle_(handle) {}

    static Result<Node> added(std::optional<Error> error, const tb_node& node) {
        return detail::finish(std::move(error), static_cast<Node>(node));
    }

    detail::Handle<tb_graph, tb_graph_free> handle_;
};

/// A network on an engine; see tb_network.
class Network {
  public:
    /// One of the zoo: "lenet5", "resnet18_bn" ...
    static Result<Network> create(const Engine& engine, const std::string& name, const NetworkOptions& options = {},
                                  const ZooOptions& zoo = {}) {
        tb_network* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_network_create, engine.handle(), name, zoo, options, &handle);
        return detail::finish(std::move(error), Network(handle, engine));
    }
    static Result<Network> create(const Engine& engine, const Graph& graph, const NetworkOptions& options = {}) {
        tb_network* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_network_create_from_graph, engine.handle(), graph.handle(), options, &handle);
        return detail::finish(std::move(error), Network(handle, engine));
    }

    Result<NetworkProperties> info() const {
        auto p = detail::sized<tb_network_properties>();
        auto error = TIEBREAK_CALL(tb_network_info, handle(), &p);
        return detail::finish(
            std::move(error),
            NetworkProperties{static_cast<DType>(p.dtype), static_cast<DType>(p.parameter_dtype), p.gpu != 0,
                              p.parameter_count, p.buffer_count, p.layer_count, p.census_count, p.classes,
                              p.allocated_bytes, Span<const std::int64_t>(p.input_shape), p.precision, p.placement});
    }
    Result<TensorProperties> parameter_info(std::size_t index) const {
        auto p = detail::sized<tb_tensor_properties>();
        auto error = TIEBREAK_CALL(tb_network_parameter_info, handle(), index, &p);
        return detail::finish(std::move(error), TensorProperties(p));
    }
    Result<TensorProperties> buffer_info(std::size_t index) const {
        auto p = detail::sized<tb_tensor_properties>();
        auto error = TIEBREAK_CALL(tb_network_buffer_info, handle(), index, &p);
        return detail::finish(std::move(error), TensorProperties(p));
    }
    Result<TensorProperties> layer_info(std::size_t index) const {
        auto p = detail::sized<tb_tensor_properties>();
        auto error = TIEBREAK_CALL(tb_network_layer_info, handle(), index, &p);
        return detail::finish(std::move(error), TensorProperties(p));
    }

    /// At one layer.
    Result<void> set_kink(const std::string& layer, const Kink& kink) const {
        return detail::finish(TIEBREAK_CALL(tb_network_set_kink, handle(), layer, kink));
    }
    /// At every layer of the kink's kind.
    Result<void> set_kink(const Kink& kink) const {
        return detail::finish(TIEBREAK_CALL(tb_network_set_kink, handle(), nullptr, kink));
    }
    /// What a framework computes, at every kink layer: "pytorch", "jax", "tensorflow", "candle", "mlpack", "theano" or
    /// "cudnn-random".
    Result<void> set_kinks(const std::string& convention) const {
        return detail::finish(TIEBREAK_CALL(tb_network_set_kinks, handle(), convention));
    }
    Result<Kink> kink(const std::string& layer) const {
        auto k = detail::sized<tb_kink>();
        auto error = TIEBREAK_CALL(tb_network_kink, handle(), layer, &k);
        return detail::finish(std::move(error), Kink(k));
    }
    Result<void> set_reduction_order(ReductionOrder order, std::uint64_t seed = 0) const {
        return detail::finish(TIEBREAK_CALL(tb_network_set_reduction_order, handle(), order, seed));
    }
    Result<void> freeze_batchnorm(bool frozen) const {
        return detail::finish(TIEBREAK_CALL(tb_network_freeze_batchnorm, handle(), frozen));
    }
    Result<void> set_loss_scale(double scale) const {
        return detail::finish(TIEBREAK_CALL(tb_network_set_loss_scale, handle(), scale));
    }

    Result<void> read_parameter(const std::string& name, const ViewMut& values) const {
        return detail::finish(TIEBREAK_CALL(tb_network_read_parameter, handle(), name, values));
    }
    Result<void> write_parameter(const std::string& name, const View& values) const {
        return detail::finish(TIEBREAK_CALL(tb_network_write_parameter, handle(), name, values));
    }
    Result<void> read_gradient(const std::string& name, const ViewMut& values) const {
        return detail::finish(TIEBREAK_CALL(tb_network_read_gradient, handle(), name, values));
    }
    Result<void> read_buffer(const std::string& name, const ViewMut& values) const {
        return detail::finish(TIEBREAK_CALL(tb_network_read_buffer, handle(), name, values));
    }
    Result<void> write_buffer(const std::string& name, const View& values) const {
        return detail::finish(TIEBREAK_CALL(tb_network_write_buffer, handle(), name, values));
    }

    /// Logits, [N, classes].
    Result<void> forward(const View& x, const ViewMut& logits) const {
        return detail::finish(TIEBREAK_CALL(tb_network_forward, handle(), x, logits));
    }
    /// The loss; the gradients stay in the network.
    Result<double> loss_and_gradients(const View& x, Labels labels) const {
        double loss = 0;
        auto error =
            TIEBREAK_CALL(tb_network_loss_and_gradients, handle(), x, labels.data(), labels.size(), &loss);
        return detail::finish(std::move(error), loss);
    }
    /// A further backward pass, under the present choices.
    Result<void> backward() const { return detail::finish(TIEBREAK_CALL(tb_network_backward, handle())); }
    Result<Evaluation> evaluate(const View& x, Labels labels) const {
        Evaluation e{};
        auto error = TIEBREAK_CALL(tb_network_evaluate, handle(), x, labels.data(), labels.size(), &e.loss, &e.correct);
        return detail::finish(std::move(error), e);
    }
    Result<Evaluation> evaluate(const Dataset& dataset, std::size_t batch_size, const Progress& progress = {}) const {
        detail::Listener listener(progress);
        Evaluation e{};
        auto error = TIEBREAK_CALL(tb_network_evaluate_dataset, handle(), dataset.handle(), batch_size,
                                   listener.callback(), &listener, &e.loss, &e.correct);
        listener.rethrow();
        return detail::finish(std::move(error), e);
    }
    /// `counts`: one for each window of the layer.
    Result<void> ties(const std::string& layer, Span<std::uint8_t> counts) const {
        return detail::finish(TIEBREAK_CALL(tb_network_ties, handle(), layer, counts.data(), counts.size()));
    }
    Result<void> read_activation(const std::string& layer, const ViewMut& values) const {
        return detail::finish(TIEBREAK_CALL(tb_network_read_activation, handle(), layer, values));
    }

    /// The gradients under the present choices against those under each alternative, which is a list of choices.
    Result<std::vector<Comparison>> compare(const View& x, Labels labels,
                                            const std::vector<std::vector<Choice>>& alternatives) const {
        auto p = detail::sized<tb_network_properties>();
        if (auto error = TIEBREAK_CALL(tb_network_info, handle(), &p)) {
            return detail::finish(std::move(error), std::vector<Comparison>());
        }
        detail::Choices chosen(alternatives);
        detail::Compared compared(alternatives.size(), p.parameter_count);
        auto error = TIEBREAK_CALL(tb_network_compare, handle(), x, labels.data(), labels.size(), chosen.list.data(),
                                   chosen.list.size(), compared.comparisons.data(), compared.comparisons.size(),
                                   compared.differences.data(), compared.differences.size());
        auto result = error ? std::vector<Comparison>() : compared.read(p.parameter_count);
        return detail::finish(std::move(error), std::move(result));
    }
    /// As compare, on the stored forward pass, such as one that replay took over.
    Result<std::vector<Comparison>> compare_stored(const std::vector<std::vector<Choice>>& alternatives) const {
        auto p = detail::sized<tb_network_properties>();
        if (auto error = TIEBREAK_CALL(tb_network_info, handle(), &p)) {
            return detail::finish(std::move(error), std::vector<Comparison>());
        }
        detail::Choices chosen(alternatives);
        detail::Compared compared(alternatives.size(), p.parameter_count);
        auto error = TIEBREAK_CALL(tb_network_compare_stored, handle(), chosen.list.data(), chosen.list.size(),
                                   compared.comparisons.data(), compared.comparisons.size(),
                                   compared.differences.data(), compared.differences.size());
        auto result = error ? std::vector<Comparison>() : compared.read(p.parameter_count);
        return detail::finish(std::move(error), std::move(result));
    }

    /// Takes over the forward pass of the last loss_and_gradients of another network of the same graph: backward and
    /// compare_stored then differentiate, in this network's arithmetic, what that has computed. The loss.
    Result<double> replay(const Network& recorded) const {
        double loss = 0;
        auto error = TIEBREAK_CALL(tb_network_replay, handle(), recorded.handle(), &loss);
        return detail::finish(std::move(error), loss);
    }

    /// Of the gradient of each parameter.
    Result<std::vector<Norms>> gradient_norms() const {
        auto p = detail::sized<tb_network_properties>();
        if (auto error = TIEBREAK_CALL(tb_network_info, handle(), &p)) {
            return detail::finish(std::move(error), std::vector<Norms>());
        }
        auto norms = detail::sized<tb_norms>(p.parameter_count);
        auto error = TIEBREAK_CALL(tb_network_gradient_norms, handle(), norms.data(), norms.size());
        std::vector<Norms> result;
        for (const auto& n : norms) result.push_back({n.name, n.l1, n.l2, n.linf, n.non_finite});
        return detail::finish(std::move(error), std::move(result));
    }

    /// Forward and backward pass, and how often the network stands on a kink.
    Result<std::vector<CensusEntry>> census(const View& x, Labels labels) const {
        auto p = detail::sized<tb_network_properties>();
        if (auto error = TIEBREAK_CALL(tb_network_info, handle(), &p)) {
            return detail::finish(std::move(error), std::vector<CensusEntry>());
        }
        auto entries = detail::sized<tb_census_entry>(p.census_count);
        auto error = TIEBREAK_CALL(tb_network_census, handle(), x, labels.data(), labels.size(), entries.data(),
                                   entries.size());
        std::vector<CensusEntry> result;
        for (const auto& e : entries) {
            result.push_back({e.layer, static_cast<KinkKind>(e.kind), e.ties, e.zero, e.zero_alive, e.nonzero,
                              e.nonzero_alive});
        }
        return detail::finish(std::move(error), std::move(result));
    }

    /// Why the windows of each max pooling tied in the last loss_and_gradients.
    Result<std::vector<TieClasses>> tie_classes() const {
        std::size_t count = 0;
        std::vector<tb_tie_classes> found;
        auto error = TIEBREAK_CALL(tb_network_tie_classes, handle(), nullptr, std::size_t{0}, &count);
        if (!error && count > 0) {
            found = detail::sized<tb_tie_classes>(count);
            error = TIEBREAK_CALL(tb_network_tie_classes, handle(), found.data(), found.size(), &count);
        }
        std::vector<TieClasses> result;
        for (const auto& c : found) {
            result.push_back({c.layer, c.windows, c.nan, c.untied, c.masked, c.structural, c.accidental});
        }
        return detail::finish(std::move(error), std::move(result));
    }

    /// Lets each training step from now on look at every tensor that it stores; of optimizers those created after this.
    Result<void> watch_non_finite() const {
        return detail::finish(TIEBREAK_CALL(tb_network_watch_non_finite, handle()));
    }
    /// The tensors of the last training step, loss_and_gradients or evaluate that hold a value that is not finite: the
    /// first is where it arose. Empty where watch_non_finite was not called before that run.
    Result<std::vector<NonFinite>> non_finite() const {
        std::size_t count = 0;
        std::vector<tb_non_finite> found;
        auto error = TIEBREAK_CALL(tb_network_non_finite, handle(), nullptr, std::size_t{0}, &count);
        if (!error && count > 0) {
            found = detail::sized<tb_non_finite>(count);
            error = TIEBREAK_CALL(tb_network_non_finite, handle(), found.data(), found.size(), &count);
            // Another thread may have run a step between.
            found.resize(std::min(count, found.size()));
        }
        std::vector<NonFinite> result;
        for (const auto& f : found) {
            result.push_back({static_cast<Pass>(f.pass), f.lasts != 0, f.layer, f.operator_name, f.tensor, f.element,
                              f.value, f.cause});
        }
        return detail::finish(std::move(error), std::move(result));
    }

    Result<MemoryPlan> memory_plan(std::size_t batch, bool training) const {
        auto plan = detail::sized<tb_memory_plan>();
        auto error = TIEBREAK_CALL(tb_network_memory_plan, handle(), batch, training, &plan);
        return detail::finish(std::move(error), plan);
    }

    Result<Work> work(std::size_t batch, bool training) const {
        auto work = detail::sized<tb_work>();
        auto error = TIEBREAK_CALL(tb_network_work, handle(), batch, training, &work);
        return detail::finish(std::move(error), work);
    }

    /// Takes over parameters and buffers of another network of the same graph.
    Result<void> copy_state(const Network& from) const {
        return detail::finish(TIEBREAK_CALL(tb_network_copy_state, handle(), from.handle()));
    }
    /// Parameters and buffers, as a safetensors file.
    Result<void> save(const std::string& path) const {
        return detail::finish(TIEBREAK_CALL(tb_network_save, handle(), path));
    }
    Result<void> load(const std::string& path, bool convert = false) const {
        return detail::finish(TIEBREAK_CALL(tb_network_load, handle(), path, convert));
    }

    /// For functions of tiebreak.h; stays this object's.
    tb_network* handle() const noexcept { return handle_.get(); }

  private:
    friend class Optimizer;

    Network(tb_network* handle, const Engine& engine) : handle_(handle, {engine.handle_.get_deleter().kept}) {}

    detail::Handle<tb_network, tb_network_free> handle_;
};

/// Updates the parameters of one network; see tb_optimizer.
class Optimizer {
  public:
    static Result<Optimizer> create(const Network& network, const OptimizerOptions& options = {}) {
        std::vector<tb_parameter_group> groups;
        for (const auto& group : options.groups) groups.push_back(group.c());
        auto o = options.c();
        o.groups = groups.data();
        o.group_count = groups.size();
        tb_optimizer* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_optimizer_create, network.handle(), &o, &handle);
        return detail::finish(std::move(error), Optimizer(handle, network));
    }

    Result<OptimizerProperties> info() const {
        auto p = detail::sized<tb_optimizer_properties>();
        auto error = TIEBREAK_CALL(tb_optimizer_info, handle(), &p);
        return detail::finish(std::move(error), OptimizerProperties{p.learning_rate, p.loss_scale, p.steps,
                                                                    static_cast<Algorithm>(p.algorithm)});
    }
    Result<void> set_learning_rate(double learning_rate) const {
        return detail::finish(TIEBREAK_CALL(tb_optimizer_set_learning_rate, handle(), learning_rate));
    }

    /// From the gradients that the network holds.
    Result<StepReport> step() const {
        auto report = detail::sized<tb_step_report>();
        auto error = TIEBREAK_CALL(tb_optimizer_step, handle(), &report);
        return detail::finish(std::move(error), report);
    }
    /// Forward, loss, backward, update.
    Result<StepReport> train_step(const View& x, Labels labels) const {
        auto report = detail::sized<tb_step_report>();
        auto error = TIEBREAK_CALL(tb_optimizer_train_step, handle(), x, labels.data(), labels.size(), &report);
        return detail::finish(std::move(error), report);
    }
    /// As train_step, but on a GPU nothing waits for it.
    Result<void> submit_step(const View& x, Labels labels) const {
        return detail::finish(
            TIEBREAK_CALL(tb_optimizer_train_step, handle(), x, labels.data(), labels.size(), nullptr));
    }

    /// All images of a data set once, in an order drawn from seed and epoch.
    Result<EpochReport> train_epoch(const Dataset& dataset, std::size_t batch_size, std::uint64_t seed,
                                    std::uint64_t epoch, const Augmentation& augmentation = {},
                                    const Progress& progress = {}) const {
        detail::Listener listener(progress);
        auto report = detail::sized<tb_epoch_report>();
        auto error = TIEBREAK_CALL(tb_optimizer_train_epoch, handle(), dataset.handle(), batch_size, seed, epoch,
                                   augmentation, listener.callback(), &listener, &report);
        listener.rethrow();
        return detail::finish(std::move(error), report);
    }
    /// As train_step without clipping and loss scaling; what each kernel took.
    Result<std::vector<KernelProfile>> profile_step(const View& x, Labels labels) const {
        // The step is made once, whatever the room: more than any network of the zoo has kernels.
        auto kernels = detail::sized<tb_kernel_profile>(8192);
        std::size_t count = 0;
        auto error = TIEBREAK_CALL(tb_optimizer_profile_step, handle(), x, labels.data(), labels.size(),
                                   kernels.data(), kernels.size(), &count);
        std::vector<KernelProfile> result;
        for (std::size_t i = 0; !error && i < std::min(count, kernels.size()); i++) {
            const auto& k = kernels[i];
            result.push_back({k.layer, k.kernel, k.seconds, k.operations, k.bytes});
        }
        return detail::finish(std::move(error), std::move(result));
    }

    /// The whole run, as a safetensors file.
    Result<void> save(const std::string& path) const {
        return detail::finish(TIEBREAK_CALL(tb_optimizer_save, handle(), path));
    }
    Result<void> load(const std::string& path) const {
        return detail::finish(TIEBREAK_CALL(tb_optimizer_load, handle(), path));
    }

    /// For functions of tiebreak.h; stays this object's.
    tb_optimizer* handle() const noexcept { return handle_.get(); }

  private:
    Optimizer(tb_optimizer* handle, const Network& network)
        : handle_(handle, {network.handle_.get_deleter().kept}) {}

    detail::Handle<tb_optimizer, tb_optimizer_free> handle_;
};

/// An experiment with its protocol chosen; see tb_experiment.
class Experiment {
  public:
    /// `protocol`: a JSON object; see tb_experiment_create. Images are copied; nullptr where there are none.
    static Result<Experiment> create(const std::string& name, const std::string& protocol = "{}",
                                     const Dataset* train = nullptr, const Dataset* test = nullptr) {
        tb_experiment* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_experiment_create, name, protocol, (train ? train->handle() : nullptr),
                                   (test ? test->handle() : nullptr), &handle);
        return detail::finish(std::move(error), Experiment(handle));
    }

    Result<ExperimentProperties> info() const {
        auto p = detail::sized<tb_experiment_properties>();
        auto error = TIEBREAK_CALL(tb_experiment_info, handle(), &p);
        return detail::finish(std::move(error), ExperimentProperties{p.name, p.about, p.unit_count});
    }
    /// Measures its units. With a folder `out` those that have not finished there, and writes tables and a page; without
    /// one nothing is written. Where `progress` gives false the result holds what has finished: that is no failure.
    Result<ExperimentResult> run(const Engine& engine, const std::optional<std::string>& out = {}, Shard shard = {},
                                 const Progress& progress = {}) const {
        detail::Listener listener(progress);
        tb_experiment_result* handle = nullptr;
        auto error = TIEBREAK_CALL(tb_experiment_run, this->handle(), engine.handle(), (out ? out->c_str() : nullptr),
                                   shard.number, shard.count, listener.callback(), &listener, &handle);
        const detail::Handle<tb_experiment_result, tb_experiment_result_free> owner(handle);
        listener.rethrow();
        ExperimentResult result;
        if (!error) error = read(handle, result);
        return detail::finish(std::move(error), std::move(result));
    }

    /// For functions of tiebreak.h; stays this object's.
    tb_experiment* handle() const noexcept { return handle_.get(); }

  private:
    explicit Experiment(tb_experiment* handle) : handle_(handle) {}

    static std::optional<Error> read(const tb_experiment_result* from, ExperimentResult& to) {
        auto p = detail::sized<tb_experiment_result_properties>();
        if (auto error = TIEBREAK_CALL(tb_experiment_result_info, from, &p)) return error;
        to.unit_count = p.unit_count;
        to.skipped = p.skipped;
        to.finished = p.finished;
        to.missing = p.missing;
        to.row_count = p.row_count;
        to.cancelled = p.cancelled != 0;
        for (std::size_t i = 0; i < p.column_count; i++) {
            if (auto error = read_column(from, i, p.row_count, to.columns.emplace_back())) return error;
        }
        for (std::size_t i = 0; i < p.sentence_count; i++) {
            std::size_t size = 0;
            auto error = TIEBREAK_CALL(tb_experiment_result_sentence, from, i, nullptr, std::size_t{0}, &size);
            std::vector<char> text(size + 1);
            if (!error) error = TIEBREAK_CALL(tb_experiment_result_sentence, from, i, text.data(), text.size(), &size);
            if (error) return error;
            to.sentences.emplace_back(text.data());
        }
        return std::nullopt;
    }

    static std::optional<Error> read_column(const tb_experiment_result* from, std::size_t column, std::size_t rows,
                                            Column& to) {
        auto p = detail::sized<tb_column_properties>();
        if (auto error = TIEBREAK_CALL(tb_experiment_result_column, from, column, &p)) return error;
        to.name = p.name;
        switch (static_cast<ColumnKind>(p.kind)) {
        case ColumnKind::numbers: {
            auto& cells = to.cells.emplace<0>(rows);
            return TIEBREAK_CALL(tb_experiment_result_numbers, from, column, cells.data(), cells.size());
        }
        case ColumnKind::integers: {
            auto& cells = to.cells.emplace<1>(rows);
            return TIEBREAK_CALL(tb_experiment_result_integers, from, column, cells.data(), cells.size());
        }
        case ColumnKind::texts: break;
        }
        auto& cells = to.cells.emplace<2>();
        std::vector<char> text(p.text_size);
        for (std::size_t row = 0; row < rows; row++) {
            std::size_t size = 0;
            auto error =
                TIEBREAK_CALL(tb_experiment_result_text, from, column, row, text.data(), text.size(), &size);
            if (error) return error;
            cells.emplace_back(text.data());
        }
        return std::nullopt;
    }

    detail::Handle<tb_experiment, tb_experiment_free> handle_;
};

#undef TIEBREAK_CALL

}  // inline namespace
}  // namespace tiebreak

#endif
