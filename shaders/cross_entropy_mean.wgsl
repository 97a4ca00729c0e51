// loss = fl((sum over n of row_loss[n]) / N), in one workgroup: strided over its threads, then in a tree.
// row_loss [N] (f32), loss [1].
#import types

const THREADS: u32 = 256u;

struct Params {
    batch: u32, // N
}

@group(0) @binding(0) var<storage, read> row_loss: array<f32>;
@group(0) @binding(1) var<storage, read_write> loss: array<T>;
@group(0) @binding(2) var<storage, read> params: Params;

var<workgroup> tree: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    var sum = 0.0;
    for (var n = thread; n < params.batch; n += THREADS) {
        sum += row_loss[n];
    }
    tree[thread] = sum;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            tree[thread] += tree[thread + half];
        }
    }
    if (thread == 0u) {
        loss[0] = T(tree[0] / f32(params.batch));
    }
}
