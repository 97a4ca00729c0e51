//! Convolution: against its twin in the CPU engine, and against the sums of its definition in f64.

use super::*;

fn count(shape: [usize; 4]) -> usize {
    shape.iter().product()
}

fn geometries() -> Vec<Conv2dGeometry> {
    let window = |kernel, stride, padding, dilation| Window2d { kernel, stride, padding, dilation };
    let fixed = [
        // LeNet-5
        ([3, 1, 28, 28], 6, Window2d::new(5, 1, 0), 1),
        ([2, 6, 12, 12], 16, Window2d::new(5, 1, 0), 1),
        // tiles, with rows, columns and terms left over
        ([2, 40, 5, 7], 70, Window2d::new(3, 1, 1), 1),
        ([3, 66, 6, 6], 34, Window2d::new(3, 2, 1), 1),
        ([5, 64, 8, 8], 64, Window2d::new(1, 1, 0), 1),
        ([2, 37, 9, 8], 48, Window2d::new(1, 2, 0), 1),
        ([1, 80, 9, 9], 80, Window2d::new(3, 1, 2).with_dilation(2), 2),
        ([2, 20, 5, 7], 70, Window2d::new(3, 1, 1), 1),
        // first layers
        ([1, 3, 21, 22], 40, Window2d::new(7, 2, 3), 1),
        ([2, 3, 16, 16], 64, Window2d::new(3, 1, 1), 1),
        // strides and dilations, with and without a common divisor; positions that no window reaches
        ([2, 2, 9, 9], 3, Window2d::new(1, 2, 0), 1),
        ([1, 2, 5, 5], 2, Window2d::new(2, 3, 0), 1),
        ([2, 3, 11, 6], 5, window([3, 2], [2, 3], [0, 2], [1, 1]), 1),
        ([2, 2, 17, 16], 3, window([3, 4], [4, 6], [3, 2], [2, 4]), 1),
        ([1, 2, 12, 13], 4, window([3, 3], [3, 2], [1, 4], [3, 2]), 2),
        ([1, 1, 5, 4], 2, window([2, 1], [9, 40], [1, 0], [1, 1]), 1),
        // kernels larger than the input
        ([1, 1, 4, 4], 1, Window2d::new(3, 1, 4), 1),
        ([2, 2, 3, 2], 4, Window2d::new(5, 1, 3), 1),
        ([1, 1, 1, 70], 2, window([1, 1024], [1, 3], [0, 500], [1, 1]), 1),
        ([1, 2, 60, 1], 1, window([512, 1], [2, 1], [500, 0], [2, 1]), 1),
        // depthwise
        ([2, 12, 7, 7], 12, Window2d::new(3, 1, 1), 12),
        ([2, 6, 8, 9], 18, Window2d::new(3, 2, 1), 6),
        // a sum in several parts
        ([19, 2, 24, 24], 3, Window2d::new(3, 1, 1), 1),
        ([17, 3, 2, 1], 5, Window2d::new(1, 1, 0), 1),
        ([0, 2, 4, 4], 3, Window2d::new(3, 1, 1), 1),
    ];
    let mut all: Vec<_> = fixed.iter().map(|(x, o, w, g)| Conv2dGeometry::new(*x, *o, *w, *g)).collect();
    let mut rng = Rng(4);
    while all.len() < 60 {
        let groups = [1, 1, 2, 3][rng.below(4)];
        let [n, c, h, w, o] = [3, 5, 9, 9, 20].map(|n| 1 + rng.below(n));
        let mut two = |n| [rng.below(n), rng.below(n)];
        let [kernel, stride, padding, dilation] = [two(4), two(3), two(3), two(3)];
        let window = window(kernel.map(|v| v + 1), stride.map(|v| v + 1), padding, dilation.map(|v| v + 1));
        all.extend(Conv2dGeometry::new([n, c * groups, h, w], o * groups, window, groups).ok().map(Ok));
    }
    all.into_iter().map(Result::unwrap).collect()
}

/// The operands of a convolution, and what it writes by its definition. The bias is there for every other geometry.
struct Case {
    bias: bool,
    x: Vec<u8>,
    weight: Vec<u8>,
    b: Vec<u8>,
    gy: Vec<u8>,
}

impl Case {
    fn new(rng: &mut Rng, g: &Conv2dGeometry, dtype: DType, bias: bool) -> Case {
        let mut tensor = |len| rng.tensor(dtype, len, Values::Smooth);
        let x = tensor(count(g.x_shape()));
        let [weight, b] = [count(g.weight_shape()), g.out_channels].map(&mut tensor);
        Case { bias, x, weight, b, gy: tensor(count(g.y_shape())) }
    }

    /// The three passes: operator, what it reads, and the shapes of what it writes.
    fn passes(&self, g: &Conv2dGeometry) -> [(Op, Vec<Vec<u8>>, Vec<usize>); 3] {
        let (geometry, bias) = (*g, self.bias);
        let mut operands = vec![self.x.clone(), self.weight.clone()];
        operands.extend(bias.then(|| self.b.clone()));
        let mut gradients = vec![count(g.weight_shape())];
        gradients.extend(bias.then_some(g.out_channels));
        [
            (Op::Conv2dForward { geometry, bias }, operands, vec![count(g.y_shape())]),
            (
                Op::Conv2dBackwardInput { geometry },
                vec![self.gy.clone(), self.weight.clone()],
                vec![count(g.x_shape())],
            ),
            (Op::Conv2dBackwardWeight { geometry, bias }, vec![self.x.clone(), self.gy.clone()], gradients),
        ]
    }

