//! The experiments beyond the paper, small, on the embedded digits: what they measure agrees with what is known.

#![cfg(feature = "lab")]

use std::ops::ControlFlow;

use serde_json::{Value, json};
use tiebreak::data::synthetic;
use tiebreak::lab::{self, Columns, Images, Outcome, RunOptions, TABLE};
use tiebreak::net::{Network, zoo};
use tiebreak::{DType, Device, Engine, EngineOptions};

/// Runs an experiment of the registry on drawn digits.
fn run(name: &str, protocol: Value) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), name, protocol, 0)
}

fn run_in(dir: &std::path::Path, name: &str, protocol: Value, threads: usize) -> Outcome {
    let images: Images = synthetic::embedded(192, 64).into();
    let experiment = lab::find(name).unwrap().create(protocol.as_object().unwrap(), images).unwrap();
    let engine = Engine::new(&EngineOptions { device: Device::Cpu, threads, ..Default::default() }).unwrap();
    let options = RunOptions { out: dir.into(), ..Default::default() };
    let outcome = experiment.run(&engine, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(outcome.missing() == 0 && !outcome.verdict.is_empty(), "{name}");
    let page = std::fs::read_to_string(outcome.report.as_ref().unwrap()).unwrap();
    assert!(page.contains("<svg") && page.contains("<table") && !page.contains("NaN</"), "{name}");
    outcome
}

/// The rows of the units whose settings have these texts.
fn rows<'a>(outcome: &'a Outcome, settings: &[(&str, &str)]) -> Vec<&'a Columns> {
    let wanted = outcome.records.iter().filter(|r| settings.iter().all(|(n, t)| r.settings.text(n) == *t));
    wanted.flat_map(|r| &r.rows).collect()
}

fn sum(rows: &[&Columns], name: &str) -> f64 {
    rows.iter().map(|row| row.number(name)).sum()
}

#[test]
fn attribution_adds_up() {
    let outcome = run(
        "attribution",
        json!({"precisions": ["16", "32", "64"], "betas": [0, 1, 1000], "seeds": 1, "mini_batches": 2, "batch_size": 64,
               "epochs": 1, "limit": 64}),
    );
    // Gradients, native, and four programs for each beta that is not 0.
    assert_eq!(outcome.units, 3 * (1 + 1 + 2 * 4));
    let of = |precision: &str, beta: f64| -> Vec<&Columns> {
        let all = rows(&outcome, &[("precision", precision), ("program", "all")]);
        all.into_iter().filter(|row| row.number("of_beta") == beta).collect()
    };
    for precision in ["f16", "f32", "f64"] {
        for row in of(precision, 1.0) {
            // fl(1 m) + fl(0 m) is m: nothing but the choice is left.
            assert_eq!([row.number("forward"), row.number("compensation")], [0.0, 0.0], "{precision}");
            assert_eq!(row.number("choice"), row.number("total"));
        }
        for row in of(precision, 1000.0) {
            let parts = ["choice", "compensation", "forward"].map(|name| row.number(name));
            assert!(row.number("total") < 2.0 * parts.iter().sum::<f64>(), "{precision}: {row:?}");
        }
    }
    // What is rounding shrinks with the precision, by about 2^13 and 2^29.
    let [half, single, double] = ["f16", "f32", "f64"].map(|p| sum(&of(p, 1000.0), "compensation"));
    assert!(half > 500.0 * single && single > 1e6 * double && double > 0.0, "{half} {single} {double}");
    let [half, single] = ["f16", "f32"].map(|p| sum(&of(p, 1000.0), "forward"));
    assert!(half > 100.0 * single && single > 0.0, "{half} {single}");
    let trained = rows(&outcome, &[("precision", "f32"), ("program", "coupled"), ("beta", "1")]);
    assert!(trained.len() == 1 && trained[0].number("test_accuracy") >= 0.0);
}

#[test]
fn ties_by_accident_are_what_bifurcates() {
    let protocol =
        json!({"precisions": ["16", "32", "64", "bf16"], "seeds": 2, "mini_batches": 3, "batch_size": 64});
    let outcome = run("replay", protocol);
    for row in outcome.records.iter().flat_map(|r| &r.rows) {
        assert_eq!(row.number("bifurcated") > 0.0, row.number("accidental") > 0.0, "{row:?}");
        assert!(row.number("structural") > 0.0 && row.number("masked") > 0.0);
    }
    let bifurcated = |precision: &str| sum(&rows(&outcome, &[("precision", precision)]), "bifurcated");
    assert_eq!((bifurcated("bf16"), bifurcated("f64")), (6.0, 0.0));
    // Without a tie by accident a difference is rounding: of its size, and gone in f64.
    for (precision, eps) in [("f32", 1e-7), ("f64", 1e-16)] {
        for row in
            rows(&outcome, &[("precision", precision)]).iter().filter(|r| r.number("bifurcated") == 0.0)
        {
            assert!(row.number("working") < 20.0 * eps && row.number("bifurcation") < 1e-15, "{row:?}");
        }
    }
}

