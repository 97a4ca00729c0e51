// Where x holds its first value that is not finite: records[2 slot] = its index, 2^32 - 1 where all are finite, and
// records[2 slot + 1] = 0 for a NaN, 1 for infinity, 2 for -infinity.
// x [len], records [slots, 2] (u32). One workgroup: it looks at a tensor in a diagnosis, not in a fast step.
#import types
#import index

struct Params {
    len: u32,
    slot: u32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> records: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;

var<workgroup> first: atomic<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    if (thread == 0u) {
        atomicStore(&first, 0xffffffffu);
    }
    workgroupBarrier();
    for (var i = thread; i < params.len; i += THREADS) {
        if ((bitcast<u32>(f32(x[i])) & 0x7fffffffu) >= 0x7f800000u) {
            atomicMin(&first, i);
            break;
        }
    }
    workgroupBarrier();
    if (thread == 0u) {
        let at = atomicLoad(&first);
        var kind = 0u;
        if (at < params.len) {
            let bits = bitcast<u32>(f32(x[at]));
            kind = select(0u, 1u + (bits >> 31u), (bits & 0x7fffffffu) == 0x7f800000u);
        }
        records[2u * params.slot] = at;
        records[2u * params.slot + 1u] = kind;
    }
}
