// Rounds f32 numbers to a narrower format, in place, on their bits. With |v| = s 2^e, s an integer below 2^24, and the
// spacing of the format at v 2^(e + drop):
//   nearest      s / 2^drop to the nearest integer, ties to even
//   STOCHASTIC   up where word < floor(2^32 (s mod 2^drop) / 2^drop), else down; word i % 4 of Philox at the counter
//                [i / 4, site, step, "roun"]
// What is then beyond `largest`, and infinity, becomes `overflow`; NaN and the sign stay. x [len].
// A thread takes four elements.
#import index
#import philox

struct Params {
    len: u32,
    drop: u32, // 23 - fraction bits
    // Of the smallest normal number: its biased exponent in f32.
    min_exponent: u32,
    largest: u32,
    overflow: u32,
    seed_low: u32,
    seed_high: u32,
    site: u32,
    step: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@group(0) @binding(1) var<storage, read> params: Params;

const INFINITY: u32 = 0x7f800000u;

// The bits of a rounded magnitude.
fn rounded(magnitude: u32, word: u32) -> u32 {
    if (magnitude > INFINITY) {
        return magnitude;
    }
    if (magnitude == INFINITY) {
        return params.overflow;
    }
    let exponent = max(magnitude >> 23u, 1u);
    // |v| = s 2^(exponent - 150)
    let s = magnitude - ((exponent - 1u) << 23u);
    let drop = params.drop + max(params.min_exponent, exponent) - exponent;
    var result: u32;
    if (drop < 24u) {
        let kept = s >> drop;
        let lost = s - (kept << drop);
        let up = rounds_up(kept, lost, drop, word);
        result = ((exponent - 1u) << 23u) + ((kept + up) << drop);
    } else {
        result = rounds_up(0u, s, drop, word) * ((exponent + drop - 23u) << 23u);
    }
    return select(result, params.overflow, result > params.largest);
}

// 1 or 0 for lost 2^-drop.
fn rounds_up(kept: u32, lost: u32, drop: u32, word: u32) -> u32 {
#ifdef STOCHASTIC
    var threshold = 0u;
    if (drop > 0u && drop <= 32u) {
        threshold = lost << (32u - drop);
    } else if (drop > 32u && drop < 64u) {
        threshold = lost >> (drop - 32u);
    }
    return select(0u, 1u, word < threshold);
#else
    // Below 2^24, lost is less than a half from a drop of 25 on.
    if (drop == 0u || drop > 24u) {
        return 0u;
    }
    let half = 1u << (drop - 1u);
    return select(0u, 1u, lost > half || (lost == half && (kept & 1u) != 0u));
#endif
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = thread_index(group, groups, thread);
    let first = index * 4u;
    if (first >= params.len) {
        return;
    }
    var words = vec4<u32>();
#ifdef STOCHASTIC
    words = philox(
        vec4<u32>(index, params.site, params.step, 0x726f756eu),
        vec2<u32>(params.seed_low, params.seed_high),
    );
#endif
    for (var i = first; i < min(first + 4u, params.len); i += 1u) {
        let sign = x[i] & 0x80000000u;
        x[i] = rounded(x[i] & 0x7fffffffu, words[i - first]) | sign;
    }
}
