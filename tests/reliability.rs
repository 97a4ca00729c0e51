//! The reliability experiment from end to end, on a grid that takes seconds.
#![cfg(feature = "lab")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use tiebreak::data::synthetic;
use tiebreak::lab::reliability::{Reliability, ReliabilityProtocol};
use tiebreak::lab::{Columns, Images, Outcome, RunOptions, run};
use tiebreak::{Composition, DType, Engine};

fn small() -> ReliabilityProtocol {
    ReliabilityProtocol {
        compositions: vec![Composition::Coupled, Composition::Exact],
        precisions: vec![DType::F16, DType::F32],
        betas: vec![0.0, 1e4],
        seeds: 1,
        epochs: 2,
        batch_size: 32,
        ..Default::default()
    }
}

fn digits(images: usize) -> Images {
    synthetic::embedded(images, 40).into()
}

fn go(protocol: ReliabilityProtocol, out: &Path, stop_at: usize) -> Outcome {
    let experiment = Reliability::create(protocol, digits(96)).unwrap();
    let options = RunOptions { out: out.into(), command: "lab --out <here>".into(), ..Default::default() };
    run(&experiment, &Engine::cpu(), &options, &mut |event| {
        if event.index == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap()
}

fn whole(protocol: ReliabilityProtocol, out: &Path) -> Outcome {
    go(protocol, out, usize::MAX)
}

#[test]
fn a_grid_gives_rows_verdict_and_page() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("new").join("folder");
    let outcome = whole(small(), &out);
    assert_eq!((outcome.finished, outcome.skipped, outcome.missing()), (8, 0, 0));
    assert!(outcome.verdict[0].starts_with("Even beta = 0 does not train"), "{:?}", outcome.verdict);
    assert!(outcome.verdict[1].starts_with("16 bits, coupled: "), "{:?}", outcome.verdict);
    assert_eq!(outcome.verdict.len(), 1 + 4, "so few images support no more");

    let text = fs::read_to_string(out.join("results.csv")).unwrap();
    let head = "experiment,version,engine,adapter,dataset,data,images,test_images,network,weights,fingerprint,batch_size,\
                epochs,classes,precision,composition,beta,seed,learning_rate,epoch,train_loss,test_loss,test_accuracy,\
                skipped_steps,diverged,non_finite,non_finite_step,failed";
    assert_eq!(text.lines().next(), Some(head));
    // What the exact composition leaves to beta = 0 is PyTorch's pooling, and so is what the published program does.
    let rows = |precision: &str, composition: &str| -> Vec<Columns> {
        let wanted = |s: &Columns| {
            s.text("precision") == precision
                && s.text("composition") == composition
                && s.number("beta") == 0.0
        };
        let of = outcome.records.iter().filter(|r| wanted(&r.settings));
        of.flat_map(|r| r.rows.clone()).collect()
    };
    for precision in ["16", "32"] {
        assert_eq!(rows(precision, "coupled").len(), 2);
        assert_eq!(rows(precision, "coupled"), rows(precision, "exact"));
    }
    // In 16 bits 1e4 times an activation is too large: the row ends there and says where.
    let lost = outcome.records.iter().find(|r| {
        let s = &r.settings;
        (s.number("precision"), s.number("beta"), s.text("composition")) == (16.0, 1e4, "coupled".into())
    });
    let last = lost.unwrap().rows.last().unwrap();
    assert_eq!((last.number("diverged"), last.number("failed")), (1.0, 1.0));
    assert!(last.text("non_finite").contains("pass, "), "{last:?}");

    let html = fs::read_to_string(outcome.report.unwrap()).unwrap();
    // Stands alone: nothing is loaded, the script that sorts is within; the only address is the name of SVG's namespace.
    let rest = html.replace("http://www.w3.org/2000/svg", "");
    for forbidden in ["http:", "https:", "<script ", "fetch(", "<link", "<img", "url(", "@import", "src="] {
        assert!(!rest.contains(forbidden), "{forbidden}");
    }
    assert_eq!(html.matches("<svg ").count(), 2 + 4);
    for part in
        [&*outcome.verdict[0], "lab --out &lt;here&gt;", "test images", "why the first of them did", "pass, "]
    {
        assert!(html.contains(part), "{part}");
    }
    for plot in 1..=6 {
        assert!(out.join("plots").join(format!("{plot:02}.svg")).is_file(), "{plot}");
    }
}

#[test]
fn finished_runs_are_skipped_and_other_settings_are_not() {
    let out = tempfile::tempdir().unwrap();
    let one = || ReliabilityProtocol { precisions: vec![DType::F32], epochs: 1, ..small() };
    let stopped = go(one(), out.path(), 1);
    assert_eq!((stopped.finished, stopped.missing(), stopped.cancelled), (1, 3, true));
    let html = fs::read_to_string(stopped.report.unwrap()).unwrap();
    assert!(html.contains("3 of 4 units have not finished yet"));
    let first = whole(one(), out.path());
    assert_eq!((first.finished, first.skipped), (3, 1));
    let table = || fs::read(out.path().join("results.csv")).unwrap();
    let before = table();
    let again = whole(one(), out.path());
    assert_eq!((again.finished, again.skipped, again.verdict), (0, 4, first.verdict));
    assert_eq!(table(), before);
    let longer = whole(ReliabilityProtocol { epochs: 2, ..one() }, out.path());
    assert_eq!((longer.finished, longer.skipped), (4, 0));

    let nothing = tempfile::tempdir().unwrap();
    let outcome = go(one(), nothing.path(), 0);
    assert_eq!((outcome.finished, outcome.cancelled, outcome.report), (0, true, None));
}

#[test]
fn runs_of_too_few_steps_have_not_diverged() {
    let out = tempfile::tempdir().unwrap();
    let protocol = ReliabilityProtocol {
        precisions: vec![DType::F32],
        betas: vec![0.0, 1.0],
        learning_rate: Some(1e-4),
        ..small()
    };
    let outcome = whole(protocol, out.path());
    for record in &outcome.records {
        let last = record.rows.last().unwrap();
        assert_eq!((last.number("diverged"), last.number("failed")), (0.0, 1.0), "{record:?}");
    }
    let expected = [
        "Even beta = 0 does not train under these settings (2 of 2 runs); more epochs or images would be needed.",
        "32 bits, coupled: does not train at beta = 0 and 1 (all 2 runs).",
        "32 bits, exact: does not train at beta = 0 and 1 (all 2 runs).",
    ];
    assert_eq!(outcome.verdict, expected);
    let html = fs::read_to_string(outcome.report.unwrap()).unwrap();
    for part in ["1 of 1 did not train", "a run failed", "<dt>diverged", "<dt>did not train", "<dt>failed"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("why the first of them did"), "none diverged");
}
