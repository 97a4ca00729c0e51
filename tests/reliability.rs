//! The reliability experiment from end to end, on a grid that takes seconds.
#![cfg(feature = "lab")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use tiebreak::data::synthetic;
use tiebreak::lab::reliability::{Outcome, Progress, ReliabilityOptions, run};
use tiebreak::{Composition, DType, Engine, Error};

fn small() -> ReliabilityOptions {
    ReliabilityOptions {
        data: synthetic::embedded(96, 40),
        precisions: vec![DType::F16, DType::F32],
        compositions: vec![Composition::Coupled, Composition::Exact],
        betas: vec![0.0, 1e4],
        seeds: vec![0],
        epochs: 2,
        batch_size: 32,
        command: "reliability --out <here>".into(),
        ..Default::default()
    }
}

fn go(options: &ReliabilityOptions, out: &Path) -> Outcome {
    run(&Engine::cpu(), options, out, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn lines(out: &Path) -> Vec<String> {
    fs::read_to_string(out.join("results.csv")).unwrap().lines().map(String::from).collect()
}

#[test]
fn a_grid_gives_rows_table_verdict_and_page() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("new").join("folder");
    let (mut steps, mut finished, mut start) = (0, 0, None);
    let outcome = run(&Engine::cpu(), &small(), &out, &mut |progress| {
        match progress {
            Progress::Start { units, skipped, steps } => start = Some((units, skipped, steps)),
            Progress::Step { .. } => steps += 1,
            Progress::Finished { rows, .. } => finished += rows.len(),
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(start, Some((8, 0, 6)));
    assert!((6 * 6..=8 * 6).contains(&steps), "{steps}");
    assert_eq!((finished, outcome.finished, outcome.skipped, outcome.cancelled), (16, 8, 0, false));
    assert_eq!(outcome.cells.len(), 8);
    assert_eq!(outcome.table().lines().count(), 9);
    assert!(outcome.verdict[0].starts_with("Even beta = 0 does not train"), "{:?}", outcome.verdict);
    assert!(outcome.verdict[1].starts_with("16 bits, coupled: "), "{:?}", outcome.verdict);
    assert_eq!(outcome.verdict.len(), 1 + 4, "so few images support no more");

    let lines = lines(&out);
    assert_eq!(lines.len(), 1 + 16);
    let columns = "network,dataset,precision,beta,composition,seed,epoch,train_loss,test_loss,test_accuracy,\
                   diverged,device,epochs,images,test_images,data,batch_size,learning_rate,momentum,weight_decay,\
                   seconds,version";
    assert_eq!(lines[0], columns);
    assert!(lines[1].starts_with("lenet5,digits,16,0.0,coupled,0,1,"), "{}", lines[1]);
    // What the exact composition leaves to beta = 0 is PyTorch's pooling, and so is what the published program does.
    let run = |precision: &str, composition: &str| -> Vec<String> {
        let start = format!("lenet5,digits,{precision},0.0,{composition},0,");
        let of_run = lines.iter().filter_map(|l| l.strip_prefix(start.as_str()));
        of_run.map(|l| l.split(',').take(4).collect::<Vec<_>>().join(",")).collect()
    };
    for precision in ["16", "32"] {
        assert_eq!(run(precision, "coupled").len(), 2);
        assert_eq!(run(precision, "coupled"), run(precision, "exact"));
    }

    let html = fs::read_to_string(outcome.report.unwrap()).unwrap();
    // Stands alone: nothing is loaded, the script that sorts is within; the only address is the name of SVG's namespace.
    let rest = html.replace("http://www.w3.org/2000/svg", "");
    for forbidden in ["http:", "https:", "<script ", "fetch(", "<link", "<img", "url(", "@import", "src="] {
        assert!(!rest.contains(forbidden), "{forbidden}");
    }
    assert_eq!(html.matches("<svg ").count(), 2 + 4 + 1);
    for part in
        [outcome.verdict[0].as_str(), "reliability --out &lt;here&gt;", "96 training and 40 test images"]
    {
        assert!(html.contains(part), "{part}");
    }
    for plot in ["accuracy-16", "accuracy-32", "loss-16-coupled", "loss-32-exact", "ties"] {
        assert!(out.join("plots").join(format!("{plot}.svg")).is_file(), "{plot}");
    }
}

#[test]
fn finished_runs_are_skipped_and_other_settings_are_not() {
    let out = tempfile::tempdir().unwrap();
    let options = ReliabilityOptions { precisions: vec![DType::F32], epochs: 1, ..small() };
    let first = go(&options, out.path());
    assert_eq!((first.finished, first.skipped), (4, 0));
    let before = lines(out.path());

    let again = go(&options, out.path());
    assert_eq!((again.finished, again.skipped), (0, 4));
    assert_eq!(again.cells, first.cells);
    assert_eq!(lines(out.path()), before);

    // A crash while a line was written.
    let path = out.path().join("results.csv");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
    let repaired = go(&options, out.path());
    assert_eq!((repaired.finished, repaired.skipped), (1, 3));
    assert_eq!(repaired.cells, first.cells, "a repeated run gives the same bits");
    assert_eq!(lines(out.path()).len(), before.len());

    let longer = go(&ReliabilityOptions { epochs: 2, ..options.clone() }, out.path());
    assert_eq!((longer.finished, longer.skipped), (4, 0));
    let other = ReliabilityOptions { data: synthetic::embedded(97, 40), ..options.clone() };
    assert_eq!(go(&other, out.path()).skipped, 0);
    assert_eq!(go(&options, out.path()).skipped, 4);
}

#[test]
fn runs_of_too_few_steps_have_not_diverged() {
    let out = tempfile::tempdir().unwrap();
    let options = ReliabilityOptions {
        precisions: vec![DType::F32],
        betas: vec![0.0, 1.0],
        epochs: 2,
        learning_rate: 1e-4,
        ..small()
    };
    let outcome = go(&options, out.path());
    assert!(lines(out.path())[1..].iter().all(|l| l.split(',').nth(10) == Some("false")));
    for cell in &outcome.cells {
        assert_eq!((cell.runs, cell.diverged, cell.failed), (1, 0, 1), "{cell:?}");
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
}

#[test]
fn a_sorted_file_is_gone_on_with_and_nothing_whole_is_lost() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("results.csv");
    let options = ReliabilityOptions { precisions: vec![DType::F32], ..small() };
    let first = go(&options, out.path());
    let all = lines(out.path());
    // By epoch, as a spreadsheet does it.
    let mut rows = all[1..].to_vec();
    rows.sort_by_key(|l| l.split(',').nth(6).unwrap().to_string());
    let sorted = format!("{}\n{}\n", all[0], rows.join("\n"));
    fs::write(&path, &sorted).unwrap();
    let again = go(&options, out.path());
    assert_eq!((again.skipped, again.finished), (4, 0));
    assert_eq!(again.cells, first.cells);
    assert_eq!(fs::read_to_string(&path).unwrap(), sorted);

    let gone = format!("{}\n{}\n", all[0], rows[1..].join("\n"));
    fs::write(&path, &gone).unwrap();
    let again = go(&options, out.path());
    assert_eq!((again.skipped, again.finished), (3, 1));
    assert_eq!(again.cells, first.cells);
    assert_eq!(fs::read_to_string(out.path().join("results.csv.bak")).unwrap(), gone);
}

#[test]
fn stopping_keeps_what_is_finished() {
    let out = tempfile::tempdir().unwrap();
    let options = ReliabilityOptions { precisions: vec![DType::F32], epochs: 1, ..small() };
    let mut left = 5; // three steps and the end of the first run, one step of the second
    let outcome = run(&Engine::cpu(), &options, out.path(), &mut |progress| {
        if matches!(progress, Progress::Start { .. }) {
            return ControlFlow::Continue(());
        }
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!((outcome.finished, outcome.cancelled, outcome.cells.len()), (1, true, 1));
    assert_eq!(lines(out.path()).len(), 2);
    let html = fs::read_to_string(outcome.report.unwrap()).unwrap();
    assert!(html.contains("1 of 4 runs are finished"));

    let nothing = tempfile::tempdir().unwrap();
    let outcome = run(&Engine::cpu(), &options, nothing.path(), &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!((outcome.finished, outcome.cancelled, outcome.report), (0, true, None));
    assert_eq!(go(&options, out.path()).skipped, 1);
}

#[test]
fn refusals_name_what_is_wrong() {
    let refuse = |options: ReliabilityOptions| options.validate().unwrap_err().to_string();
    assert!(refuse(ReliabilityOptions { betas: vec![], ..small() }).contains("betas"));
    assert!(refuse(ReliabilityOptions { betas: vec![f64::NAN], ..small() }).contains("betas"));
    assert!(refuse(ReliabilityOptions { batch_size: 0, ..small() }).contains("batch_size"));
    assert!(refuse(ReliabilityOptions { learning_rate: -1.0, ..small() }).contains("learning_rate"));
    assert!(
        refuse(ReliabilityOptions { data: synthetic::embedded(0, 1), ..small() }).contains("training images")
    );
    let mut wide = small();
    wide.data.train.shape = [1, 56, 14];
    assert!(refuse(wide).contains("28, 28"));

    let out = tempfile::tempdir().unwrap();
    for foreign in ["not,ours\n1,2\n3,4\n", "a,b\n1,2\n", "a,b\n", "notes", "{\"loss\": 1}\n"] {
        fs::write(out.path().join("results.csv"), foreign).unwrap();
        let error =
            run(&Engine::cpu(), &small(), out.path(), &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        assert_eq!(fs::read_to_string(out.path().join("results.csv")).unwrap(), foreign);
    }
    let file = out.path().join("file");
    fs::write(&file, "").unwrap();
    let error = run(&Engine::cpu(), &small(), &file, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}
