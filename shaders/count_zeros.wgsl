// count += number of elements of x equal to 0, of either sign. x [len], count [1] (u32).
// A thread takes `items` elements, THREADS apart; the order of the additions does not matter to integers.
#import types
#import index

struct Params {
    len: u32,
    items: u32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> count: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read> params: Params;

var<workgroup> group_count: atomic<u32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    if (thread == 0u) {
        atomicStore(&group_count, 0u);
    }
    workgroupBarrier();
    let begin = group_index(group, groups) * THREADS * params.items;
    let end = min(begin + THREADS * params.items, params.len);
    var zeros = 0u;
    for (var i = begin + thread; i < end; i += THREADS) {
        // On the bits: a driver that flushes subnormals would take them for 0.
        zeros += select(0u, 1u, (bitcast<u32>(f32(x[i])) & 0x7fffffffu) == 0u);
    }
    atomicAdd(&group_count, zeros);
    workgroupBarrier();
    if (thread == 0u) {
        atomicAdd(&count[0], atomicLoad(&group_count));
    }
}
