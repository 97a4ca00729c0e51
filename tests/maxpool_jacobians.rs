//! Every Jacobian of MaxPool against its definition, written down naively, on windows full of ties.

mod support;

use proptest::prelude::*;
use support::{assert_same, engines};
use tiebreak::shape::{Pool2dGeometry, Window2d, tie_bytes};
use tiebreak::*;

/// A pooling with few distinct values, so that most windows tie.
#[derive(Debug, Clone)]
struct Case {
    shape: [usize; 4],
    window: Window2d,
    x: Vec<f64>,
    gy: Vec<f64>,
}

fn cases() -> impl Strategy<Value = Case> {
    let window = (1..5usize, 1..5usize, 1..4usize, 1..4usize).prop_flat_map(|(kh, kw, sh, sw)| {
        (0..=kh / 2, 0..=kw / 2).prop_map(move |(ph, pw)| Window2d {
            kernel: [kh, kw],
            stride: [sh, sw],
            padding: [ph, pw],
            dilation: [1; 2],
        })
    });
    let shape = (1..3usize, 1..4usize, 4..9usize, 4..9usize).prop_map(|(n, c, h, w)| [n, c, h, w]);
    (shape, window).prop_flat_map(|(shape, window)| {
        let g = Pool2dGeometry::new(shape, window).unwrap();
        let value = prop_oneof![Just(0.0), Just(-0.0), Just(1.0), Just(2.0), Just(-1.5)];
        let gradient = (-8..8i32).prop_map(|v| v as f64 / 4.0 + 0.125);
        let x = proptest::collection::vec(value, g.x_len());
        let gy = proptest::collection::vec(gradient, g.windows());
        (x, gy).prop_map(move |(x, gy)| Case { shape, window, x, gy })
    })
}

struct Outcome {
    y: Tensor,
    gx: Tensor,
}

fn run(engine: &Engine, case: &Case, dtype: DType, kink: MaxPoolKink) -> Outcome {
    let g = Pool2dGeometry::new(case.shape, case.window).unwrap();
    let x = Tensor::from_f64(dtype, &case.shape, &case.x).unwrap();
    let gy = Tensor::from_f64(dtype, &g.y_shape(), &case.gy).unwrap();
    let (mut y, mut gx) =
        (Tensor::zeros(dtype, &g.y_shape()).unwrap(), Tensor::zeros(dtype, &case.shape).unwrap());
    let mut ties = vec![0; g.windows() * tie_bytes(case.window.len())];
    engine.maxpool2d_forward(x.view(), case.window, kink, y.view_mut(), &mut ties).unwrap();
    engine.maxpool2d_backward(gy.view(), &ties, case.window, kink, gx.view_mut()).unwrap();
    Outcome { y, gx }
}

/// Calls `visit(window, members)` with the flat input indices of each window's tied elements.
fn for_each_window(case: &Case, mut visit: impl FnMut(usize, &[usize], f64)) {
    let g = Pool2dGeometry::new(case.shape, case.window).unwrap();
    let ([h, w], [oh, ow]) = (g.input, g.output);
    let Window2d { kernel, stride, padding, .. } = case.window;
    for plane in 0..g.batch * g.channels {
        for o in 0..oh * ow {
            let mut inside = Vec::new();
            for i in 0..kernel[0] * kernel[1] {
                let r = ((o / ow) * stride[0] + i / kernel[1]) as isize - padding[0] as isize;
                let c = ((o % ow) * stride[1] + i % kernel[1]) as isize - padding[1] as isize;
                if r >= 0 && c >= 0 && r < h as isize && c < w as isize {
                    inside.push(plane * h * w + r as usize * w + c as usize);
                }
            }
            let m = inside.iter().map(|&i| case.x[i]).fold(f64::NEG_INFINITY, f64::max);
            let members: Vec<usize> = inside.into_iter().filter(|&i| case.x[i] == m).collect();
            visit(plane * oh * ow + o, &members, m);
        }
    }
}

