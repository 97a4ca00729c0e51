//! Whole networks against PyTorch: loss, logits, gradients and running statistics of a training step for several
//! beta, on both engines, in every dtype that the vectors hold; ties and zeros counted.
//!
//! On a software GPU the networks of full width (`full_vgg11`, `full_resnet18`) take most of the time: some seconds each.

mod support;

use serde_json::Value;
use support::*;
use tiebreak::net::zoo::{self, Options};
use tiebreak::net::{Graph, LayerCensus, Network, ParameterInfo};
use tiebreak::*;

/// The values of a parameter, from its place among the parameters.
type Weight<'a> = Box<dyn Fn(&ParameterInfo, usize) -> Tensor + 'a>;

/// A network and a batch; all numbers are exact in every dtype.
struct Subject<'a> {
    graph: Graph,
    weight: Weight<'a>,
    x: Tensor,
    labels: Vec<i64>,
}

impl Subject<'_> {
    /// From the file itself, or at full width from the manifest's formula.
    fn new<'a>(golden: &'a Golden, inputs: &'a Value) -> Subject<'a> {
        let size = |v: &Value| v.as_u64().unwrap() as usize;
        let mut options = Options { batch_norm: inputs["batch_norm"] == true, ..Default::default() };
        if !inputs["base"].is_null() {
            options.base_width = size(&inputs["base"]);
        }
        if !inputs["fc"].is_null() {
            options.hidden = [0, 1].map(|i| size(&inputs["fc"][i]));
        }
        let graph = zoo::by_name(inputs["network"].as_str().unwrap(), &options).unwrap();
        if inputs["generator"].is_null() {
            return Subject {
                graph,
                weight: Box::new(|p, _| golden.tensor(&format!("inputs.f32.w.{}", p.name))),
                x: golden.tensor("inputs.f32.x"),
                labels: golden.integers("inputs.f32.labels"),
            };
        }
        let generated = |shape: &[usize], value: &dyn Fn(usize) -> f64| {
            let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
            Tensor::from_f64(DType::F64, shape, &values).unwrap()
        };
        let batch = size(&inputs["batch"]);
        let mut shape = vec![batch];
        shape.extend(graph.layers().next().unwrap().shape);
        Subject {
            graph,
            weight: Box::new(move |p, index| {
                let [kind, exponent] = [0, 1].map(|i| &inputs["generator"]["exponents"][&p.name][i]);
                let centre = if kind == "1+u/4" { 1.0 } else { 0.0 };
                let scale = 2f64.powi(exponent.as_i64().unwrap() as i32);
                generated(&p.shape, &|i| centre + uniform(index as u64 + 1, i) * scale)
            }),
            x: generated(&shape, &|i| uniform(0, i).max(0.0)),
            labels: (0..batch as i64).map(|i| (7 * i + 3) % 10).collect(),
        }
    }
}

/// Number `i` of a stream of the manifest's generator, in (-1, 1).
fn uniform(stream: u64, i: usize) -> f64 {
    let mut z = 80871424u64.wrapping_add(stream << 40);
    z = z.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (2.0 * (z >> 54) as f64 + 1.0 - 1024.0) / 1024.0
}

/// Every case of a file in every dtype that it holds.
fn check_file(file: &str) {
    let Some(golden) = Golden::open(file) else { return };
    let params = golden_params(file);
    let subject = Subject::new(&golden, &params["inputs"]);
    let cases: Vec<String> = golden.cases().into_iter().filter(|c| c != "inputs").collect();
    for (name, engine) in engines() {
        for dtype in DType::ALL {
            let held = |case: &String| golden.has(&format!("{case}.{dtype}.loss"));
            if !cases.iter().any(held) || (name == "gpu" && !engine.placement(dtype).gpu) {
                continue;
            }
            let mut network = Network::new(&engine, &subject.graph, dtype, 0).unwrap();
            let parameters: Vec<ParameterInfo> = network.parameters().cloned().collect();
            for (index, p) in parameters.iter().enumerate() {
                let weight = (subject.weight)(p, index).to_dtype(dtype);
                network.set_parameter(&p.name, weight.view()).unwrap();
            }
            for case in cases.iter().filter(|c| held(c)) {
                let what = format!("{file}.{case}.{dtype}, {name}");
                let step = Step { golden: &golden, case, params: &params[case], dtype, what };
                step.check(&mut network, &subject);
            }
            eprintln!("{file}: {dtype} on {name}");
        }
    }
}

