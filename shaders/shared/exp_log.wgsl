// exp and log to about 1 ulp: the built-ins may be wrong by dozens of ulps. Both reduce the argument by a
// multiple of ln 2, held in two parts of which the first times any exponent is exact, and sum a series.
const LN2_HIGH: f32 = 0.693359375; // 355 / 512
const LN2_LOW: f32 = -2.1219444005469058e-4;

// For v <= 0 or NaN: exp(v) = 2^k exp(r) with |r| <= ln(2) / 2, by its Taylor series.
fn exp_nonpositive(v: f32) -> f32 {
    if ((bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u) {
        return v; // NaN
    }
    if (v < -103.98) {
        return 0.0; // below half of the smallest subnormal
    }
    let k = i32(v * 1.4426950408889634 - 0.5);
    let r = (v - f32(k) * LN2_HIGH) - f32(k) * LN2_LOW;
    let series = 0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r / 5040.0))));
    let y = 1.0 + (r + r * r * series);
    // Two factors, because 2^k itself may be subnormal.
    let half = k / 2;
    return y * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(k - half + 127) << 23u);
}

// For v >= 1 or NaN: v = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2). With t = f / (2 + f),
// log(1 + f) = 2 atanh(t) = f - t (f - 2 (t^2 / 3 + t^4 / 5 + ...)).
fn log_above_one(v: f32) -> f32 {
    let bits = bitcast<u32>(v);
    if (bits >= 0x7f800000u) {
        return v; // infinity or NaN
    }
    let shift = 0x3f800000u - 0x3f3504f3u; // from the bits of sqrt(1/2) to those of 1
    let k = f32(i32((bits + shift) >> 23u) - 127);
    let f = bitcast<f32>(((bits + shift) & 0x007fffffu) + 0x3f3504f3u) - 1.0;
    let t = f / (2.0 + f);
    let tt = t * t;
    let series = tt * (2.0 / 3.0 + tt * (2.0 / 5.0 + tt * (2.0 / 7.0 + tt * (2.0 / 9.0))));
    return k * LN2_HIGH + (k * LN2_LOW + (f - t * (f - series)));
}