/// The definition, in f64 and with the contributions added in the order of the windows.
fn reference(case: &Case, jacobian: MaxPoolJacobian) -> Vec<f64> {
    let mut gx = vec![0.0; case.x.len()];
    let width = case.shape[3];
    let window_len = case.window.len() as f64;
    for_each_window(case, |window, members, _| {
        let (g, k) = (case.gy[window], members.len() as f64);
        let by_column = members.iter().copied().min_by_key(|m| (m % width, *m));
        for (i, &member) in members.iter().enumerate() {
            gx[member] += match jacobian {
                MaxPoolJacobian::Native => {
                    if i == 0 {
                        g
                    } else {
                        0.0
                    }
                }
                MaxPoolJacobian::Last => {
                    if i + 1 == members.len() {
                        g
                    } else {
                        0.0
                    }
                }
                MaxPoolJacobian::FirstColumn => {
                    if Some(member) == by_column {
                        g
                    } else {
                        0.0
                    }
                }
                MaxPoolJacobian::All => g,
                MaxPoolJacobian::Scaled => g * k / window_len,
                MaxPoolJacobian::Minimal => g / k,
                MaxPoolJacobian::Beta(b) => g * (b / k + if i == 0 { 1.0 - b } else { 0.0 }),
                MaxPoolJacobian::Random(_) => unreachable!("has no reference"),
            };
        }
    });
    gx
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..Default::default() })]

    #[test]
    fn agree_with_their_definition(case in cases()) {
        use MaxPoolJacobian::*;
        for jacobian in [Native, Last, FirstColumn, All, Scaled, Minimal, Beta(0.0), Beta(1.0), Beta(0.5), Beta(-3.0), Beta(100.0)] {
            for composition in [Composition::Exact, Composition::Split] {
                let kink = MaxPoolKink { jacobian, composition };
                let got = run(&Engine::cpu(), &case, DType::F64, kink);
                let expected = reference(&case, jacobian);
                for (i, (g, e)) in got.gx.to_f64().iter().zip(&expected).enumerate() {
                    let bound = 1e-12 * 100.0 * (1.0 + e.abs());
                    prop_assert!((g - e).abs() <= bound, "{jacobian} {composition} [{i}]: {g} for {e}");
                }
                let mut windows = Vec::new();
                for_each_window(&case, |_, _, m| windows.push(m));
                prop_assert_eq!(got.y.to_f64(), windows);
            }
        }
    }

    /// beta(1) is minimal and beta(0) native, to the bit.
    #[test]
    fn beta_has_its_corners(case in cases()) {
        for dtype in DType::ALL {
            let gx = |jacobian| {
                run(&Engine::cpu(), &case, dtype, MaxPoolKink { jacobian, ..Default::default() }).gx
            };
            prop_assert_eq!(gx(MaxPoolJacobian::Beta(1.0)), gx(MaxPoolJacobian::Minimal));
            prop_assert_eq!(gx(MaxPoolJacobian::Beta(0.0)), gx(MaxPoolJacobian::Native));
        }
    }

    /// `forward` is the published forward pass and the native backward pass, to the bit.
    #[test]
    fn forward_alone_is_two_halves(case in cases(), beta in -2e4..2e4) {
        for dtype in DType::ALL {
            let run = |kink| run(&Engine::cpu(), &case, dtype, kink);
            let forward = run(MaxPoolKink::beta(beta, Composition::Forward));
            let (coupled, native) = (run(MaxPoolKink::beta(beta, Composition::Coupled)), run(MaxPoolKink::default()));
            prop_assert_eq!(forward.y.bytes(), coupled.y.bytes());
            prop_assert_eq!(forward.gx.bytes(), native.gx.bytes());
        }
    }

    /// The gradient that enters equals the gradient that leaves, whoever receives it.
    #[test]
    fn conserve_the_gradient(case in cases(), seed in any::<u64>()) {
        let total: f64 = case.gy.iter().sum();
        for jacobian in [MaxPoolJacobian::Random(seed), MaxPoolJacobian::Minimal, MaxPoolJacobian::Beta(7.0)] {
            let kink = MaxPoolKink { jacobian, ..Default::default() };
            let gx = run(&Engine::cpu(), &case, DType::F64, kink).gx;
            let sum: f64 = gx.to_f64().iter().sum();
            prop_assert!((sum - total).abs() < 1e-9 * (1.0 + case.gy.len() as f64), "{jacobian}: {sum} for {total}");
        }
    }

    /// Both engines, bit for bit, f16 and f32, every choice, overlapping windows too.
    #[test]
    fn engines_agree(case in cases(), seed in any::<u64>()) {
        use MaxPoolJacobian::*;
        let engines = engines();
        let [(_, cpu), (_, gpu)] = &engines[..] else { return Ok(()) };
        for dtype in [DType::F16, DType::F32] {
            for jacobian in [Native, Last, FirstColumn, All, Scaled, Minimal, Random(seed), Beta(3.0), Beta(1000.0)] {
                use Composition::*;
                for composition in [Exact, Forward, Split, Coupled] {
                    let kink = MaxPoolKink { jacobian, composition };
                    let (a, b) = (run(cpu, &case, dtype, kink), run(gpu, &case, dtype, kink));
                    let what = format!("{jacobian} {composition} {dtype}");
                    prop_assert_eq!(a.y.bytes(), b.y.bytes(), "forward, {}", &what);
                    prop_assert_eq!(a.gx.bytes(), b.gx.bytes(), "backward, {}", &what);
                }
            }
        }
    }
}

#[test]
fn random_draws_uniformly_and_repeats() {
    // 3000 windows of four equal elements.
    let case = Case {
        shape: [3, 10, 20, 20],
        window: Window2d::new(2, 2, 0),
        x: vec![1.0; 12000],
        gy: vec![1.0; 3000],
    };
    let draw = |seed| {
        let kink = MaxPoolKink { jacobian: MaxPoolJacobian::Random(seed), ..Default::default() };
        run(&Engine::cpu(), &case, DType::F32, kink).gx
    };
    assert_same("the same seed draws the same", &draw(7), &draw(7));
    let (a, b) = (draw(7).to_f64(), draw(8).to_f64());
    assert_ne!(a, b);
    assert_eq!(a.iter().filter(|&&v| v == 1.0).count(), 3000, "one element of each window");
    for corner in 0..4 {
        let hits = (0..12000).filter(|i| (i / 20 % 2) * 2 + i % 2 == corner && a[*i] == 1.0).count();
        // Binomial(3000, 1/4) has a standard deviation of 24.
        assert!((630..=870).contains(&hits), "corner {corner}: {hits} of 3000");
    }
}
