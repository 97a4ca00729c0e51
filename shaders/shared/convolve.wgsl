// The matrix product behind two passes of a convolution. For each group of channels, of which r are written and c
// summed over:
//   target[n,r,i,j] = sum over c,u,v of weight(r,c,u,v) source[n,c, BH + i SH + u DH, BW + j SW + v DW]
// where source has that element. Rows of the product are r, columns are n,i,j. The sum runs through 16 c at a time, for
// these through u,v, and then through the c, so that the place of a column in source is found once for 16 terms.
//
// Positions i whose sums have the same kernel elements are one phase: in backward input every SH-th, so that no term is
// in vain. The elements of kernel and source where the sums begin belong to the phase.
//
// With NARROW, for few channels, a workgroup has 8 rows and 512 columns, and each thread fetches the columns of its
// block itself, for nobody else needs them. Without, a workgroup has a tile of gemm.
//
// A shader that imports this declares params, of type Params, and defines
//   A_ALONG_K: whether c (or else r) are the nearer neighbours in weight
//   initial(channel): what the sums of a written channel begin with
//   write(index, value), written(index): one element of target

// One axis of a phase.
struct Phase {
    count: u32, // of positions i
    base: i32, // B
    taps: u32, // number of u
    kernel: u32, // element of the kernel for u = 0
}

struct Params {
    groups: u32, // workgroups
    tiles_m: u32,
    tiles_n: u32, // of the largest phase
    phases_h: u32,
    phases_w: u32,
    rows: u32, // channels r of a group
    channels: u32, // channels c of a group
    batch: u32,
    source_h: u32,
    source_w: u32,
    source_image: u32, // elements of an image
    target_w: u32,
    target_plane: u32,
    target_image: u32,
    // Elements of weight from group to group, r to r, c to c; then from kernel row to row.
    weight_group: u32,
    weight_row: u32,
    weight_channel: u32,
    kernel_w: u32,
    stride_h: i32, // S
    stride_w: i32,
    dilation_h: i32, // D
    dilation_w: i32,
    // Elements of the kernel from u to u + 1 and from v to v + 1.
    kernel_step_h: u32,
    kernel_step_w: u32,
    // phases_h entries, then phases_w.
    phases: array<Phase>,
}

@group(0) @binding(0) var<storage, read> source: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<T>;

#ifdef NARROW
#import groups
#import block
const THREADS: u32 = 64u;
const TILE_M: u32 = 8u;
const TILE_N: u32 = 512u;
const ROW_STEP: u32 = 1u;
const COLUMN_STEP: u32 = 64u;
#else
#import gemm
const TILE_M: u32 = TILE;
const TILE_N: u32 = TILE;
#endif

const CHANNELS: u32 = 16u;

// The phase of the workgroup, and the number of its columns.
var<private> phase: vec2<u32>;
var<private> phase_h: Phase;
var<private> phase_w: Phase;
var<private> columns: u32;
// Of the group of channels: the first in target, and its first element in weight.
var<private> first_channel: u32;
var<private> first_weight: u32;
// Where each column of the block is in target.
var<private> targets: array<vec4<u32>, 2>;

// Four columns; the last one in place of those that do not exist.
struct Place {
    image: vec4<u32>,
    i: vec4<u32>,
    j: vec4<u32>,
}

fn place(column: vec4<u32>) -> Place {
    let n = min(column, vec4(columns - 1u));
    let pixels = phase_h.count * phase_w.count;
    let image = n / pixels;
    let pixel = n - image * pixels;
    let i = pixel / phase_w.count;
    return Place(image, i, pixel - i * phase_w.count);
}

// Where four columns begin in source: their image and group, and the element of it for u = v = 0.
struct Origin {
    image: vec4<u32>,
    h: vec4<i32>,
    w: vec4<i32>,
}

fn origin(at: Place, channel_group: u32) -> Origin {
    return Origin(
        at.image * params.source_image + channel_group * params.channels * params.source_h * params.source_w,
        vec4<i32>(at.i) * params.stride_h + phase_h.base,
        vec4<i32>(at.j) * params.stride_w + phase_w.base,
    );
}

