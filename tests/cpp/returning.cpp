// A file of a program that takes failures otherwise than the others.
#ifndef TIEBREAK_NO_EXCEPTIONS
#define TIEBREAK_NO_EXCEPTIONS
#endif
#include "tiebreak.hpp"

std::string unknown_network() {
    auto engine = tiebreak::Engine::create(tiebreak::Device::cpu);
    if (!engine) return engine.error().what();
    const auto network = tiebreak::Network::create(*engine, "lenet6");
    return network ? "created" : network.error().what();
}
