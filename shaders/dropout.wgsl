// y_i = fl(x_i scale) where u_i >= threshold, else 0; scale = 1 / (1 - p). u_i is word i % 4 of Philox at the counter
// [i / 4, site, step, "drop"]. The backward pass is the same on gradients. x, y [len].
// A thread draws once, for four elements.
#import types
#import index
#import philox

struct Params {
    len: u32,
    threshold: u32, // floor(p 2^32)
    drop_all: u32, // p = 1, whose threshold has 33 bits
    scale: f32,
    seed_low: u32,
    seed_high: u32,
    site: u32,
    step: u32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<storage, read> params: Params;

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
    let draw = philox(
        vec4<u32>(index, params.site, params.step, 0x64726f70u),
        vec2<u32>(params.seed_low, params.seed_high),
    );
    for (var i = first; i < min(first + 4u, params.len); i += 1u) {
        let kept = draw[i - first] >= params.threshold && params.drop_all == 0u;
        y[i] = select(T(0.0), T(f32(x[i]) * params.scale), kept);
    }
}