fn target_offset(at: Place) -> vec4<u32> {
    let h = at.i * params.phases_h + phase.x;
    return at.image * params.target_image + h * params.target_w + at.j * params.phases_w + phase.y;
}

// Four columns at one element of the kernel: whether source has them, and where. The first element for those that it
// does not have.
struct Taps {
    inside: vec4<bool>,
    offset: vec4<u32>,
}

fn taps(at: Origin, u: u32, v: u32) -> Taps {
    let h = vec4<u32>(at.h + i32(u) * params.dilation_h);
    let w = vec4<u32>(at.w + i32(v) * params.dilation_w);
    let inside = (h < vec4(params.source_h)) & (w < vec4(params.source_w));
    return Taps(inside, at.image + select(vec4<u32>(), h * params.source_w + w, inside));
}

fn gather(at: Taps, offset: u32) -> vec4<f32> {
    let i = at.offset + offset;
    let values = vec4(f32(source[i.x]), f32(source[i.y]), f32(source[i.z]), f32(source[i.w]));
    return select(vec4<f32>(), values, at.inside);
}

fn weights(i: vec4<u32>) -> vec4<f32> {
    return vec4(f32(weight[i.x]), f32(weight[i.y]), f32(weight[i.z]), f32(weight[i.w]));
}

// Where the weights of four rows begin.
fn weight_rows(row: vec4<u32>) -> vec4<u32> {
    return first_weight + min(row, vec4(params.rows - 1u)) * params.weight_row;
}

// Offset of a kernel element in weight.
fn tap_weight(u: u32, v: u32) -> u32 {
    let kh = phase_h.kernel + u * params.kernel_step_h;
    return kh * params.kernel_w + phase_w.kernel + v * params.kernel_step_w;
}

#ifdef NARROW
fn sum_block(thread: u32, channel_group: u32, taps_h: u32, taps_w: u32) {
    let plane = params.source_h * params.source_w;
    let place0 = place(first_column + vec4(0u, 2u, 4u, 6u) * COLUMN_STEP);
    let place1 = place(first_column + vec4(1u, 3u, 5u, 7u) * COLUMN_STEP);
    targets[0] = target_offset(place0);
    targets[1] = target_offset(place1);
    let at0 = origin(place0, channel_group);
    let at1 = origin(place1, channel_group);
    let rows0 = weight_rows(first_row + vec4(0u, 2u, 4u, 6u));
    let rows1 = weight_rows(first_row + vec4(1u, 3u, 5u, 7u));
    for (var c0 = 0u; c0 < params.channels; c0 += CHANNELS) {
        let end = min(c0 + CHANNELS, params.channels);
        for (var u = 0u; u < taps_h; u += 1u) {
            for (var v = 0u; v < taps_w; v += 1u) {
                let taps0 = taps(at0, u, v);
                let taps1 = taps(at1, u, v);
                let tap = tap_weight(u, v);
                for (var c = c0; c < end; c += 1u) {
                    let w = tap + c * params.weight_channel;
                    let b0 = gather(taps0, c * plane);
                    let b1 = gather(taps1, c * plane);
                    accumulate(weights(rows0 + w), weights(rows1 + w), b0, b1);
                }
            }
        }
    }
}
#else
const B_ALONG_K: bool = false;

// The columns that this thread stages, and the kernel element.
var<private> staged: Taps;
var<private> staged_tap: u32;

fn load_a(rows: vec4<u32>, c: u32) -> vec4<f32> {
    return weights(weight_rows(rows) + staged_tap + c * params.weight_channel);
}

fn load_b(_columns: vec4<u32>, c: u32) -> vec4<f32> {
    return gather(staged, c * params.source_h * params.source_w);
}

fn sum_block(thread: u32, channel_group: u32, taps_h: u32, taps_w: u32) {
    let at = origin(place(column0 + thread % GROUPS + GROUP), channel_group);
    for (var c0 = 0u; c0 < params.channels; c0 += CHANNELS) {
        for (var u = 0u; u < taps_h; u += 1u) {
            for (var v = 0u; v < taps_w; v += 1u) {
                staged = taps(at, u, v);
                staged_tap = tap_weight(u, v);
                multiply(thread, c0, params.channels);
            }
        }
    }
    targets[0] = target_offset(place(first_column + vec4(0u, 2u, 4u, 6u) * COLUMN_STEP));
    targets[1] = target_offset(place(first_column + vec4(1u, 3u, 5u, 7u) * COLUMN_STEP));
}
#endif

