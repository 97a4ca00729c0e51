// Windows of a pooling. A shader that imports this has params with h, w, oh, ow, kernel_h, kernel_w, stride_h,
// stride_w, padding_h and padding_w.

// Rows and columns, the first and the one past the last.
struct Elements {
    plane: u32,
    rows: vec2<u32>,
    columns: vec2<u32>,
}

struct Windows {
    plane: u32,
    // Row and column of the element, padding counted.
    row: u32,
    column: u32,
    rows: vec2<u32>,
    columns: vec2<u32>,
}

// The elements of window n,c,oh,ow; padding is cut off.
fn elements_of(window: u32) -> Elements {
    let line = window / params.ow;
    let plane = line / params.oh;
    let top = (line - plane * params.oh) * params.stride_h;
    let left = (window - line * params.ow) * params.stride_w;
    let rows = vec2<u32>(max(top, params.padding_h), min(top + params.kernel_h, params.h + params.padding_h));
    let columns = vec2<u32>(max(left, params.padding_w), min(left + params.kernel_w, params.w + params.padding_w));
    return Elements(plane, rows - params.padding_h, columns - params.padding_w);
}

// The windows that hold element n,c,h,w.
fn windows_of(element: u32) -> Windows {
    let line = element / params.w;
    let plane = line / params.h;
    let row = line - plane * params.h + params.padding_h;
    let column = element - line * params.w + params.padding_w;
    return Windows(
        plane,
        row,
        column,
        windows_along(row, params.kernel_h, params.stride_h, params.oh),
        windows_along(column, params.kernel_w, params.stride_w, params.ow),
    );
}

fn windows_along(place: u32, kernel: u32, stride: u32, count: u32) -> vec2<u32> {
    var first = 0u;
    if (place >= kernel) {
        first = (place - kernel) / stride + 1u;
    }
    return vec2<u32>(first, min(place / stride + 1u, count));
}
