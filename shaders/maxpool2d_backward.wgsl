// gx_i = sum over the windows that hold i, in their order, of c(window, i), each partial sum rounded to T.
// With A the set of the window, k its size, g its gradient in gy and rank r the position of i in A:
//   FIRST: g where r = 0                      LAST: g where r = k - 1
//   RANDOM: g where r is drawn                DIVIDE: fl(g / k)
//   COEFFICIENTS: fl(g first[k]) where r = 0, else fl(g rest[k])
//   TWO_BRANCHES: e = fl(fl(beta g) / k), and fl(e + fl((1 - beta) g)) where r = 0
// A window with a NaN: FIRST and LAST give g to its last NaN, RANDOM to one of its NaNs, the others NaN to
// all of it.
// gy [N,C,OH,OW], ties [N,C,OH,OW,bytes], gx [N,C,H,W].
#import types
#import index
#import philox
#import pool2d
#import tie_set

const FIRST: u32 = 0u;
const LAST: u32 = 1u;
const RANDOM: u32 = 2u;
const DIVIDE: u32 = 3u;
const COEFFICIENTS: u32 = 4u;

struct Params {
    len: u32, // N C H W
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    padding_h: u32,
    padding_w: u32,
    share: u32, // 2^share windows in a word: 2, 1 or 0
    words: u32, // words of a window, 1 where windows share one
    window_len: u32, // KH KW
    rule: u32,
    seed_low: u32,
    seed_high: u32,
    site: u32,
    step: u32,
    beta: f32,
    one_minus_beta: f32,
    nan: f32,
    zero: u32,
    // first[0..=KH KW], rest[0..=KH KW]
    coefficients: array<f32>,
}

@group(0) @binding(0) var<storage, read> gy: array<T>;
@group(0) @binding(1) var<storage, read> ties: array<u32>;
@group(0) @binding(2) var<storage, read_write> gx: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;

// What element `bit` of a window receives, rounded to T.
fn contribution(window: u32, bit: u32) -> f32 {
    let nan = holds_nan(window);
    if (nan && params.rule >= DIVIDE) {
        return params.nan;
    }
    let own_word = bit / 32u;
    let own_bit = 1u << (bit % 32u);
    if ((set_word(window, own_word) & own_bit) == 0u) {
        return 0.0;
    }
    var count = 0u;
    var rank = 0u;
    for (var word = 0u; word < params.words; word += 1u) {
        let members = member_word(window, word);
        count += countOneBits(members);
        if (word < own_word) {
            rank += countOneBits(members);
        } else if (word == own_word) {
            rank += countOneBits(members & (own_bit - 1u));
        }
    }
    let g = f32(gy[window]);
    switch (params.rule) {
        case FIRST, LAST: {
            let place = select(0u, count - 1u, nan || params.rule == LAST);
            return select(0.0, g, rank == place);
        }
        case RANDOM: {
            let draw = philox(
                vec4<u32>(window, 0u, params.site, params.step),
                vec2<u32>(params.seed_low, params.seed_high),
            );
            return select(0.0, g, rank == mul_wide(draw.x, count).y);
        }
        case DIVIDE: {
            return round_storage(g / f32(count));
        }
        case COEFFICIENTS: {
            let place = select(params.window_len + 1u, 0u, rank == 0u);
            // A set that no forward pass wrote may hold bits behind the window's.
            let factor = params.coefficients[place + min(count, params.window_len)];
            if (factor == 0.0) {
                return 0.0;
            }
            return round_storage(product(g, factor, params.zero));
        }
        default: {
            let share = round_storage(round_storage(params.beta * g) / f32(count));
            if (rank != 0u) {
                return share;
            }
            return round_storage(share + round_storage(product(params.one_minus_beta, g, params.zero)));
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = thread_index(group, groups, thread);
    if (i >= params.len) {
        return;
    }
    let windows = windows_of(i);
    var sum = 0.0;
    for (var oh = windows.rows.x; oh < windows.rows.y; oh += 1u) {
        for (var ow = windows.columns.x; ow < windows.columns.y; ow += 1u) {
            let window = (windows.plane * params.oh + oh) * params.ow + ow;
            let row = windows.row - oh * params.stride_h;
            let bit = row * params.kernel_w + windows.column - ow * params.stride_w;
            sum = round_storage(plus(sum, contribution(window, bit)));
        }
    }
    gx[i] = T(sum);
}
