// Sums over a workgroup of THREADS, a multiple of 16, in a fixed order: to sixteen terms, then to one, which takes
// fewer barriers than pairs. A shader that imports this defines THREADS.

var<workgroup> tree: array<vec4<f32>, THREADS>;

// The sum over all threads; each thread calls it.
fn tree_sum(thread: u32, value: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    tree[thread] = value;
    workgroupBarrier();
    if (thread < 16u) {
        var sum = tree[thread];
        for (var i = thread + 16u; i < THREADS; i += 16u) {
            sum += tree[i];
        }
        tree[thread] = sum;
    }
    workgroupBarrier();
    var sum = tree[0];
    for (var i = 1u; i < 16u; i += 1u) {
        sum += tree[i];
    }
    return sum;
}
