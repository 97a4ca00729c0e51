// The storage type T. Arithmetic is done in f32 and rounded to T once for each element written.
#ifdef F16
enable f16;
alias T = f16;
#else
alias T = f32;
#endif

// v rounded to the storage type, to nearest even, as an f32.
fn round_storage(v: f32) -> f32 {
#ifdef F16
    // On the bits: compilers take f32(f16(v)) for v.
    let bits = bitcast<u32>(v);
    let magnitude = bits & 0x7fffffffu;
    var rounded = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u)) & 0xffffe000u;
    if (magnitude < 0x38800000u) { // 2^-14: below it the spacing is 2^-24
        rounded = bitcast<u32>(round(bitcast<f32>(magnitude) * 16777216.0) * 5.9604644775390625e-8);
    }
    if (magnitude >= 0x477ff000u) { // 65520: half-way between the largest half and 2^16
        rounded = 0x7f800000u;
    }
    if (magnitude > 0x7f800000u) {
        rounded = magnitude;
    }
    return bitcast<f32>(rounded | (bits & 0x80000000u));
#else
    return v;
#endif
}

// sum + v for a sum that began at +0, which a zero of either sign leaves as it is: some compilers would let 0 + -0
// be -0. By its bits: v != 0.0 is false for a NaN.
fn plus(sum: f32, v: f32) -> f32 {
    return select(sum, sum + v, (bitcast<u32>(v) & 0x7fffffffu) != 0u);
}

// By its bits: compilers fold `v != v` to false.
fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// a * b, rounded: the exclusive or with `zero`, a 0 that only the host knows, keeps a driver from fusing the
// product with the sum that it enters.
fn product(a: f32, b: f32, zero: u32) -> f32 {
    return bitcast<f32>(bitcast<u32>(a * b) ^ zero);
}