    /// y, gx, gweight, gbias.
    fn definition(&self, g: &Conv2dGeometry, dtype: DType) -> [Vec<f64>; 4] {
        let [x, weight, b, gy] = [&self.x, &self.weight, &self.b, &self.gy].map(|t| decode(dtype, t));
        let ([h, w], [oh, ow], [kh, kw]) = (g.input, g.output, g.window.kernel);
        let (rows, channels) = (g.out_channels / g.groups, g.in_channels / g.groups);
        let [mut y, mut gx, mut gweight, mut gbias] = [&gy, &x, &weight, &b].map(|t| vec![0.0; t.len()]);
        let at = |o: usize, k: usize, i: usize| {
            let p = (o * g.window.stride[i] + k * g.window.dilation[i]).checked_sub(g.window.padding[i])?;
            (p < g.input[i]).then_some(p)
        };
        for (out, y) in y.iter_mut().enumerate() {
            let [n, o, row, column] =
                [out / (g.out_channels * oh * ow), out / (oh * ow) % g.out_channels, out / ow % oh, out % ow];
            gbias[o] += gy[out];
            *y = if self.bias { b[o] } else { 0.0 };
            for k in 0..channels * kh * kw {
                let (c, i, j) = (k / (kh * kw), k / kw % kh, k % kw);
                if let (Some(p), Some(q)) = (at(row, i, 0), at(column, j, 1)) {
                    let x_at = ((n * g.in_channels + o / rows * channels + c) * h + p) * w + q;
                    let weight_at = o * channels * kh * kw + k;
                    *y += weight[weight_at] * x[x_at];
                    gx[x_at] += weight[weight_at] * gy[out];
                    gweight[weight_at] += gy[out] * x[x_at];
                }
            }
        }
        [y, gx, gweight, gbias]
    }
}

#[test]
fn agrees_with_the_cpu_and_the_definition() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(4);
    for dtype in DTYPES {
        for (i, g) in geometries().iter().enumerate() {
            let case = Case::new(&mut rng, g, dtype, i % 2 == 0);
            let [y, gx, gweight, gbias] = case.definition(g, dtype);
            let expected = [vec![y], vec![gx], vec![gweight, gbias]];
            for ((op, reads, lens), expected) in case.passes(g).into_iter().zip(expected) {
                let writes: Vec<_> = lens.iter().map(|&len| zeros(dtype, len)).collect();
                let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &writes);
                for ((g, c), e) in on_gpu.iter().zip(&on_cpu).zip(&expected) {
                    assert_close(&format!("definition of {op:?}"), dtype, [g, &encode(dtype, e)]);
                    assert_close(&format!("{op:?}"), dtype, [g, c]);
                }
            }
        }
    }
}

/// No product with what is around the image, which would be NaN.
#[test]
fn an_infinite_weight_meets_existing_elements_alone() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(5);
    for dtype in DTYPES {
        for (x, o, window, groups) in [
            ([2, 3, 6, 6], 4, Window2d::new(3, 1, 1), 1),
            ([1, 4, 7, 7], 6, Window2d::new(3, 2, 1), 2),
            ([2, 40, 5, 5], 48, Window2d::new(3, 2, 2).with_dilation(2), 1),
        ] {
            let g = Conv2dGeometry::new(x, o, window, groups).unwrap();
            let mut case = Case::new(&mut rng, &g, dtype, true);
            let mut weight = decode(dtype, &case.weight);
            let len = weight.len();
            weight[rng.below(len)] = f64::INFINITY;
            weight[rng.below(len)] = f64::NEG_INFINITY;
            case.weight = encode(dtype, &weight);
            let [y, gx, ..] = case.definition(&g, dtype);
            for ((op, reads, lens), expected) in case.passes(&g).into_iter().zip([y, gx]) {
                let writes: Vec<_> = lens.iter().map(|&len| zeros(dtype, len)).collect();
                let result =
                    run(gpu.session().as_mut(), (op, dtype, 0), &Settings::default(), &reads, &writes);
                assert_close(&format!("{op:?}"), dtype, [&result[0], &encode(dtype, &expected)]);
                let kinds = [f64::is_finite, f64::is_infinite].map(|is| expected.iter().any(|v| is(*v)));
                assert_eq!(kinds, [true; 2], "{op:?}");
            }
        }
    }
}

#[test]
fn a_seed_chooses_the_order_of_the_batch() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(6);
    let dtype = DType::F32;
    for (x, o) in [([23, 3, 7, 7], 8), ([9, 40, 4, 4], 40)] {
        let g = Conv2dGeometry::new(x, o, Window2d::new(3, 1, 1), 1).unwrap();
        let case = Case::new(&mut rng, &g, dtype, true);
        let [.., (op, reads, lens)] = case.passes(&g);
        let writes: Vec<_> = lens.iter().map(|&len| zeros(dtype, len)).collect();
        assert_seeded_order(gpu, (op, dtype, 2), &reads, &writes);
    }
}

#[test]
fn more_tiles_than_one_dimension_holds() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(8);
    // Each row of the product is a group of its own, and has a workgroup.
    let groups = MAX_GROUPS + 35;
    let g = Conv2dGeometry::new([1, groups, 1, 2], groups, Window2d::new(1, 1, 0), groups).unwrap();
    let reads = [2 * groups, groups].map(|len| rng.tensor(DType::F16, len, Values::Smooth));
    let op = Op::Conv2dForward { geometry: g, bias: false };
    let writes = [zeros(DType::F16, 2 * groups)];
    let [on_gpu, on_cpu] = twins(gpu, (op, DType::F16, 0), &Settings::default(), &reads, &writes);
    assert_same("1x1", DType::F16, [&on_gpu[0], &on_cpu[0]]);
}
