// to[r, to_offset + i] = from[r, from_offset + i] for r below rows and i below row_len; the rest of `to` stays.
#import types
#import index

struct Params {
    len: u32, // rows row_len
    row_len: u32,
    from_stride: u32,
    from_offset: u32,
    to_stride: u32,
    to_offset: u32,
}

@group(0) @binding(0) var<storage, read> source: array<T>;
@group(0) @binding(1) var<storage, read_write> target_rows: array<T>;
@group(0) @binding(2) var<storage, read> params: Params;

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
    let row = i / params.row_len;
    let column = i - row * params.row_len;
    target_rows[row * params.to_stride + params.to_offset + column] =
        source[row * params.from_stride + params.from_offset + column];
}