/// A tensor, or the tensors of a layer.
struct Quantity {
    name: String,
    ours: Vec<f64>,
    /// PyTorch's in f64.
    truth: Vec<f64>,
    /// PyTorch's in the dtype of the step.
    theirs: Vec<f64>,
}

impl Quantity {
    fn new(name: &str) -> Quantity {
        Quantity { name: name.into(), ours: vec![], truth: vec![], theirs: vec![] }
    }

    fn add(&mut self, ours: impl IntoIterator<Item = f64>, [truth, theirs]: [Vec<f64>; 2]) {
        self.ours.extend(ours);
        self.truth.extend(truth);
        self.theirs.extend(theirs);
    }

    /// Largest distances of ours and theirs from the truth, as shares of its largest element.
    fn errors(&self) -> [f64; 2] {
        let largest = self.truth.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        [&self.ours, &self.theirs].map(|values| distance(values, &self.truth) / largest)
    }
}

/// A training step of ours beside PyTorch's.
struct Step<'a> {
    golden: &'a Golden,
    case: &'a str,
    params: &'a Value,
    dtype: DType,
    what: String,
}

impl Step<'_> {
    fn check(&self, network: &mut Network, subject: &Subject) {
        let infos: [Vec<ParameterInfo>; 2] =
            [network.parameters().cloned().collect(), network.buffers().cloned().collect()];
        for (key, infos) in ["param_order", "buffer_order"].into_iter().zip(&infos) {
            if let Some(order) = self.params[key].as_array() {
                assert!(infos.iter().map(|i| i.name.as_str()).eq(order.iter().map(|n| n.as_str().unwrap())));
            }
        }
        let alpha = self.params["relu_alpha"].as_f64().unwrap();
        network.set_kink(None, Kink::Relu(ReluKink { alpha })).unwrap();
        let [forward, mut gradients] =
            self.run(network, subject, &infos, Composition::Coupled, ReductionOrder::Fixed);
        self.check_ties(network);
        if self.case == "beta_0" {
            self.check_census(network, subject);
        }
        // f64 must agree to 1e-10. In f32 and f16 PyTorch's own error is the measure, of all quantities because that
        // of a single one may be small by luck.
        let theirs = forward.iter().chain(&gradients).map(|q| q.errors()[1]).fold(0.0, f64::max);
        let bound = match self.dtype {
            DType::F64 => 1e-10,
            dtype => 4.0 * theirs + 8.0 * epsilon(dtype),
        };
        for quantity in &forward {
            self.assert_error(quantity, bound);
        }
        // Where rounding carries a value across the zero of a ReLU, gradients jump; and the published forward pass
        // multiplies rounding errors by beta. Neither is an error of the gradient: it must then be right with an
        // exact forward pass, or with another order of summation.
        let noisy = !(0.0..=1.0).contains(&self.beta());
        let composition = if noisy { Composition::Split } else { Composition::Coupled };
        let others = noisy.then_some(ReductionOrder::Fixed).into_iter();
        let others = others.chain((1..=4).map(ReductionOrder::Seeded)).filter(|_| self.dtype != DType::F64);
        for order in others {
            if gradients.iter().all(|q| q.errors()[0] <= bound) {
                break;
            }
            eprintln!("{}: now {composition}, {order:?}", self.what);
            [_, gradients] = self.run(network, subject, &infos, composition, order);
        }
        for quantity in &gradients {
            self.assert_error(quantity, bound);
        }
    }

    fn assert_error(&self, quantity: &Quantity, bound: f64) {
        let [error, _] = quantity.errors();
        assert!(error <= bound, "{} {}: off by {error:e}, bound {bound:e}", self.what, quantity.name);
    }

    fn beta(&self) -> f64 {
        self.params["beta"].as_f64().unwrap()
    }

    /// A training step from running statistics as they are at the start: loss and logits and running statistics, then
    /// gradients.
    fn run(
        &self,
        network: &mut Network,
        subject: &Subject,
        [parameters, buffers]: &[Vec<ParameterInfo>; 2],
        composition: Composition,
        order: ReductionOrder,
    ) -> [Vec<Quantity>; 2] {
        network.set_reduction_order(order);
        network.set_kink(None, Kink::MaxPool(MaxPoolKink::beta(self.beta(), composition))).unwrap();
        for buffer in buffers {
            let start = if buffer.name.ends_with("running_var") { 1.0 } else { 0.0 };
            let values = vec![start; buffer.shape[0]];
            let values = Tensor::from_f64(self.dtype, &buffer.shape, &values).unwrap();
            network.set_buffer(&buffer.name, values.view()).unwrap();
        }
        let x = subject.x.to_dtype(self.dtype);
        let loss = network.loss_and_gradients(x.view(), &subject.labels).unwrap();
        let last = network.layers().last().unwrap().name.clone();
        let mut outputs = Quantity::new("logits and loss");
        outputs.add(network.activation(&last).unwrap().to_f64(), self.reference("logits").unwrap());
        outputs.add([loss], self.reference("loss").unwrap());
        let read = |info: &ParameterInfo| (info.name.clone(), network.gradient(&info.name).unwrap().to_f64());
        let gradients = self.by_layer(parameters.iter().map(read), "g", "grad_stats", Some("grad_samples"));
        let read = |info: &ParameterInfo| (info.name.clone(), network.buffer(&info.name).unwrap().to_f64());
        let mut forward = self.by_layer(buffers.iter().map(read), "rs", "running_stats", None);
        forward.push(outputs);
        [forward, gradients]
    }

    /// Tensors in the order of the file, those of a layer together: the gradient of a bias before batch normalisation
    /// is 0 but for rounding. The file holds them whole, or else statistics and samples of each.
    fn by_layer(
        &self,
        tensors: impl Iterator<Item = (String, Vec<f64>)>,
        prefix: &str,
        statistics: &str,
        samples: Option<&str>,
    ) -> Vec<Quantity> {
        let statistics = self.reference(statistics);
        let samples = samples.and_then(|key| self.reference(key));
        let mut quantities: Vec<Quantity> = Vec::new();
        for (index, (name, ours)) in tensors.enumerate() {
            let layer = name.rsplit_once('.').unwrap().0;
            if quantities.last().is_none_or(|q| q.name != layer) {
                quantities.push(Quantity::new(layer));
            }
            let quantity = quantities.last_mut().unwrap();
            match &statistics {
                None => quantity.add(ours, self.reference(&format!("{prefix}.{name}")).unwrap()),
                Some(table) => {
                    // In units of an element.
                    let n = ours.len() as f64;
                    let units = [n, n, n.sqrt(), 1.0];
                    let scaled = |s: Vec<f64>| s.iter().zip(units).map(|(s, unit)| s / unit).collect();
                    quantity.add(scaled(summary(&ours)), row(table, index, 4).map(scaled));
                    if let Some(table) = &samples {
                        let at = |j: u64| ours[((j * 2654435761 + 12345) % ours.len() as u64) as usize];
                        quantity.add((0..12).map(at), row(table, index, 12));
                    }
                }
            }
        }
        quantities
    }

    /// What the file holds under this key: made in f64, and in this dtype.
    fn reference(&self, key: &str) -> Option<[Vec<f64>; 2]> {
        let keys = [DType::F64, self.dtype].map(|dtype| format!("{}.{dtype}.{key}", self.case));
        self.golden.has(&keys[0]).then(|| keys.map(|key| self.golden.tensor(&key).to_f64()))
    }

    /// Windows by number of tied elements, those of zeros apart.
    fn check_ties(&self, network: &mut Network) {
        for (layer, expected) in self.params["ties"].as_object().unwrap() {
            let counts = network.ties(layer).unwrap().counts;
            let maxima = network.activation(layer).unwrap().to_f64();
            let count = |k: u8, zero: bool| {
                counts.iter().zip(&maxima).filter(|&(&c, &m)| c == k && (m == 0.0) == zero).count()
            };
            assert_eq!(counts.len() as u64, expected["windows"].as_u64().unwrap());
            self.assert_count(layer, "zero_4way", count(4, true), expected);
            for k in 1..=4 {
                self.assert_count(layer, &format!("positive_{k}way"), count(k, false), expected);
            }
        }
    }

    /// The same by the census on the device, and the inputs of ReLUs that are exactly 0; beta changes neither.
    fn check_census(&self, network: &mut Network, subject: &Subject) {
        let x = subject.x.to_dtype(self.dtype);
        let mut zeros = 0;
        for entry in network.census(x.view(), &subject.labels).unwrap() {
            match entry.counts {
                LayerCensus::Relu { zeros: z, .. } => zeros += z as usize,
                LayerCensus::MaxPool2d(counts) => {
                    let expected = &self.params["ties"][&entry.layer];
                    self.assert_count(&entry.layer, "zero_4way", counts[4].zero.windows as usize, expected);
                    for (k, count) in counts.iter().enumerate().skip(1) {
                        let key = format!("positive_{k}way");
                        self.assert_count(&entry.layer, &key, count.nonzero.windows as usize, expected);
                    }
                }
            }
        }
        self.assert_count("all ReLUs", "relu_exact_zeros", zeros, self.params);
    }

    #[track_caller]
    fn assert_count(&self, layer: &str, key: &str, got: usize, expected: &Value) {
        assert_eq!(got as u64, expected[key].as_u64().unwrap(), "{} {layer} {key}", self.what);
    }
}

