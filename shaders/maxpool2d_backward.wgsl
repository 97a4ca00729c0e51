// gx_i = sum over the windows that hold i, in their order, of c(window, i), each partial sum rounded to T.
// With A the set of the window, k its size, g its gradient in gy and rank r the position of i in A:
//   FIRST: g where r = 0                      LAST: g where r = k - 1
//   RANDOM: g where r is drawn                DIVIDE: fl(g / k)
//   FIRST_COLUMN: g where i is the first of A in column-major order
//   COEFFICIENTS: fl(g first[k]) where r = 0, else fl(g rest[k])
//   TWO_BRANCHES: e = fl(fl(beta g) / k), and fl(e + fl((1 - beta) g)) where r = 0
// A window with a NaN: FIRST, LAST and FIRST_COLUMN give g to its last NaN, RANDOM to one of its NaNs, the others NaN to
// all of it.
// With DISJOINT, where no windows overlap, a thread writes all that lies between the beginnings of two windows, each way;
// otherwise one element.
// gy [N,C,OH,OW], ties [N,C,OH,OW,bytes], gx [N,C,H,W].
#import types
#import index
#import philox
#import pool2d
#import tie_set

const FIRST: u32 = 0u;
const LAST: u32 = 1u;
const RANDOM: u32 = 2u;
const FIRST_COLUMN: u32 = 3u;
const DIVIDE: u32 = 4u;
const COEFFICIENTS: u32 = 5u;

struct Params {
    len: u32, // N C H W, or N C cells_h cells_w with DISJOINT
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
    // Strides that cover the rows and columns, the padding before them counted.
    cells_h: u32,
    cells_w: u32,
    // first[0..=KH KW], rest[0..=KH KW]
    coefficients: array<f32>,
}

@group(0) @binding(0) var<storage, read> gy: array<T>;
@group(0) @binding(1) var<storage, read> ties: array<u32>;
@group(0) @binding(2) var<storage, read_write> gx: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;

// What a window gives: `chosen` to the member of rank `place`, `others` to its other members; params.nan to all of it
// with `spoilt`.
struct Gift {
    spoilt: bool,
    place: u32,
    chosen: f32,
    others: f32,
}

fn gift(window: u32) -> Gift {
    let nan = holds_nan(window);
    var count = 0u;
    for (var word = 0u; word < params.words; word += 1u) {
        count += countOneBits(member_word(window, word));
    }
    let g = f32(gy[window]);
    let spoilt = nan && params.rule >= DIVIDE;
    switch (params.rule) {
        case FIRST, LAST: {
            return Gift(spoilt, select(0u, count - 1u, nan || params.rule == LAST), g, 0.0);
        }
        case FIRST_COLUMN: {
            return Gift(spoilt, select(rank_of_first_column(window), count - 1u, nan), g, 0.0);
        }
        case RANDOM: {
            let draw = philox(
                vec4<u32>(window, 0u, params.site, params.step),
                vec2<u32>(params.seed_low, params.seed_high),
            );
            return Gift(spoilt, mul_wide(draw.x, count).y, g, 0.0);
        }
        case DIVIDE: {
            let share = round_storage(g / f32(count));
            return Gift(spoilt, 0u, share, share);
        }
        case COEFFICIENTS: {
            // A set that no forward pass wrote may hold bits behind the window's.
            let size = min(count, params.window_len);
            return Gift(spoilt, 0u, scaled(g, size), scaled(g, params.window_len + 1u + size));
        }
        default: {
            let share = round_storage(round_storage(params.beta * g) / f32(count));
            let rest = round_storage(product(params.one_minus_beta, g, params.zero));
            return Gift(spoilt, 0u, round_storage(share + rest), share);
        }
    }
}

fn scaled(g: f32, coefficient: u32) -> f32 {
    let factor = params.coefficients[coefficient];
    return select(round_storage(product(g, factor, params.zero)), 0.0, factor == 0.0);
}

fn is_member(window: u32, bit: u32) -> bool {
    return (member_word(window, bit / 32u) & (1u << (bit % 32u))) != 0u;
}

// How many members of a window lie before `bit`, in row-major order.
fn rank_of(window: u32, bit: u32) -> u32 {
    let own_word = bit / 32u;
    var rank = countOneBits(member_word(window, own_word) & ((1u << (bit % 32u)) - 1u));
    for (var word = 0u; word < own_word; word += 1u) {
        rank += countOneBits(member_word(window, word));
    }
    return rank;
}

fn rank_of_first_column(window: u32) -> u32 {
    for (var kw = 0u; kw < params.kernel_w; kw += 1u) {
        for (var kh = 0u; kh < params.kernel_h; kh += 1u) {
            let bit = kh * params.kernel_w + kw;
            if (is_member(window, bit)) {
                return rank_of(window, bit);
            }
        }
    }
    return 0u;
}

// What element `bit` of a window receives, rounded to T.
fn contribution(from_window: Gift, window: u32, bit: u32) -> f32 {
    if (from_window.spoilt) {
        return params.nan;
    }
    if (!is_member(window, bit)) {
        return 0.0;
    }
    return select(from_window.others, from_window.chosen, rank_of(window, bit) == from_window.place);
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
#ifdef DISJOINT
    let line = i / params.cells_w;
    let plane = line / params.cells_h;
    let oh = line - plane * params.cells_h;
    let ow = i - line * params.cells_w;
    let last = vec2(params.oh, params.ow) - 1u;
    let window = (plane * params.oh + min(oh, last.x)) * params.ow + min(ow, last.y);
    let from_window = gift(window);
    for (var kh = 0u; kh < params.stride_h; kh += 1u) {
        for (var kw = 0u; kw < params.stride_w; kw += 1u) {
            // Below the padding, these wrap.
            let h = oh * params.stride_h + kh - params.padding_h;
            let w = ow * params.stride_w + kw - params.padding_w;
            if (h < params.h && w < params.w) {
                var sum = 0.0;
                if (oh <= last.x && ow <= last.y && kh < params.kernel_h && kw < params.kernel_w) {
                    sum = plus(sum, contribution(from_window, window, kh * params.kernel_w + kw));
                }
                gx[(plane * params.h + h) * params.w + w] = T(round_storage(sum));
            }
        }
    }
#else
    let windows = windows_of(i);
    var sum = 0.0;
    for (var oh = windows.rows.x; oh < windows.rows.y; oh += 1u) {
        for (var ow = windows.columns.x; ow < windows.columns.y; ow += 1u) {
            let window = (windows.plane * params.oh + oh) * params.ow + ow;
            let row = windows.row - oh * params.stride_h;
            let bit = row * params.kernel_w + windows.column - ow * params.stride_w;
            sum = round_storage(plus(sum, contribution(gift(window), window, bit)));
        }
    }
    gx[i] = T(sum);
#endif
}
