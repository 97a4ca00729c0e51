//! The census of ties and zeros against what the host can count.

mod support;

use support::*;
use tiebreak::data::synthetic;
use tiebreak::net::{CensusEntry, Graph, LayerCensus, Network, zoo};
use tiebreak::shape::Window2d;
use tiebreak::*;

fn maxpool(entry: &CensusEntry) -> &[tiebreak::net::TieCount] {
    match &entry.counts {
        LayerCensus::MaxPool2d(counts) => counts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn counts_agree_with_the_tie_sets() {
    for (name, engine) in engines() {
        for dtype in [DType::F16, DType::F32, DType::F64] {
            let graph = zoo::by_name("lenet5", &Default::default()).unwrap();
            let mut network = Network::new(&engine, &graph, dtype, 7).unwrap();
            let (x, labels) = synthetic::digits(24, 3).batch(&(0..24).collect::<Vec<_>>(), dtype).unwrap();
            let census = network.census(x.view(), &labels).unwrap();
            let layers: Vec<&str> = census.iter().map(|e| e.layer.as_str()).collect();
            assert_eq!(
                layers,
                ["features.1", "features.2", "features.5", "features.6", "classifier.1", "classifier.4"]
            );
            network.loss_and_gradients(x.view(), &labels).unwrap();
            for entry in census.iter().filter(|e| ["features.2", "features.6"].contains(&e.layer.as_str())) {
                let counts = maxpool(entry);
                let ties = network.ties(&entry.layer).unwrap();
                for (k, count) in counts.iter().enumerate() {
                    let expected = ties.counts.iter().filter(|&&c| c as usize == k).count() as u64;
                    assert_eq!(count.windows(), expected, "{} k = {k}, {dtype} on {name}", entry.layer);
                }
                // ReLU'(0) = 0 kills every gradient of a window of zeros.
                assert!(counts.iter().all(|c| c.zero.alive == 0));
                assert!(counts[4].zero.windows > 0 && counts[1].nonzero.alive > 0);
                assert!(counts.iter().all(|c| c.nonzero.alive <= c.nonzero.windows));
            }
            for (relu, input) in [("features.1", "features.0"), ("classifier.1", "classifier.0")] {
                let zeros = network.activation(input).unwrap().to_f64().iter().filter(|v| **v == 0.0).count();
                let entry = census.iter().find(|e| e.layer == relu).unwrap();
                let elements = network.activation(input).unwrap().len() as u64;
                assert_eq!(entry.counts, LayerCensus::Relu { zeros: zeros as u64, elements });
            }
        }
    }
}

/// One image whose windows are known: after the ReLU they are (1 1 0 0), (0 0 0 0) from negative inputs, (0 0 0 0)
/// from inputs of 0, and (2 2 2 2).
#[test]
fn a_constructed_image_is_counted_by_hand() {
    for (name, engine) in engines() {
        let mut g = Graph::new([1, 4, 4]);
        // The identity, so that a parameter lies before the kinks.
        let x = g.conv2d("identity", g.input(), 1, Window2d::new(1, 1, 0), false).unwrap();
        let x = g.relu("relu", x).unwrap();
        let x = g.maxpool2d("pool", x, Window2d::new(2, 2, 0)).unwrap();
        let x = g.flatten("flatten", x).unwrap();
        g.linear("head", x, 2, false).unwrap();
        let mut network = Network::new(&engine, &g, DType::F32, 1).unwrap();
        let tensor = |shape: &[usize], v: &[f64]| Tensor::from_f64(DType::F32, shape, v).unwrap();
        network.set_parameter("identity.weight", tensor(&[1, 1, 1, 1], &[1.0]).view()).unwrap();
        // The second window receives no gradient: its weights are equal for both classes.
        let weights = [1.0, 3.0, 1.0, 1.0, -1.0, 3.0, 2.0, -1.0];
        network.set_parameter("head.weight", tensor(&[2, 4], &weights).view()).unwrap();
        #[rustfmt::skip]
        let image = [
            1.0,  1.0, -1.0, -2.0,
            0.0, -1.0, -3.0, -1.0,
            0.0,  0.0,  2.0,  2.0,
            0.0,  0.0,  2.0,  2.0,
        ];
        let x = tensor(&[1, 1, 4, 4], &image);
        let mut check = |alpha: f64, zero_alive: u64| {
            network.set_kink(None, Kink::Relu(ReluKink { alpha })).unwrap();
            let census = network.census(x.view(), &[0]).unwrap();
            assert_eq!(census[0].counts, LayerCensus::Relu { zeros: 5, elements: 16 });
            let counts = maxpool(&census[1]);
            let four = counts[4];
            assert_eq!((counts[2].nonzero.windows, counts[2].nonzero.alive), (1, 1), "{name}");
            assert_eq!((four.zero.windows, four.zero.alive), (2, zero_alive), "{name}, alpha {alpha}");
            assert_eq!((four.nonzero.windows, four.nonzero.alive), (1, 1), "{name}");
            assert_eq!(counts.iter().map(|c| c.windows()).sum::<u64>(), 4);
        };
        check(0.0, 0);
        check(1.0, 1);
    }
}
