// counts[k, y != 0, alive] += 1 for each window: k is the size of its tie set (0 where it holds a NaN), and it is
// alive where its gradient gy is not 0 and, with RELU, the derivative of the ReLU is not 0 at an element of the set.
// ties [N,C,OH,OW,bytes], y, gy [N,C,OH,OW], x [N,C,H,W] (the input of the ReLU), counts [KH KW + 1, 2, 2] (u32).
// A workgroup counts the first rows by itself before it adds them.
#import types
#import index
#import pool2d
#import tie_set

struct Params {
    windows: u32, // N C OH OW
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
    counters: u32, // 4 (KH KW + 1)
    derivative: u32, // whether the derivative of the ReLU at 0 is not 0
}

@group(0) @binding(0) var<storage, read> ties: array<u32>;
@group(0) @binding(1) var<storage, read> y: array<T>;
@group(0) @binding(2) var<storage, read> gy: array<T>;
#ifdef RELU
@group(0) @binding(3) var<storage, read> x: array<T>;
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read> params: Params;
#else
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read> params: Params;
#endif

var<workgroup> own: array<atomic<u32>, THREADS>;

fn is_zero(v: T) -> bool {
    return (bitcast<u32>(f32(v)) & 0x7fffffffu) == 0u;
}

#ifdef RELU
// Whether the ReLU lets a gradient through to some element of the set.
fn passes(window: u32) -> bool {
    let area = elements_of(window);
    let corner = vec2<u32>(window / params.ow % params.oh, window % params.ow)
        * vec2<u32>(params.stride_h, params.stride_w);
    for (var row = area.rows.x; row < area.rows.y; row += 1u) {
        for (var column = area.columns.x; column < area.columns.y; column += 1u) {
            let kernel_row = row + params.padding_h - corner.x;
            let bit = kernel_row * params.kernel_w + column + params.padding_w - corner.y;
            if ((member_word(window, bit / 32u) & (1u << (bit % 32u))) != 0u) {
                let v = x[(area.plane * params.h + row) * params.w + column];
                if (select(f32(v) > 0.0 || is_nan(f32(v)), params.derivative != 0u, is_zero(v))) {
                    return true;
                }
            }
        }
    }
    return false;
}
#endif

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    atomicStore(&own[thread], 0u);
    workgroupBarrier();
    let window = thread_index(group, groups, thread);
    if (window < params.windows) {
        var k = 0u;
        if (!holds_nan(window)) {
            for (var word = 0u; word < params.words; word += 1u) {
                k += countOneBits(member_word(window, word));
            }
        }
        var alive = !is_zero(gy[window]);
#ifdef RELU
        alive = alive && passes(window);
#endif
        let counter = k * 4u + select(2u, 0u, is_zero(y[window])) + select(0u, 1u, alive);
        // A set that no forward pass wrote may hold bits behind the window's.
        if (counter < THREADS) {
            atomicAdd(&own[counter], 1u);
        } else if (counter < params.counters) {
            atomicAdd(&counts[counter], 1u);
        }
    }
    workgroupBarrier();
    let count = atomicLoad(&own[thread]);
    if (thread < params.counters && count != 0u) {
        atomicAdd(&counts[thread], count);
    }
}