#[test]
fn taxonomy_counts_every_window() {
    let outcome = run(
        "taxonomy",
        json!({"precisions": ["16", "64"], "mini_batches": 2, "batch_size": 64, "epochs": 2, "limit": 128}),
    );
    for precision in ["f16", "f64"] {
        let all = rows(&outcome, &[("precision", precision)]);
        let (counts, maps): (Vec<&Columns>, Vec<&Columns>) =
            all.into_iter().partition(|r| r.text("row") == "count");
        // Two layers, before training and after each of two epochs; a map before and after.
        assert_eq!((counts.len(), maps.len()), (6, 2));
        for row in &counts {
            let classes =
                ["nan", "untied", "masked", "structural", "accidental"].map(|name| row.number(name));
            assert_eq!(classes.iter().sum::<f64>(), row.number("windows"));
            assert!(precision == "f16" || row.number("accidental") == 0.0, "{row:?}");
        }
        assert_eq!(counts[0].number("windows"), 128.0 * 6.0 * 144.0);
        assert!(maps[0].text("map").contains('s') && maps[0].text("map").len() == 6 * 144);
    }
}

#[test]
fn noise_has_a_floor_and_runs_a_full_grid() {
    let outcome = run(
        "noise",
        json!({"precisions": ["32"], "seeds": 2, "data_seeds": 2, "order_seeds": 2, "betas": [0, 100], "mini_batches": 2,
               "batch_size": 64, "limit": 128}),
    );
    assert_eq!(outcome.units, 2 + 2 * 2 * 2 * 2);
    let floor = rows(&outcome, &[("part", "floor")]);
    assert_eq!(floor.len(), 4);
    assert!(floor.iter().all(|row| row.number("noise_l1") > 0.0 && row.number("choice_l1") > 0.0));
    let mut losses: Vec<f64> =
        rows(&outcome, &[("part", "run")]).iter().map(|row| row.number("train_loss")).collect();
    losses.sort_by(f64::total_cmp);
    losses.dedup();
    // Two initialisations and two orders of the images; orders of sums, and beta, change last bits after two steps.
    assert!(losses.len() > 4 && losses[losses.len() - 1] - losses[0] > 1e-4, "{losses:?}");
}

#[test]
fn coarser_formats_bifurcate_more() {
    let outcome = run(
        "continuum",
        json!({"mantissa_bits": [4, 10, 52], "exponent_bits": [3, 5], "formats": ["bf16", "e5m10"], "mini_batches": 2,
               "batch_size": 64, "limit": 64}),
    );
    // e5m10 is one of the exponents, too.
    assert_eq!(outcome.units, 3 + 2 + 1);
    let accidental = |name: &str| {
        let mut compared = rows(&outcome, &[("precision", name)]);
        compared.retain(|row| row.text("row") == "mini_batch");
        sum(&compared, "accidental")
    };
    let [coarse, half, double] = ["e11m4", "e11m10", "e11m52"].map(accidental);
    assert!(coarse > 4.0 * half && half > 0.0 && double == 0.0, "{coarse} {half} {double}");
    let rates = outcome.records.iter().map(|r| r.settings.number("learning_rate"));
    assert!(
        rates.clone().all(|rate| rate == rates.clone().next().unwrap()),
        "formats differ in rounding alone"
    );
    let trained = rows(&outcome, &[("precision", "bf16")]);
    assert_eq!(trained.iter().filter(|row| row.text("row") == "epoch").count(), 1);
}

#[test]
fn margins_stand_beside_counts() {
    let outcome = run(
        "margins",
        json!({"precisions": ["bf16", "32"], "seeds": 2, "mini_batches": 3, "batch_size": 64}),
    );
    let of = |precision: &str| -> Vec<&Columns> {
        let all = rows(&outcome, &[]);
        all.into_iter().filter(|r| r.text("row") == "ties" && r.text("precision") == precision).collect()
    };
    let [predicted, counted] = ["predicted", "counted"].map(|name| sum(&of("bf16"), name));
    assert!(predicted > 300.0 && (counted - predicted).abs() < 0.25 * predicted, "{counted} for {predicted}");
    assert!(sum(&of("f32"), "predicted") < 1.0 && sum(&of("f32"), "counted") <= 2.0);
}

