//! Sweeps that are killed, and shared among processes: the tables are those of an uninterrupted run, bit for bit.

#![cfg(feature = "lab")]

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tiebreak::data::synthetic;
use tiebreak::lab::thresholds::{Compared, Thresholds};
use tiebreak::lab::{LINES, Order, Outcome, RunOptions, TABLE, run};
use tiebreak::{DType, Engine};

/// Folder, and shard as i/n, of the process that this test starts.
const OUT: &str = "TIEBREAK_SWEEP_OUT";
const SHARD: &str = "TIEBREAK_SWEEP_SHARD";

fn sweep(out: &Path, shard: Option<(usize, usize)>, merge: bool) -> Outcome {
    let experiment = Thresholds {
        data: synthetic::embedded(256, 0).train,
        compared: Compared::MaxPool,
        precisions: vec![(DType::F16, 6), (DType::F32, 6)],
        orders: vec![Order::Fixed, Order::Seeded],
        batch_size: 64,
        mini_batches: 4,
    };
    let options = RunOptions { out: out.into(), shard, merge, ..Default::default() };
    run(&experiment, &Engine::cpu(), &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// This program again, as a process of its own.
fn start(test: &str, out: &Path, shard: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(OUT, out).env(SHARD, shard);
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Whether this is such a process; then it has swept.
fn swept() -> bool {
    let Ok(out) = std::env::var(OUT) else { return false };
    let shard = std::env::var(SHARD).unwrap();
    let shard = shard.split_once('/').map(|(i, n)| (i.parse().unwrap(), n.parse().unwrap()));
    sweep(Path::new(&out), shard, false);
    true
}

fn finished(file: &Path) -> usize {
    std::fs::read(file).map_or(0, |bytes| bytes.iter().filter(|&&b| b == b'\n').count())
}

/// Kills it without notice as soon as `file` holds this many units.
fn kill_at(mut child: Child, file: &Path, units: usize) {
    let start = Instant::now();
    while finished(file) < units {
        assert!(start.elapsed() < Duration::from_secs(120), "no {units} units in two minutes");
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
}

fn tables(out: &Path) -> [Vec<u8>; 2] {
    [TABLE, LINES].map(|name| std::fs::read(out.join(name)).unwrap())
}

#[test]
fn killed_again_and_again_it_ends_in_the_same_tables() {
    if swept() {
        return;
    }
    let name = "killed_again_and_again_it_ends_in_the_same_tables";
    let dirs = [(); 2].map(|_| tempfile::tempdir().unwrap());
    let [whole, killed] = dirs.each_ref().map(|dir| dir.path());
    assert_eq!(sweep(whole, None, false).finished, 24);
    for units in [1, 7, 13] {
        kill_at(start(name, killed, ""), &killed.join("units.jsonl"), units);
    }
    let outcome = sweep(killed, None, false);
    assert!(outcome.skipped >= 13 && outcome.finished > 0 && outcome.missing() == 0, "{}", outcome.skipped);
    assert!(tables(killed) == tables(whole));
}

#[test]
fn shards_of_several_processes_merge_into_the_same_tables() {
    if swept() {
        return;
    }
    let name = "shards_of_several_processes_merge_into_the_same_tables";
    let dirs = [(); 2].map(|_| tempfile::tempdir().unwrap());
    let [whole, shared] = dirs.each_ref().map(|dir| dir.path());
    sweep(whole, None, false);
    // At the same time, and one of them killed and started again.
    let mut first = start(name, shared, "1/2");
    kill_at(start(name, shared, "2/2"), &shared.join("units.2-of-2.jsonl"), 3);
    assert!(first.wait().unwrap().success());
    let outcome = sweep(shared, None, true);
    assert!(outcome.missing() > 0 && outcome.finished == 0, "the merge tells what is missing");
    assert!(start(name, shared, "2/2").wait().unwrap().success());
    assert_eq!(sweep(shared, None, true).missing(), 0);
    assert!(tables(shared) == tables(whole));
}
