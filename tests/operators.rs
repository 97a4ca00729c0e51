//! What operators on host memory refuse, and what golden vectors do not show.

mod support;

use support::*;
use tiebreak::*;

fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::zeros(dtype, shape).unwrap()
}

/// The refusal names what is wrong.
#[track_caller]
fn refused(result: Result<()>, status: Status, words: &str) {
    let error = result.expect_err(words);
    assert_eq!(error.status(), status, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn batchnorm_refusals() {
    let engine = Engine::cpu();
    let f16_c = zeros(DType::F16, &[3]);
    let run = |x: &Tensor, weight: &Tensor, options: BatchNormOptions| {
        let mut y = x.clone();
        let (mut mean, mut inv_std) = (zeros(DType::F32, &[3]), zeros(DType::F32, &[3]));
        let parameters = BatchNormParameters { weight: weight.view(), bias: weight.view() };
        let statistics = BatchStatistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
        engine.batchnorm_forward(x.view(), parameters, &options, None, y.view_mut(), statistics)
    };
    let options = BatchNormOptions::default();
    let x = zeros(DType::F16, &[2, 3]);
    run(&x, &f16_c, options).unwrap();
    run(&x, &zeros(DType::F32, &[3]), options).unwrap();
    let one = "more than one value for each channel";
    refused(run(&zeros(DType::F16, &[1, 3]), &f16_c, options), Status::ShapeMismatch, one);
    refused(run(&zeros(DType::F16, &[1, 3, 1, 1]), &f16_c, options), Status::ShapeMismatch, one);
    refused(run(&zeros(DType::F16, &[0, 3]), &f16_c, options), Status::ShapeMismatch, one);
    refused(run(&zeros(DType::F16, &[2, 3, 4]), &f16_c, options), Status::ShapeMismatch, "[N, C]");
    refused(run(&x, &zeros(DType::F64, &[3]), options), Status::DTypeMismatch, "f32 beside f16");
    refused(run(&x, &zeros(DType::F16, &[2]), options), Status::ShapeMismatch, "weight");
    let wrong = BatchNormOptions { momentum: 1.5, ..options };
    refused(run(&x, &f16_c, wrong), Status::InvalidArgument, "momentum");
    let wrong = BatchNormOptions { eps: f64::NAN, ..options };
    refused(run(&x, &f16_c, wrong), Status::InvalidArgument, "eps");
}

#[test]
fn other_refusals() {
    let engine = Engine::cpu();
    let (x, mut y) = (zeros(DType::F32, &[2, 3, 6, 4]), zeros(DType::F32, &[2, 3, 4, 1]));
    refused(engine.adaptive_avgpool2d_forward(x.view(), y.view_mut()), Status::ShapeMismatch, "divide 6 x 4");
    refused(engine.add(x.view(), y.view(), x.clone().view_mut()), Status::ShapeMismatch, "`b`");
    let concat = |inputs: &[&Tensor]| {
        let views: Vec<View> = inputs.iter().map(|t| t.view()).collect();
        engine.concat(&views, zeros(DType::F32, &[2, 6, 6, 4]).view_mut())
    };
    concat(&[&x, &x]).unwrap();
    refused(concat(&[&x]), Status::ShapeMismatch, "sum of those of inputs");
    refused(concat(&[&x, &y]), Status::ShapeMismatch, "inputs[1]");
    refused(concat(&[&x, &x.to_dtype(DType::F16)]), Status::DTypeMismatch, "inputs[1]");
    // Without samples each dimension by itself is allowed, but not their product.
    let mut none = zeros(DType::F32, &[0, 1 << 40, 1 << 40]);
    let view = none.clone();
    refused(engine.concat(&[view.view()], none.view_mut()), Status::ShapeMismatch, "address space");
    for p in [-0.1, 1.1, f64::NAN] {
        let options = DropoutOptions { p, seed: 0, step: 0 };
        refused(engine.dropout_forward(x.view(), options, y.view_mut()), Status::InvalidArgument, "`p`");
    }
    let nearest = |format| Simulated { format, rounding: Rounding::Nearest };
    let mut half = x.to_dtype(DType::F16);
    refused(engine.quantize(nearest(Format::E5M2), 0, half.view_mut()), Status::DTypeMismatch, "f32");
    let wide = nearest(Format::new(11, 3).unwrap());
    refused(engine.quantize(wide, 0, y.view_mut()), Status::DTypeMismatch, "f64");
}

#[test]
fn optimizer_refusals() {
    let engine = Engine::cpu();
    let adam = |options: AdamOptions, max: bool, step: u64| {
        let (grad, mut param) = (zeros(DType::F32, &[4]), zeros(DType::F32, &[4]));
        let mut states = [(); 3].map(|_| zeros(DType::F32, &[4]));
        let [exp_avg, exp_avg_sq, largest] = states.each_mut().map(|s| s.view_mut());
        let state = AdamState { exp_avg, exp_avg_sq, max_exp_avg_sq: max.then_some(largest) };
        engine.adam_step(&options, grad.view(), param.view_mut(), state, step)
    };
    let options = AdamOptions::default();
    adam(options, false, 1).unwrap();
    refused(adam(options, false, 0), Status::InvalidArgument, "step");
    refused(adam(options, true, 1), Status::InvalidArgument, "exactly with amsgrad");
    refused(adam(AdamOptions { amsgrad: true, ..options }, false, 1), Status::InvalidArgument, "got none");
    let wrong = AdamOptions { betas: [0.9, 1.0], ..options };
    refused(adam(wrong, false, 1), Status::InvalidArgument, "betas");
    let wrong = AdamOptions { weight_decay: -1.0, ..options };
    refused(adam(wrong, false, 1), Status::InvalidArgument, "weight_decay");
    let rms_prop = |options: RmsPropOptions, average_of: &[usize]| {
        let (grad, mut param) = (zeros(DType::F32, &[4]), zeros(DType::F32, &[4]));
        let (mut square_avg, mut grad_avg) = (zeros(DType::F32, &[4]), zeros(DType::F32, average_of));
        let state = RmsPropState {
            square_avg: square_avg.view_mut(),
            momentum_buffer: None,
            grad_avg: Some(grad_avg.view_mut()),
        };
        engine.rms_prop_step(&options, grad.view(), param.view_mut(), state)
    };
    let centered = RmsPropOptions { centered: true, ..Default::default() };
    rms_prop(centered, &[4]).unwrap();
    refused(rms_prop(centered, &[5]), Status::ShapeMismatch, "grad_avg");
    refused(rms_prop(RmsPropOptions::default(), &[4]), Status::InvalidArgument, "exactly with centered");
    let momentum = RmsPropOptions { momentum: 0.5, ..centered };
    refused(rms_prop(momentum, &[4]), Status::InvalidArgument, "momentum_buffer");
}

/// Master parameters over f16: the statistics and y are those of f32 arithmetic on the same numbers.
#[test]
fn batchnorm_with_wide_parameters() {
    let shape = [4, 3, 5, 4];
    let values = |n: usize, salt: usize| -> Vec<f64> {
        (0..n).map(|i| ((i * 37 + salt * 11) % 101) as f64 / 25.0 - 2.0).collect()
    };
    let x = Tensor::from_f64(DType::F16, &shape, &values(240, 1)).unwrap();
    let [weight, bias] = [2, 3].map(|salt| Tensor::from_f64(DType::F32, &[3], &values(3, salt)).unwrap());
    for (name, engine) in engines() {
        let run = |dtype| {
            let (x, mut y) = (x.to_dtype(dtype), zeros(dtype, &shape));
            let mut tensors = [(); 4].map(|_| zeros(DType::F32, &[3]));
            let [mean, inv_std, running_mean, running_var] = tensors.each_mut().map(|t| t.view_mut());
            let parameters = BatchNormParameters { weight: weight.view(), bias: bias.view() };
            let running = Some(RunningStatistics { mean: running_mean, var: running_var });
            let statistics = BatchStatistics { mean, inv_std };
            let options = BatchNormOptions::default();
            engine
                .batchnorm_forward(x.view(), parameters, &options, running, y.view_mut(), statistics)
                .unwrap();
            (y, tensors)
        };
        let ((half, statistics), (single, expected)) = (run(DType::F16), run(DType::F32));
        assert_close(&format!("y on {name}"), &half, &single.to_dtype(DType::F16), 4);
        for (i, (got, expected)) in statistics.iter().zip(&expected).enumerate() {
            assert_close(&format!("statistics {i} on {name}"), got, expected, 80);
        }
    }
}

/// Memory of the engine, of the host, and both in one call: the same bits, on each engine and for each dtype.
#[test]
fn operators_use_memory_where_it_lies() {
    for (name, engine) in engines() {
        for dtype in DType::ALL {
            let values: Vec<f64> = (0..64).map(|i| ((i * 7) % 5) as f64 - 2.0).collect();
            let x = Tensor::from_f64(dtype, &[1, 1, 8, 8], &values).unwrap();
            let window = shape::Window2d::new(2, 2, 0);
            let (mut y, mut ties) = (zeros(dtype, &[1, 1, 4, 4]), vec![0; 16]);
            engine
                .maxpool2d_forward(x.view(), window, MaxPoolKink::default(), y.view_mut(), &mut ties)
                .unwrap();

            let mut there = engine.allocate_device(dtype, x.bytes().len()).unwrap();
            assert_eq!(there.on_a_gpu(), engine.placement(dtype).gpu, "{name} {dtype}");
            there.write(x.bytes()).unwrap();
            let mut out = engine.allocate_device(dtype, y.bytes().len()).unwrap();
            let mut sets = engine.allocate_device(dtype, 16).unwrap();
            let from = View::of(dtype, x.shape(), there.bytes()).unwrap();
            let to = ViewMut::of(dtype, &[1, 1, 4, 4], out.bytes_mut()).unwrap();
            engine.maxpool2d_forward(from, window, MaxPoolKink::default(), to, sets.bytes_mut()).unwrap();
            let (mut read, mut read_ties) = (y.bytes().to_vec(), vec![9; 16]);
            read.fill(9);
            out.read(&mut read).unwrap();
            sets.read(&mut read_ties).unwrap();
            assert_eq!((&read[..], &read_ties), (y.bytes(), &ties), "{name} {dtype}");

            let mut mixed = zeros(dtype, &[1, 1, 4, 4]);
            let kink = MaxPoolKink::default();
            engine.maxpool2d_forward(from, window, kink, mixed.view_mut(), sets.bytes_mut()).unwrap();
            assert_eq!(mixed, y, "{name} {dtype}");

            // What needs host memory says so, and lengths are checked.
            assert_eq!(from.bytes().is_err(), there.on_a_gpu());
            refused(View::of(dtype, &[63], there.bytes()).map(drop), Status::ShapeMismatch, "data");
            refused(out.write(&[0; 3]), Status::ShapeMismatch, "bytes");
        }
        refused(engine.allocate_device(DType::F32, 1 << 50).map(drop), Status::OutOfMemory, "tensor");
    }
    let engine = Engine::cpu();
    let before = engine.host_memory().bytes;
    let held = engine.allocate_device(DType::F32, 4096).unwrap();
    assert_eq!(engine.host_memory().bytes, before + 4096);
    drop(held);
    assert_eq!(engine.host_memory().bytes, before);
}

/// The classes of a window, one by one from the definition.
#[test]
fn maxpool2d_diagnosis_is_that_of_its_definition() {
    let shape = [2, 3, 9, 8];
    let mut values: Vec<f64> = (0..432).map(|i| ((i * 29) % 7) as f64 / 2.0 - 2.0).collect();
    // Small leads, windows of zeros, and NaNs.
    values.iter_mut().step_by(3).for_each(|v| *v -= 2f64.powi(-12));
    values[60..90].fill(-0.0);
    values[75] = 0.0;
    values[200] = f64::NAN;
    values[210] = f64::INFINITY;
    let plain = shape::Window2d::new(2, 2, 0);
    let wide = shape::Window2d { kernel: [2, 3], stride: [1, 2], padding: [1, 0], dilation: [1; 2] };
    for window in [plain, shape::Window2d::new(3, 2, 1), wide] {
        let geometry = shape::Pool2dGeometry::new(shape, window).unwrap();
        let [_, _, oh, ow] = geometry.y_shape();
        for dtype in DType::ALL {
            let x = Tensor::from_f64(dtype, &shape, &values).unwrap();
            let alive: Vec<f64> = (0..geometry.windows()).map(|i| (i % 3) as f64 - 1.0).collect();
            let gy = Tensor::from_f64(dtype, &geometry.y_shape(), &alive).unwrap();
            let mut expected = MaxPool2dDiagnosis::default();
            let mut all_alive = 0;
            let stored = x.to_f64();
            for (index, g) in alive.iter().enumerate() {
                let (plane, row, column) = (index / (oh * ow), index / ow % oh, index % ow);
                let mut elements = Vec::new();
                for k in 0..window.len() {
                    let r = (row * window.stride[0] + k / window.kernel[1]).wrapping_sub(window.padding[0]);
                    let c =
                        (column * window.stride[1] + k % window.kernel[1]).wrapping_sub(window.padding[1]);
                    if r < 9 && c < 8 {
                        elements.push(stored[(plane * 9 + r) * 8 + c]);
                    }
                }
                expected.windows += 1;
                if elements.iter().any(|v| v.is_nan()) {
                    expected.nan += 1;
                    continue;
                }
                let max = elements.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                match (elements.iter().filter(|v| **v == max).count() > 1, max == 0.0) {
                    (false, _) => expected.untied += 1,
                    (true, at_zero) => {
                        *(if at_zero { &mut expected.tied_at_zero } else { &mut expected.tied_elsewhere }) +=
                            1;
                        expected.alive += (*g != 0.0) as u64;
                        all_alive += 1;
                    }
                }
                let below = elements.iter().copied().filter(|v| *v < max);
                let margin = net::Margin { max, lead: max - below.fold(f64::NEG_INFINITY, f64::max) };
                expected.predicted_ties_f16 += margin.tie_probability(Format::F16);
                expected.predicted_ties_bf16 += margin.tie_probability(Format::BF16);
                expected.predicted_ties_f32 += margin.tie_probability(Format::new(8, 23).unwrap());
            }
            assert!(expected.tied_at_zero > 0 && expected.tied_elsewhere > 0 && expected.untied > 0);
            assert!(expected.nan > 0 && expected.alive < all_alive);
            if dtype != DType::F16 {
                assert!(expected.predicted_ties_bf16 > expected.predicted_ties_f16);
                assert!(expected.predicted_ties_f16 > 0.0);
            }
            for (name, engine) in engines() {
                let found = engine.maxpool2d_diagnose(x.view(), Some(gy.view()), window).unwrap();
                assert_eq!(found, expected, "{name} {dtype} {window:?}");
                let mut there = engine.allocate_device(dtype, x.bytes().len()).unwrap();
                there.write(x.bytes()).unwrap();
                let from = View::of(dtype, x.shape(), there.bytes()).unwrap();
                let found = engine.maxpool2d_diagnose(from, None, window).unwrap();
                assert_eq!(found, MaxPool2dDiagnosis { alive: all_alive, ..expected }, "{name} {dtype}");
            }
        }
    }
    let (engine, x) = (Engine::cpu(), zeros(DType::F32, &[1, 1, 4, 4]));
    let diagnose = |x: &Tensor, gy: &Tensor| {
        engine.maxpool2d_diagnose(x.view(), Some(gy.view()), plain).map(|found| assert_eq!(found.windows, 0))
    };
    diagnose(&zeros(DType::F32, &[0, 1, 4, 4]), &zeros(DType::F32, &[0, 1, 2, 2])).unwrap();
    refused(diagnose(&x, &x), Status::ShapeMismatch, "`gy`");
    refused(diagnose(&x, &zeros(DType::F64, &[1, 1, 2, 2])), Status::DTypeMismatch, "`gy`");
    refused(diagnose(&zeros(DType::F32, &[4, 4]), &x), Status::ShapeMismatch, "[N, C, H, W]");
}