#[test]
fn conventions_differ_where_they_should() {
    let outcome =
        run("conventions", json!({"precisions": ["64"], "seeds": 1, "mini_batches": 2, "batch_size": 64}));
    let distance = |first: &str, second: &str| {
        let all = rows(&outcome, &[]);
        let pair = |row: &&&Columns| row.text("first") == first && row.text("second") == second;
        all.iter().filter(pair).map(|row| row.number("distance")).fold(0.0, f64::max)
    };
    assert_eq!(distance("pytorch", "jax"), 0.0);
    // Equal over the reals, where windows tie by structure alone.
    for other in ["tensorflow", "mlpack", "cudnn-random"] {
        assert!(distance("pytorch", other) < 1e-14, "{other}");
    }
    assert!(distance("pytorch", "candle") > 0.05 && distance("pytorch", "theano") > 0.05);
}

#[test]
fn slices_start_at_the_weights_and_are_the_same_on_any_threads() {
    let protocol = json!({"precisions": ["16"], "reach": 2, "plane": 1, "batch_size": 64});
    let dirs = [(); 2].map(|_| tempfile::tempdir().unwrap());
    let outcome = run_in(dirs[0].path(), "slices", protocol.clone(), 1);
    run_in(dirs[1].path(), "slices", protocol, 2);
    let tables = dirs.each_ref().map(|dir| std::fs::read(dir.path().join(TABLE)).unwrap());
    assert!(tables[0] == tables[1]);
    assert_eq!(outcome.units, 1 + 3);
    // The middle is the network as it starts.
    let replay =
        run("replay", json!({"precisions": ["16"], "seeds": 1, "mini_batches": 1, "batch_size": 64}));
    let start = replay.records[0].rows[0].number("working");
    let middle = |slice: &str, t: &str| {
        let line = rows(&outcome, &[("slice", slice), ("t", t)]);
        line[line.len() / 2].number("working")
    };
    assert_eq!([middle("line", "0"), middle("plane", "0")], [start; 2]);
    assert_ne!(middle("plane", "1"), start);
}

/// A description and a file of weights stand for the network that they came from.
#[test]
fn a_network_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let graph = zoo::by_name("lenet5", &zoo::Options::default()).unwrap();
    let (description, weights) = (dir.path().join("own.json"), dir.path().join("own.safetensors"));
    std::fs::write(&description, graph.to_json()).unwrap();
    // What seed 1 of the zoo starts from.
    Network::new(&Engine::cpu(), &graph, DType::F64, 1).unwrap().save(&weights).unwrap();
    let own = json!({"network": description, "weights": weights, "precisions": ["16"], "seeds": 1, "mini_batches": 2, "batch_size": 64});
    let zoo = json!({"precisions": ["16"], "seeds": 2, "mini_batches": 2, "batch_size": 64});
    for name in ["replay", "conventions"] {
        let (own, zoo) = (run(name, own.clone()), run(name, zoo.clone()));
        assert_eq!(own.records[0].settings.text("network"), "own");
        assert_eq!(own.records[0].settings.text("weights"), "own.safetensors");
        assert_eq!(own.records[0].rows, zoo.records[1].rows, "{name}");
    }
    // Other weights under the same name are another network: nothing of the first counts as finished.
    let out = tempfile::tempdir().unwrap();
    let first = run_in(out.path(), "replay", own.clone(), 0);
    assert_eq!(run_in(out.path(), "replay", own.clone(), 0).skipped, 1);
    Network::new(&Engine::cpu(), &graph, DType::F64, 2).unwrap().save(&weights).unwrap();
    let second = run_in(out.path(), "replay", own.clone(), 0);
    assert_eq!(second.skipped, 0);
    assert_ne!(first.records[0].rows, second.records[0].rows);
    let images: Images = synthetic::embedded(8, 8).into();
    let refused = |protocol: Value| {
        let made = lab::find("replay").unwrap().create(protocol.as_object().unwrap(), images.clone());
        made.err().unwrap().to_string()
    };
    assert!(refused(json!({"network": "missing.json"})).contains("missing.json"));
    std::fs::write(&description, "{\"input\": [3, 32, 32], \"layers\": []}").unwrap();
    assert!(refused(json!({"network": description})).contains("images [3, 32, 32]"));
    std::fs::write(&description, "{").unwrap();
    assert!(refused(json!({"network": description})).contains("own.json"));
}
