// For each row z of logits and its label t, with m = max z and s = sum over c of exp(z_c - m):
//   row_loss = log s - (z_t - m)
//   glogits_c = (exp(z_c - m) / s - [c = t]) / N loss_scale
// logits [N,C], labels [N] (u32), glogits [N,C], row_loss [N] (f32). One workgroup a row; sums are strided
// over its threads, then added in a tree.
#import types
#import exp_log
#import groups

const THREADS: u32 = 64u;

struct Params {
    batch: u32, // N
    classes: u32, // C
    loss_scale: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<T>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> glogits: array<T>;
@group(0) @binding(3) var<storage, read_write> row_loss: array<f32>;
@group(0) @binding(4) var<storage, read> params: Params;

var<workgroup> tree: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group, groups);
    if (row >= params.batch) {
        return;
    }
    let begin = row * params.classes;
    // A NaN may be passed over here: it comes back through exp.
    var greatest = f32(logits[begin]);
    for (var c = thread; c < params.classes; c += THREADS) {
        let z = f32(logits[begin + c]);
        if (z > greatest) {
            greatest = z;
        }
    }
    tree[thread] = greatest;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half && tree[thread + half] > tree[thread]) {
            tree[thread] = tree[thread + half];
        }
    }
    workgroupBarrier();
    greatest = tree[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var c = thread; c < params.classes; c += THREADS) {
        sum += exp_nonpositive(f32(logits[begin + c]) - greatest);
    }
    tree[thread] = sum;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            tree[thread] += tree[thread + half];
        }
    }
    workgroupBarrier();
    sum = tree[0];

    let label = labels[row];
    let n = f32(params.batch);
    for (var c = thread; c < params.classes; c += THREADS) {
        let p = exp_nonpositive(f32(logits[begin + c]) - greatest) / sum;
        glogits[begin + c] = T((p - select(0.0, 1.0, c == label)) / n * params.loss_scale);
    }
    if (thread == 0u) {
        row_loss[row] = log_above_one(sum) - (f32(logits[begin + label]) - greatest);
    }
}