fn store(row: u32, even: vec4<f32>, odd: vec4<f32>) {
    let r = first_row + row * ROW_STEP;
    if (r < params.rows) {
        let offset = (first_channel + r) * params.target_plane;
        store_group(targets[0] + offset, 0u, even);
        store_group(targets[1] + offset, 1u, odd);
    }
}

fn store_group(index: vec4<u32>, group: u32, values: vec4<f32>) {
    for (var i = 0u; i < 4u; i += 1u) {
        if (first_column + (2u * i + group) * COLUMN_STEP < columns) {
            write(index[i], values[i]);
        }
    }
}

fn start() {
    let last = params.rows - 1u;
    let even = first_channel + min(first_row + vec4(0u, 2u, 4u, 6u) * ROW_STEP, vec4(last));
    let odd = first_channel + min(first_row + vec4(1u, 3u, 5u, 7u) * ROW_STEP, vec4(last));
    accumulate(
        vec4(initial(even.x), initial(even.y), initial(even.z), initial(even.w)),
        vec4(initial(odd.x), initial(odd.y), initial(odd.z), initial(odd.w)),
        vec4(1.0),
        vec4(1.0),
    );
}

// The product takes source as 0 where it does not exist, which an infinite weight makes a NaN. So elements of the block
// that are NaN are computed once more, from what exists alone.
fn repair(channel_group: u32) {
    let total = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7] + sum[8] + sum[9]
        + sum[10] + sum[11] + sum[12] + sum[13] + sum[14] + sum[15];
    // Also where infinities of both signs meet: no harm.
    let suspect = is_nan(total.x + total.y + total.z + total.w);
    for (var e = select(64u, 0u, suspect); e < 64u; e += 1u) {
        let row = first_row + e / 8u * ROW_STEP;
        let column = first_column + e % 8u * COLUMN_STEP;
        if (row < params.rows && column < columns) {
            let at = place(vec4(column));
            let index = target_offset(at).x + (first_channel + row) * params.target_plane;
            if (is_nan(written(index))) {
                write(index, sum_existing(row, origin(at, channel_group)));
            }
        }
    }
}

fn sum_existing(row: u32, at: Origin) -> f32 {
    let plane = params.source_h * params.source_w;
    var total = initial(first_channel + row);
    for (var u = 0u; u < phase_h.taps; u += 1u) {
        for (var v = 0u; v < phase_w.taps; v += 1u) {
            let tap = taps(at, u, v);
            if (tap.inside.x) {
                if (is_nan(total)) {
                    return total;
                }
                let w = first_weight + row * params.weight_row + tap_weight(u, v);
                for (var c = 0u; c < params.channels; c += 1u) {
                    total += f32(weight[w + c * params.weight_channel]) * f32(source[tap.offset.x + c * plane]);
                }
            }
        }
    }
    return total;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_index(group, groups);
    if (index >= params.groups) {
        return;
    }
    var rest = index / params.tiles_m;
    let row = (index - rest * params.tiles_m) * TILE_M;
    let column = rest % params.tiles_n * TILE_N;
    rest /= params.tiles_n;
    let right = rest % params.phases_w;
    rest /= params.phases_w;
    let down = rest % params.phases_h;
    let channel_group = rest / params.phases_h;
    let vertical = params.phases[down];
    let horizontal = params.phases[params.phases_h + right];
    let n = params.batch * vertical.count * horizontal.count;
    if (column >= n) {
        return;
    }
    phase = vec2(down, right);
    phase_h = vertical;
    phase_w = horizontal;
    columns = n;
    first_channel = channel_group * params.rows;
    first_weight = channel_group * params.weight_group;
#ifdef NARROW
    first_row = row;
    first_column = column + thread;
#else
    row0 = row;
    column0 = column;
    find_block(thread);
#endif
    start();
    sum_block(thread, channel_group, vertical.taps, horizontal.taps);
    store_block();
    repair(channel_group);
}
