// What the C++ test programs share: checks that go on after a failure, and one way to take what a call gives, whether
// failures are thrown or returned.
#ifndef TIEBREAK_TEST_CHECK_HPP
#define TIEBREAK_TEST_CHECK_HPP

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "tiebreak.hpp"

inline int checks_done = 0, checks_failed = 0;

inline bool check_at(bool condition, const std::string& what, int line) {
    checks_done++;
    if (!condition) {
        checks_failed++;
        std::printf("line %d: %s\n", line, what.c_str());
    }
    return condition;
}

#define CHECK(condition) check_at(static_cast<bool>(condition), #condition, __LINE__)

// `FAILS(call, status, text, ...)`: the call fails so, and its message holds all the texts.
#define FAILS(call, ...) fails([&] { return call; }, #call, __LINE__, __VA_ARGS__)

template <class Call, class... Texts>
void fails(Call call, const std::string& what, int line, tiebreak::Status status, Texts... texts) {
    const auto failed = [&](const tiebreak::Error& error) {
        check_at(error.status() == status, what + " fails with " + tiebreak::status_name(error.status()), line);
        const std::string message = error.what();
        (check_at(message.find(texts) != std::string::npos, what + " says " + texts + ": " + message, line), ...);
    };
#if TIEBREAK_EXCEPTIONS
    try {
        static_cast<void>(call());
        check_at(false, what + " fails", line);
    } catch (const tiebreak::Error& error) {
        failed(error);
    }
#else
    const auto result = call();
    if (check_at(!result, what + " fails", line)) failed(result.error());
#endif
}

// What a call gives that must succeed.
#if TIEBREAK_EXCEPTIONS
template <class T>
T ok(T value) {
    checks_done++;
    return value;
}
#define DONE(call) (call)
#else
template <class T>
T ok(tiebreak::Result<T> result) {
    if (!check_at(result.has_value(), "a call succeeds", __LINE__)) {
        std::printf("%s\n", result.error().what());
        std::exit(1);
    }
    return std::move(result).value();
}
#define DONE(call)                                                                         \
    do {                                                                                   \
        const auto done = (call);                                                          \
        check_at(done.has_value(), done ? #call : std::string(#call ": ") + done.error().what(), __LINE__); \
    } while (0)
#endif

inline int finish(const char* program) {
    std::printf("%s: %d checks, %d failed%s\n", program, checks_done, checks_failed, checks_failed ? "" : ": ok");
    return checks_failed ? 1 : 0;
}

#endif