/// A row of a table made in f64 and in another dtype.
fn row(tables: &[Vec<f64>; 2], index: usize, width: usize) -> [Vec<f64>; 2] {
    [0, 1].map(|i| tables[i][index * width..(index + 1) * width].to_vec())
}

/// Sum, sum of absolute values, Euclidean norm and largest absolute value.
fn summary(values: &[f64]) -> Vec<f64> {
    let sum_of = |f: fn(f64) -> f64| values.iter().map(|&v| f(v)).sum::<f64>();
    let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    vec![sum_of(|v| v), sum_of(f64::abs), sum_of(|v| v * v).sqrt(), largest]
}

/// Largest difference; NaN if any is.
#[track_caller]
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let gaps = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    gaps.fold(0.0, |m, gap| if gap > m || gap.is_nan() { gap } else { m })
}

#[test]
fn lenet5() {
    check_file("net_lenet5");
}

#[test]
fn lenet5_bn() {
    check_file("net_lenet5_bn");
}

/// With ReLU'(0) other than 0, and in f16.
#[test]
fn lenet5_alpha() {
    check_file("net_lenet5_alpha");
}

#[test]
fn vgg11() {
    check_file("net_vgg11");
}

#[test]
fn vgg11_bn() {
    check_file("net_vgg11_bn");
}

#[test]
fn resnet18() {
    check_file("net_resnet18");
}

#[test]
fn resnet18_bn() {
    check_file("net_resnet18_bn");
}

#[test]
fn full_lenet5() {
    check_file("full_lenet5");
}

#[test]
fn full_lenet5_bn() {
    check_file("full_lenet5_bn");
}

#[test]
fn full_vgg11() {
    check_file("full_vgg11");
}

#[test]
fn full_vgg11_bn() {
    check_file("full_vgg11_bn");
}

#[test]
fn full_resnet18() {
    check_file("full_resnet18");
}

#[test]
fn full_resnet18_bn() {
    check_file("full_resnet18_bn");
}
