#include <cstdio>
#include <tiebreak.hpp>

int main() {
    const float x[4] = {2, 2, 2, 1}, gy[1] = {3};
    float y[1], gx[4];
    std::uint8_t ties[1];
    const auto engine = tiebreak::Engine::create(tiebreak::Device::cpu);
    engine.maxpool2d_forward({x, {1, 1, 2, 2}}, {y, {1, 1, 1, 1}}, ties);
    engine.maxpool2d_backward({gy, {1, 1, 1, 1}}, ties, {gx, {1, 1, 2, 2}}, {},
                              tiebreak::Kink::maxpool(tiebreak::Jacobian::minimal));
    std::printf("%g: %g %g %g %g\n", y[0], gx[0], gx[1], gx[2], gx[3]);
}
