// With d = a, or fl(a - b) with DIFFERENCE (0 between equal infinities), for each block of NORM_BLOCK elements:
//   partial = (sum of |d|, sum of d^2, max of |d|, NaN where one is NaN, count)
// where count is that of a != b, or without DIFFERENCE that of the elements that are not finite.
// a, b [len], partial [blocks, 4] (f32). One workgroup a block; sums are strided over its threads, then in a tree.
#import types
#import index
#import tree

struct Params {
    len: u32,
    block: u32,
    blocks: u32,
}

@group(0) @binding(0) var<storage, read> a: array<T>;
#ifdef DIFFERENCE
@group(0) @binding(1) var<storage, read> b: array<T>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> params: Params;
#else
@group(0) @binding(1) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> params: Params;
#endif

var<workgroup> largest: atomic<u32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_index(group, groups);
    if (index >= params.blocks) {
        return;
    }
    if (thread == 0u) {
        atomicStore(&largest, 0u);
    }
    workgroupBarrier();
    let begin = index * params.block;
    let end = min(begin + params.block, params.len);
    var sums = vec4<f32>();
    // On the bits, where every NaN is above infinity.
    var top = 0u;
    for (var i = begin + thread; i < end; i += THREADS) {
#ifdef DIFFERENCE
        let v = f32(a[i]);
        let w = f32(b[i]);
        let counts = is_nan(v) || is_nan(w) || v != w;
        let d = select(0.0, v - w, counts);
#else
        let d = f32(a[i]);
        let counts = (bitcast<u32>(d) & 0x7fffffffu) >= 0x7f800000u;
#endif
        sums += vec4<f32>(abs(d), d * d, select(0.0, 1.0, counts), 0.0);
        top = max(top, bitcast<u32>(d) & 0x7fffffffu);
    }
    atomicMax(&largest, top);
    sums = tree_sum(thread, sums);
    if (thread == 0u) {
        partial[index] = vec4<f32>(sums.xy, bitcast<f32>(atomicLoad(&largest)), sums.z);
    }
}
